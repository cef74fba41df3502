"""Presence: which stations are online, folded from connection and gateway events alone.

`TABLE` is the whole rule; it is read beside section 3 of the semantics, row by row. A station is OFF, ON(c) with the
connection c = (r, n), the n-th admission of run r, or HELD(r): online, but its connection went with run r. The newest
connection wins: an open counts if it is the newest of its run for that station, and every end is fenced by the
connection that it names, so a late close changes nothing.

The first row that fits decides. An event of a run concerns the stations whose state names that run; for all others the
table says "same", which is why the fold touches no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ..engine.entry import Recorded
from ..engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    LogRestored,
)
from ..engine.fold import Below, Projection
from ..engine.names import run_and_number
from .fleet import Connection, Disconnect, Fleet, Presence, Run, Station, dump, load
from .meeting import (
    RESTORED_STEP,
    Case,
    after_its_timeout,
    always,
    another,
    close,
    connect,
    hold,
    hold_closed,
    its_own,
    its_own_by_our_stop,
    its_own_for_good,
    keep_how_it_closed,
    lapse,
    newest,
    not_newest,
    of_its_run,
    of_no_running_run,
    of_others,
    same,
    step_forward,
    time_out,
)

__all__ = ["TABLE", "Change", "Connection", "Disconnect", "Fleet", "Run", "Station", "presence"]


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one event did to one station."""

    station: str
    before: Station
    now: Station

    @property
    def flipped(self) -> bool:
        """Did the station go online or offline?"""
        return (self.before.state == "off") != (self.now.state == "off")


# --- the table -------------------------------------------------------------------------------------------------------


When: TypeAlias = Callable[[Station, Case[Any]], bool]
Then: TypeAlias = Callable[[Station, Case[Any]], Station]


class Row(NamedTuple):
    """A station in one of the states meets an event of one of the kinds; if the condition holds, this is what follows.

    Whether the station flips follows from the state that the action gives it.
    """

    number: int
    states: tuple[Presence, ...]
    kinds: tuple[str, ...]
    when: When
    then: Then
    odd: str = ""
    """Why the event makes no sense there, if it makes none."""


Kinds: TypeAlias = tuple[str, ...]

OFF: Final[tuple[Presence, ...]] = ("off",)
ON: Final[tuple[Presence, ...]] = ("on",)
HELD: Final[tuple[Presence, ...]] = ("held",)
OFF_HELD: Final = OFF + HELD
ANY: Final = OFF + ON + HELD

OPENED: Final[Kinds] = (ConnectionOpened.kind,)
CLOSED: Final[Kinds] = (ConnectionClosed.kind,)
TIMED_OUT: Final[Kinds] = (ConnectionPingTimedOut.kind,)
STARTED: Final[Kinds] = (GatewayStarted.kind,)
ENDED: Final[Kinds] = (GatewayStopped.kind, GatewayLost.kind)
LAPSED: Final[Kinds] = (GatewayLapsed.kind,)
RESTORED: Final[Kinds] = (LogRestored.kind,)
OTHERS: Final[Kinds] = ()

NO_RUN: Final = "opened in a run that is not running"
NOT_NEWEST: Final = "opened after a newer connection of its run"
NOT_ENDED: Final = "a gateway started anew before its last run had ended"
NO_END: Final = "a run lapsed that had not ended"
TWICE: Final = "a run started twice"
NOT_RUNNING: Final = "the end of a run that was not running"
NO_STATION: Final = "a connection of no station"

# fmt: off
TABLE: Final[tuple[Row, ...]] = (
    #    #  state     event               condition            next                 odd
    Row( 1, OFF,      OPENED,             newest,              connect),
    Row( 2, ON,       OPENED,             newest,              connect),
    Row( 3, HELD,     OPENED,             newest,              connect),
    Row( 4, ANY,      OPENED,             of_no_running_run,   same,                NO_RUN),
    Row( 5, ANY,      OPENED,             not_newest,          same,                NOT_NEWEST),
    Row( 6, ON,       CLOSED,             its_own_for_good,    close),
    Row( 7, ON,       CLOSED,             its_own_by_our_stop, hold_closed),
    Row( 8, ON,       TIMED_OUT,          its_own,             time_out),
    Row( 9, OFF,      CLOSED,             after_its_timeout,   keep_how_it_closed),
    Row(10, ON,       CLOSED + TIMED_OUT, another,             same),
    Row(11, OFF_HELD, CLOSED + TIMED_OUT, always,              same),
    Row(12, ON,       ENDED,              of_its_run,          hold),
    Row(13, ON,       STARTED,            of_its_run,          hold,                NOT_ENDED),
    Row(14, ON,       ENDED + STARTED,    of_others,           same),
    Row(15, HELD,     ENDED,              of_its_run,          same),
    Row(16, HELD,     ENDED + STARTED,    always,              same),
    Row(17, OFF,      STARTED + ENDED + LAPSED, always,        same),
    Row(18, HELD,     LAPSED,             of_its_run,          lapse),
    Row(19, HELD,     LAPSED,             of_others,           same),
    Row(20, ON,       LAPSED,             of_others,           same),
    Row(21, ON,       LAPSED,             of_its_run,          lapse,               NO_END),
    Row(22, ANY,      RESTORED,           always,              step_forward),
    Row(23, ANY,      OTHERS,             always,              same),
)
# fmt: on

_ROWS: Final[dict[str, dict[Presence, list[tuple[When, Then, str]]]]] = {
    kind: {
        state: [(row.when, row.then, row.odd) for row in TABLE if state in row.states and kind in row.kinds]
        for state in ANY
    }
    for kind in {kind for row in TABLE for kind in row.kinds}
}
"""By kind and state: the rows that may fit, in order, without what was used to find them."""


# --- the fold --------------------------------------------------------------------------------------------------------


def _meet(fleet: Fleet, station: str, case: Case[Any]) -> tuple[Change | None, str]:
    """Let a station meet an event; return what changed, and why the event was odd."""
    before = fleet.known(station)
    for when, then, odd in _ROWS[case.recorded.kind][before.state]:
        if when(before, case):
            now = then(before, case)
            if now is before:
                return None, odd
            fleet.put(before, now)
            return Change(station, before, now), odd
    return None, ""


def _all_meet(fleet: Fleet, stations: Iterable[str], case: Case[Any], odd: str = "") -> list[Change]:
    met = [_meet(fleet, station, case) for station in sorted(stations)]
    # However many stations an odd event meets, it is one odd event.
    for reason in {odd, *(why for _, why in met)} - {""}:
        fleet.odd[reason] += 1
    return [change for change, _ in met if change is not None]


def _connection(
    fleet: Fleet, recorded: Recorded, event: ConnectionOpened | ConnectionPingTimedOut | ConnectionClosed
) -> Sequence[Change]:
    station = recorded.subject
    if not station:
        fleet.odd[NO_STATION] += 1
        return ()
    of, n = run_and_number(event.connection)
    run = fleet.running(of)
    fresh = run is not None and n > run.marks.get(station, 0)
    change, odd = _meet(fleet, station, Case(recorded, event, run, fresh))
    if run is not None and fresh:
        run.marks[station] = n
    if odd:
        fleet.odd[odd] += 1
    return () if change is None else (change,)


def _started(fleet: Fleet, recorded: Recorded, event: GatewayStarted) -> Sequence[Change]:
    if recorded.id in fleet.runs:
        fleet.odd[TWICE] += 1
        return ()
    changes: list[Change] = []
    for run in list(fleet.runs.values()):
        if run.ended is None and run.gateway == recorded.gateway:
            changes += _all_meet(fleet, run.stations, Case(recorded, event, run), NOT_ENDED)
            fleet.end(run, recorded.position, 0.0)
    fleet.runs[recorded.id] = Run(recorded.id, recorded.gateway, event.public_url, recorded.position)
    fleet.url = event.public_url
    return changes


def _ended(fleet: Fleet, recorded: Recorded, event: GatewayStopped | GatewayLost) -> Sequence[Change]:
    run = fleet.running(event.run if isinstance(event, GatewayLost) else recorded.run)
    if run is None:
        fleet.odd[NOT_RUNNING] += 1
        return ()
    changes = _all_meet(fleet, run.stations, Case(recorded, event, run))
    fleet.end(run, recorded.position, event.listened)
    return changes


def _lapsed(fleet: Fleet, recorded: Recorded, event: GatewayLapsed) -> Sequence[Change]:
    run = fleet.runs.get(event.run)
    if run is None:
        return ()
    changes = _all_meet(fleet, run.stations, Case(recorded, event, run), NO_END if run.ended is None else "")
    if run.ended is None:
        fleet.end(run, recorded.position, 0.0)
    return changes


def _restored(fleet: Fleet, recorded: Recorded, event: LogRestored) -> Sequence[Change]:
    fleet.base += RESTORED_STEP
    return _all_meet(fleet, fleet, Case(recorded, event, None))


_FOLDS: Final[dict[str, Callable[[Fleet, Recorded, Any], Sequence[Change]]]] = {
    **dict.fromkeys(OPENED + TIMED_OUT + CLOSED, _connection),
    **dict.fromkeys(STARTED, _started),
    **dict.fromkeys(ENDED, _ended),
    **dict.fromkeys(LAPSED, _lapsed),
    **dict.fromkeys(RESTORED, _restored),
}


def _apply(fleet: Fleet, recorded: Recorded, event: Event, below: Below) -> Sequence[Change]:
    return _FOLDS[recorded.kind](fleet, recorded, event)


presence: Projection[Fleet, Change] = Projection(
    name="presence",
    version=2,
    kinds=frozenset(_FOLDS),
    initial=Fleet,
    apply=_apply,
    dump=dump,
    load=load,
    holding=Fleet.holding,
)
"""Which stations are online. Its state is a `Fleet`, its changes are `Change`."""

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
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
from msgspec.structs import replace

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
from ..engine.names import number_of, run_of
from .fleet import Connection, Disconnect, DisconnectCause, Fleet, Presence, Run, Station, dump, load

__all__ = ["TABLE", "Change", "Connection", "Disconnect", "Fleet", "Run", "Station", "presence"]

E = TypeVar("E", bound=Event, covariant=True)

RESTORED_STEP: Final = 2**20
"""How far a restore steps every version forward: past all that subscribers may have seen of the lost tail."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one event did to one station."""

    station: str
    before: Station
    now: Station

    @property
    def flipped(self) -> bool:
        """Did the station go online or offline?"""
        return self.before.online != self.now.online


class Case(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """An event, as it meets a station."""

    recorded: Recorded
    event: E
    run: Run | None
    """Of a connection: its run, if that is running. Of a gateway's event: the run that it ends, in whichever way."""
    fresh: bool = False
    """Of a connection: is its n above the mark?"""


# --- when: the conditions --------------------------------------------------------------------------------------------


def always(station: Station, case: Case[Event]) -> bool:
    return True


def newest(station: Station, case: Case[ConnectionOpened]) -> bool:
    return case.run is not None and case.fresh


def of_no_running_run(station: Station, case: Case[ConnectionOpened]) -> bool:
    return case.run is None


def not_newest(station: Station, case: Case[ConnectionOpened]) -> bool:
    return not case.fresh


def its_own(station: Station, case: Case[ConnectionClosed | ConnectionPingTimedOut]) -> bool:
    return station.connection is not None and station.connection.id == case.event.connection


def another(station: Station, case: Case[ConnectionClosed | ConnectionPingTimedOut]) -> bool:
    return not its_own(station, case)


def its_own_for_good(station: Station, case: Case[ConnectionClosed]) -> bool:
    return its_own(station, case) and case.event.cause != "shutdown"


def its_own_by_our_stop(station: Station, case: Case[ConnectionClosed]) -> bool:
    return its_own(station, case) and case.event.cause == "shutdown"


def after_its_timeout(station: Station, case: Case[ConnectionClosed]) -> bool:
    ended = station.disconnect
    return ended is not None and ended.side is None and ended.connection == case.event.connection


def of_its_run(station: Station, case: Case[Event]) -> bool:
    return case.run is not None and case.run.id == station.run


def of_others(station: Station, case: Case[Event]) -> bool:
    return not of_its_run(station, case)


# --- then: the actions -----------------------------------------------------------------------------------------------


def same(station: Station, case: Case[Event]) -> Station:
    return station


def connect(station: Station, case: Case[ConnectionOpened]) -> Station:
    run = cast(Run, case.run)
    at = case.recorded.at
    return replace(
        station,
        state="on",
        run=run.id,
        version=station.version if station.state != "off" else station.version + 1,
        position=case.recorded.position,
        connection=Connection(case.event.connection, at),
        last_connect_at=at,
        last_message_at=at,
        connection_url=run.public_url,
        subprotocol=case.event.subprotocol,
        security=case.event.security,
        created_at=at if station.last_connect_at is None else station.created_at,
        updated_at=at,
    )


def close(station: Station, case: Case[ConnectionClosed]) -> Station:
    return _leave(station, case.recorded, "off", _as_closed(case))


def hold_closed(station: Station, case: Case[ConnectionClosed]) -> Station:
    return _leave(station, case.recorded, "held", _as_closed(case))


def time_out(station: Station, case: Case[ConnectionPingTimedOut]) -> Station:
    # Who closed it, and how, comes with its `connection.closed`.
    ended = Disconnect(
        case.event.connection, "ping_timeout", None, "", None, case.event.alive_at, detected_at=case.recorded.at
    )
    return _leave(station, case.recorded, "off", ended)


def keep_how_it_closed(station: Station, case: Case[ConnectionClosed]) -> Station:
    ended = replace(
        cast(Disconnect, station.disconnect), side=case.event.side, code=case.event.code, reason=case.event.reason
    )
    return replace(station, disconnect=ended, updated_at=case.recorded.at)


def hold(station: Station, case: Case[GatewayStarted | GatewayStopped | GatewayLost]) -> Station:
    cause: DisconnectCause = "shutdown" if isinstance(case.event, GatewayStopped) else "gateway_lost"
    return _leave(station, case.recorded, "held", _as_gone(station, case.recorded, cause))


def lapse(station: Station, case: Case[GatewayLapsed]) -> Station:
    held = station.disconnect
    at = case.recorded.at
    if held is None or station.connection is not None:
        return _leave(station, case.recorded, "off", _as_gone(station, case.recorded, "lapsed"))
    return replace(
        station,
        state="off",
        run="",
        version=station.version + 1,
        position=case.recorded.position,
        disconnect=replace(held, cause="lapsed", detected_at=at),
        updated_at=at,
    )


def step_forward(station: Station, case: Case[LogRestored]) -> Station:
    return replace(station, version=station.version + RESTORED_STEP, updated_at=case.recorded.at)


def _as_closed(case: Case[ConnectionClosed]) -> Disconnect:
    event = case.event
    return Disconnect(
        event.connection, event.cause, event.code, event.reason, event.side, event.alive_at, case.recorded.at
    )


def _as_gone(station: Station, recorded: Recorded, cause: DisconnectCause) -> Disconnect:
    """Tell of a connection that went with its run: nothing was on the wire, nothing newer is recorded of its life."""
    connection = "" if station.connection is None else station.connection.id
    alive_at = recorded.at if station.last_message_at is None else station.last_message_at
    return Disconnect(connection, cause, None, "", "gateway", alive_at, detected_at=recorded.at)


def _leave(station: Station, recorded: Recorded, state: Presence, ended: Disconnect) -> Station:
    alive_at = station.last_message_at
    return replace(
        station,
        state=state,
        run="" if state == "off" else station.run,
        version=station.version + 1 if state == "off" else station.version,
        position=recorded.position,
        connection=None,
        disconnect=ended,
        last_disconnect_at=recorded.at,
        last_message_at=ended.last_alive_at if alive_at is None else max(alive_at, ended.last_alive_at),
        updated_at=recorded.at,
    )


# --- the table -------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A station in one of the states meets an event of one of the kinds; if the condition holds, this is what follows.

    Whether the station flips follows from the state that the action gives it.
    """

    number: int
    states: tuple[Presence, ...]
    kinds: tuple[str, ...]
    when: Callable[[Station, Case[Any]], bool]
    then: Callable[[Station, Case[Any]], Station]
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

_ROWS: Final[dict[tuple[str, str], tuple[Row, ...]]] = {
    (state, kind): tuple(row for row in TABLE if state in row.states and kind in row.kinds)
    for state in ANY
    for kind in {kind for row in TABLE for kind in row.kinds}
}


# --- the fold --------------------------------------------------------------------------------------------------------


def _meet(fleet: Fleet, station: str, case: Case[Any]) -> tuple[Change | None, str]:
    """Let a station meet an event; return what changed, and why the event was odd."""
    before = fleet.get(station) or Station(id=station)
    for row in _ROWS[before.state, case.recorded.kind]:
        if row.when(before, case):
            now = row.then(before, case)
            if now is before:
                return None, row.odd
            fleet.put(before, now)
            return Change(station, before, now), row.odd
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
    station, n = recorded.subject, number_of(event.connection)
    if not station:
        fleet.odd[NO_STATION] += 1
        return ()
    run = fleet.running(run_of(event.connection))
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
    version=1,
    kinds=frozenset(_FOLDS),
    initial=Fleet,
    apply=_apply,
    dump=dump,
    load=load,
    holding=Fleet.holding,
)
"""Which stations are online. Its state is a `Fleet`, its changes are `Change`."""

"""The presence table of semantics 3, held a second time as a matrix: every state meets every event."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from histories import History, record

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import presence
from stationkeeper.projections.meeting import Case
from stationkeeper.projections.presence import TABLE, Fleet, Station

# A cell is `row:next`: `=` the same state; `on` by the connection that the event names; `held`; `off`; `+` and `-` a
# flip to online and to offline; `!` an odd event. Runs r (gateway g) and q (gateway h) have started; x never did.
#
#   off      r-5 was opened and closed         q-on     r-5, then q-3 were opened
#   timed    r-5 timed out, no close yet       held     r-5 was opened, then r stopped
#   on       r-5 is open                       leaving  r-5 was closed by our shutdown; r still runs
MATRIX = """
                     off       timed     on        q-on      held      leaving
    opened r-6       1:on+     1:on+     2:on      2:on      4:=!      3:on
    opened r-5       5:=!      5:=!      5:=!      5:=!      4:=!      5:=!
    opened r-4       5:=!      5:=!      5:=!      5:=!      4:=!      5:=!
    opened q-4       1:on+     1:on+     2:on      2:on      3:on      3:on
    opened x-1       4:=!      4:=!      4:=!      4:=!      4:=!      4:=!
    closed r-5       11:=      9:=       6:off-    10:=      11:=      11:=
    shutdown r-5     11:=      9:=       7:held    10:=      11:=      11:=
    timed_out r-5    11:=      11:=      8:off-    10:=      11:=      11:=
    closed r-4       11:=      11:=      10:=      10:=      11:=      11:=
    timed_out q-9    11:=      11:=      10:=      10:=      11:=      11:=
    closed q-3       11:=      11:=      10:=      6:off-    11:=      11:=
    shutdown q-3     11:=      11:=      10:=      7:held    11:=      11:=
    timed_out q-3    11:=      11:=      10:=      8:off-    11:=      11:=
    stopped r        17:=      17:=      12:held   14:=      15:=!     15:=
    lost r           17:=      17:=      12:held   14:=      15:=!     15:=
    stopped q        17:=      17:=      14:=      12:held   16:=      16:=
    lost q           17:=      17:=      14:=      12:held   16:=      16:=
    started g        17:=!     17:=!     13:held!  14:=!     16:=      16:=!
    started h        17:=!     17:=!     14:=!     13:held!  16:=!     16:=!
    started k        17:=      17:=      14:=      14:=      16:=      16:=
    lapsed r         17:=!     17:=!     21:off-!  20:=!     18:off-   18:off-!
    lapsed q         17:=!     17:=!     20:=!     21:off-!  19:=!     19:=!
    lapsed x         17:=      17:=      20:=      20:=      19:=      19:=
    restored         22:=      22:=      22:=      22:=      22:=      22:=
    stalled          23:=      23:=      23:=      23:=      23:=      23:=
    registered       23:=      23:=      23:=      23:=      23:=      23:=
    removed          23:=      23:=      23:=      23:=      23:=      23:=
    settled          23:=      23:=      23:=      23:=      23:=      23:=
    unknown          23:=      23:=      23:=      23:=      23:=      23:=
"""
CP = "CP-7"


class Cell(NamedTuple):
    row: int
    state: str
    event: str
    next: str
    flip: str
    odd: bool


def cells() -> list[Cell]:
    header, *lines = MATRIX.strip().splitlines()
    found: list[Cell] = []
    for line in lines:
        words = line.split()
        event, given = " ".join(words[:-6]), words[-6:]
        for state, cell in zip(header.split(), given, strict=True):
            row, _, then = cell.partition(":")
            flip = "+" if "+" in then else "-" if "-" in then else ""
            found.append(Cell(int(row), state, event, then.rstrip("+-!"), flip, then.endswith("!")))
    return found


def story(state: str) -> History:
    """Tell how the station came into a state."""
    history = History()
    history.started("r", gateway="g", url="ws://r")
    history.started("q", gateway="h", url="ws://q")
    history.opened(CP, "r-5")
    match state:
        case "off":
            history.closed(CP, "r-5")
        case "timed":
            history.timed_out(CP, "r-5")
        case "q-on":
            history.opened(CP, "q-3")
        case "held":
            history.stopped("r")
        case "leaving":
            history.closed(CP, "r-5", "shutdown")
        case _:
            assert state == "on"
    return history


def happen(history: History, event: str) -> Recorded:
    word, _, name = event.partition(" ")
    match word:
        case "opened":
            return history.opened(CP, name)
        case "closed":
            return history.closed(CP, name, "network_lost", side="network", code=1006)
        case "shutdown":
            return history.closed(CP, name, "shutdown", side="gateway", code=1001)
        case "timed_out":
            return history.timed_out(CP, name)
        case "started":
            return history.started("new", gateway=name, url="ws://new")
        case "stopped" | "lost" | "lapsed":
            return {"stopped": history.stopped, "lost": history.lost, "lapsed": history.lapsed}[word](name)
        case "restored":
            return history.restored()
        case "registered":
            return history.registered(CP)
        case "settled":
            return history.settled(CP, 2)
        case "removed":
            return history.add(e.StationRemoved(), CP)
        case "stalled":
            return history.add(e.GatewayStalled(since=1, until=2), run="r")
        case _:
            unknown = record(e.StationRemoved(), len(history.events) + 1, subject=CP)
            return msgspec.structs.replace(unknown, kind="station.painted")


class Meeting(NamedTuple):
    before: Station
    now: Station
    recorded: Recorded
    flips: list[bool]
    odd: int


def meet(cell: Cell) -> Meeting:
    history = story(cell.state)
    folding = Fold([presence])
    for recorded in history:
        folding.advance(recorded)
    fleet = folding.state(presence)
    before, odd = fleet[CP], fleet.odd.total()
    recorded = happen(history, cell.event)
    flips = [change.now.online for change in folding.advance(recorded).changes(presence) if change.flipped]
    return Meeting(before, fleet[CP], recorded, flips, fleet.odd.total() - odd)


EVERY_CELL = pytest.mark.parametrize("cell", cells(), ids=lambda cell: f"row {cell.row}: {cell.event}, {cell.state}")


@EVERY_CELL
def test_row_gives_the_next_state(cell: Cell) -> None:
    before, now, recorded, _, _ = meet(cell)

    assert now.state == (before.state if cell.next == "=" else cell.next)
    assert now.position == (before.position if cell.next == "=" else recorded.position)
    if cell.next == "on":
        assert now.connection is not None
        assert f"opened {now.connection.id}" == cell.event
    elif cell.next != "=":
        assert now.connection is None


@EVERY_CELL
def test_row_flips_and_counts_the_flip_or_does_neither(cell: Cell) -> None:
    before, now, recorded, flips, _ = meet(cell)

    assert flips == ([cell.flip == "+"] if cell.flip else [])
    assert now.version - before.version == (2**20 if cell.row == 22 else len(flips))
    if now.version != before.version:
        assert now.updated_at == recorded.at


@EVERY_CELL
def test_row_says_same_and_the_station_is_the_same(cell: Cell) -> None:
    before, now, _, _, _ = meet(cell)

    if cell.next == "=" and cell.row not in (9, 22):
        assert now is before


@EVERY_CELL
def test_row_counts_an_odd_event_once(cell: Cell) -> None:
    assert meet(cell).odd == cell.odd


@pytest.mark.parametrize("cell", [cell for cell in cells() if cell.row == 9], ids=lambda cell: cell.event)
def test_row_9_keeps_how_the_timed_out_connection_was_closed(cell: Cell) -> None:
    before, now, recorded, _, _ = meet(cell)

    assert before.disconnect is not None
    assert before.disconnect.side is None
    assert now.disconnect is not None
    assert now.disconnect.cause == "ping_timeout"
    assert now.disconnect.code == (1006 if cell.event.startswith("closed") else 1001)
    assert now.disconnect.detected_at == before.disconnect.detected_at < recorded.at


def case_of(fleet: Fleet, recorded: Recorded, word: str, name: str) -> Case[Any]:
    """Make what the table is asked about an event: by the run that it names or ends, and whether its n is fresh."""
    event = decode(recorded)
    if isinstance(event, e.ConnectionOpened | e.ConnectionClosed | e.ConnectionPingTimedOut):
        run, _, n = name.partition("-")
        running = fleet.running(run)
        return Case(recorded, event, running, running is not None and int(n) > running.marks.get(CP, 0))
    if word == "started":
        ends = [run for run in fleet.runs.values() if run.gateway == name and run.ended is None]
        return Case(recorded, event, ends[0] if ends else None)
    return Case(recorded, event, fleet.runs.get(name))


@EVERY_CELL
def test_the_table_alone_gives_what_the_fold_gives(cell: Cell) -> None:
    """Also where the fold need not ask it, because the event is of a run that does not hold the station."""
    history = story(cell.state)
    fleet = fold(presence, history)
    recorded = happen(history, cell.event)
    station, case = fleet[CP], case_of(fleet, recorded, *cell.event.partition(" ")[::2])

    rows = [row for row in TABLE if station.state in row.states and recorded.kind in row.kinds]
    first = next((row for row in rows if row.when(station, case)), TABLE[-1])

    assert first.number == cell.row
    assert first.then(station, case).state == (station.state if cell.next == "=" else cell.next)


def test_every_row_of_the_table_is_met_by_some_cell() -> None:
    assert {cell.row for cell in cells()} == {row.number for row in TABLE} == set(range(1, 24))

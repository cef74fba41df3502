"""A replay of one station reads that station's life alone, and says of it what a replay of everything says."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from hypothesis import given
from strategies import STATIONS, WEBHOOKS, arbitrary_histories, histories

from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import Fenced
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.stations import life_of
from stationkeeper.projections import presence, registry
from stationkeeper.projections.chargestation import chargestation


def log_of(history: Iterable[Recorded]) -> MemoryLog:
    """Return a log of a history, without what no log would take: what a run appended after its end."""
    log = MemoryLog()
    for recorded in history:
        with suppress(Fenced):
            log.append([recorded])
    return log


def shown(fold: Fold, station: str) -> dict[str, object] | None:
    """Return the station's object, as the API and webhooks bear it."""
    return chargestation(fold.state(presence), fold.state(registry), station)


@given(history=histories() | arbitrary_histories())
def test_at_every_position_a_stations_life_tells_of_it_what_the_whole_log_tells(history: list[Recorded]) -> None:
    log, whole = log_of(history), Fold([presence, registry])
    for recorded in log.read():
        whole.advance(recorded)
        # A webhook may bear the name of a station, and the other way round.
        for station in (*STATIONS, WEBHOOKS[0], "never seen"):
            own = Fold([presence, registry])
            for event in life_of(log, station, until=recorded.position):
                own.advance(event)

            assert shown(own, station) == shown(whole, station)
            assert own.state(presence).known(station) == whole.state(presence).known(station)
            assert own.state(registry).last(station) == whole.state(registry).last(station)

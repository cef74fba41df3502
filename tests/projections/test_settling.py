"""Which stations have yet to settle: those offline at a version of which nobody has said it."""

from __future__ import annotations

from histories import START, History

from stationkeeper.engine.events import LogRestored, StationSettled
from stationkeeper.engine.fold import fold
from stationkeeper.projections import settling
from stationkeeper.projections.settling import Unsettled


def unsettled(history: History) -> list[Unsettled]:
    return list(fold(settling, history).values())


def offline(*stations: str) -> History:
    history = History()
    history.started()
    for n, station in enumerate(stations, 1):
        history.opened(station, f"r1-{n}")
        history.closed(station, f"r1-{n}")
    return history


def test_a_station_that_went_offline_has_yet_to_settle() -> None:
    history = offline("CP-7", "CP-8")
    closed = [recorded.at for recorded in history if recorded.kind == "connection.closed"]

    assert unsettled(history) == [Unsettled("CP-7", 2, closed[0]), Unsettled("CP-8", 2, closed[1])]
    assert min(closed) > START


def test_one_that_came_back_has_not() -> None:
    history = offline("CP-7")
    history.opened("CP-7", "r1-9")

    assert unsettled(history) == []


def test_what_settled_is_done_and_another_version_is_not() -> None:
    history = offline("CP-7", "CP-8")
    history.add(StationSettled(version=2, settling=300), "CP-7")
    history.add(StationSettled(version=1, settling=300), "CP-8")

    assert [station.station for station in unsettled(history)] == ["CP-8"]


def test_a_restored_log_keeps_the_time_under_the_new_version() -> None:
    history = offline("CP-7", "CP-8")
    history.add(StationSettled(version=2, settling=300), "CP-7")
    (before,) = unsettled(history)
    history.add(LogRestored(checkpoint_size=1, checkpoint_root=""))
    (now,) = unsettled(history)

    assert (now.station, now.since) == (before.station, before.since)
    assert now.version > before.version

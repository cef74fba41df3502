"""A station's timeline: what belongs to it, however long the log is."""

from __future__ import annotations

from stationkeeper.daemon.dashboard.timeline import MOMENTS, newest
from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStopped,
    StationRemoved,
)
from stationkeeper.engine.log.memory import MemoryLog


def opened(connection: str) -> Event:
    return ConnectionOpened(connection=connection, ping_interval=25.0, ping_timeout=20.0, silence=900.0)


def closed(connection: str, cause: Cause) -> Event:
    return ConnectionClosed(connection=connection, side="gateway", cause=cause, alive_at=0)


def lost(run: str) -> Event:
    return GatewayLost(run=run, alive_at=0, listened=1.0, found_by="g")


def log_of(*events: tuple[str, Event]) -> MemoryLog:
    log = MemoryLog()
    for number, (subject, event) in enumerate(events):
        run = "r1" if isinstance(event, GatewayStopped) else ""
        log.append([seal(event, id=f"e{number}", at=number, subject=subject, run=run)])
    return log


def kinds(log: MemoryLog, station: str = "CP-7") -> list[str]:
    return [recorded.kind for recorded in newest(log, station, log.position)]


def test_old_events_are_found_behind_many_of_others() -> None:
    others = [("other", StationRemoved())] * 6_000
    log = log_of(("CP-7", opened("r1-1")), *others, ("CP-7", closed("r1-1", "network_lost")))

    assert kinds(log) == ["connection.opened", "connection.closed"]


def test_only_the_newest_are_told() -> None:
    log = log_of(*[("CP-7", StationRemoved())] * (MOMENTS + 5))

    assert len(kinds(log)) == MOMENTS


def test_the_end_of_the_run_that_held_it_belongs_to_it() -> None:
    log = log_of(("CP-7", opened("r1-1")), ("", lost("r1")), ("", GatewayLapsed(run="r1", grace=1.0, listened=1.0)))

    assert kinds(log) == ["connection.opened", "gateway.lost", "gateway.lapsed"]


def test_after_our_own_stop_it_is_held() -> None:
    log = log_of(("CP-7", opened("r1-1")), ("CP-7", closed("r1-1", "shutdown")), ("", GatewayStopped(listened=1.0)))

    assert kinds(log)[-1] == "gateway.stopped"


def test_the_end_of_a_run_that_held_it_no_more_does_not() -> None:
    log = log_of(("CP-7", opened("r1-1")), ("CP-7", closed("r1-1", "network_lost")), ("", lost("r1")), ("", lost("r2")))

    assert kinds(log) == ["connection.opened", "connection.closed"]


def test_a_takeover_leaves_it_held() -> None:
    log = log_of(
        ("CP-7", opened("r1-1")), ("CP-7", opened("r1-2")), ("CP-7", closed("r1-1", "superseded")), ("", lost("r1"))
    )

    assert kinds(log)[-1] == "gateway.lost"

"""One life of a gateway after another: starts, ends, losses, the grace (semantics 4 and 7; truths 12, 13, 23)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from raw_station import dial_tcp, request
from trio.testing import MockClock

from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.clock import Clock
from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import ClockBehind, LogDamaged, WrongSetting
from stationkeeper.engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    GatewayClockSet,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    StationRegistered,
)
from stationkeeper.engine.log import Snapshot
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import presence
from stationkeeper.transports import DenseStations, WebSocketStations
from stationkeeper.transports.admission import AnyStation, Knock, Refusal
from stationkeeper.transports.memory import MemoryStations, NotLetIn

SETTINGS = EngineSettings(
    liveness=Liveness(ping_interval=25, ping_timeout=20, silence=900), reconnect_grace=60, shutdown_timeout=30
)


@asynccontextmanager
async def gateway(log: MemoryLog, *transports: Any, clock: Clock | None = None, **more: Any) -> AsyncIterator[Engine]:
    settings = more.pop("settings", SETTINGS)
    clock = clock or VirtualClock()
    async with open_engine(
        log, transports=transports, projections=[presence], settings=settings, clock=clock, inline=True, **more
    ) as engine:
        yield engine


def history(log: MemoryLog) -> Sequence[Recorded]:
    return list(log.read())


def kinds(log: MemoryLog) -> list[str]:
    return [recorded.kind for recorded in log.read()]


def only(log: MemoryLog, kind: type[Event]) -> list[Any]:
    return [decode(recorded) for recorded in log.read(kinds={kind.kind})]


async def crash(log: MemoryLog, stations: MemoryStations, *, connect: Sequence[str]) -> None:
    """Live through a run that ends without a word: all is cut off, as by SIGKILL."""
    async with gateway(log, stations) as engine:
        for station in connect:
            await stations.connect(station)
        engine.hurry()


async def test_a_run_begins_with_started_and_ends_with_stopped(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    async with gateway(log) as engine:
        run = engine.run
        await trio.sleep(90)

    assert kinds(log) == ["gateway.started", "gateway.stopped"]
    assert history(log)[0].id == run
    assert {recorded.run for recorded in history(log)} == {run}
    assert only(log, GatewayStopped)[0].listened == pytest.approx(90, abs=1)


async def test_a_run_that_died_is_found_lost_at_the_next_start(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    dead = history(log)[0].id
    async with gateway(log) as engine:
        assert engine.state(presence)["CP-1"].online
        assert not engine.state(presence).observed("CP-1")

    assert kinds(log)[:4] == ["gateway.started", "connection.opened", "gateway.lost", "gateway.started"]
    (lost,) = only(log, GatewayLost)
    assert lost.run == dead
    assert history(log)[2].id == f"{dead}:lost"


async def test_within_the_grace_coming_back_causes_no_flip(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    stations = MemoryStations(admit=AnyStation())
    async with gateway(log, stations) as engine:
        await trio.sleep(50)
        await stations.connect("CP-1")
        await trio.sleep(100)

        assert engine.state(presence)["CP-1"].version == 1
        assert engine.state(presence).observed("CP-1")
        assert only(log, GatewayLapsed) == []


async def test_who_does_not_come_back_is_offline_after_the_grace(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    async with gateway(log) as engine:
        await trio.sleep(59)
        assert engine.state(presence)["CP-1"].online
        await trio.sleep(3)

        assert not engine.state(presence)["CP-1"].online
        assert engine.state(presence)["CP-1"].version == 2
    (lapsed,) = only(log, GatewayLapsed)
    assert lapsed.listened == pytest.approx(60, abs=1)


async def test_downtime_and_crash_loops_use_up_no_grace(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    for _ in range(50):
        await trio.sleep(3600)
        await crash(log, MemoryStations(admit=AnyStation()), connect=[])
    stations = MemoryStations(admit=AnyStation())
    async with gateway(log, stations) as engine:
        await trio.sleep(5)
        await stations.connect("CP-1")

        assert engine.state(presence)["CP-1"].version == 1


async def test_a_grace_of_nothing_lapses_in_the_batch_of_the_start(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    async with gateway(log, settings=EngineSettings(reconnect_grace=0)) as engine:
        assert not engine.state(presence)["CP-1"].online

    assert kinds(log)[2:5] == ["gateway.lost", "gateway.started", "gateway.lapsed"]


async def test_an_orderly_stop_keeps_the_flags_and_ends_every_story(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations(admit=AnyStation())
    async with gateway(log, stations) as engine:
        for n in range(20):
            await stations.connect(f"CP-{n}")

    fleet = engine.state(presence)
    assert all(fleet[f"CP-{n}"].online for n in range(20))
    assert kinds(log)[-1] == "gateway.stopped"
    assert kinds(log).count("connection.closed") == 20
    closed = [decode(recorded) for recorded in log.read(kinds={"connection.closed"})]
    assert all(isinstance(event, ConnectionClosed) and event.cause == "shutdown" for event in closed)


async def test_a_wall_clock_that_steps_is_recorded_and_followed(autojump_clock: MockClock) -> None:
    log, clock = MemoryLog(), VirtualClock()
    async with gateway(log, clock=clock) as engine:
        clock.set_wall(-7200)
        await trio.sleep(15)

        assert abs(engine.now() - clock.wall()) < 1_000_000
    (step,) = only(log, GatewayClockSet)
    assert step.offset == pytest.approx(-7200, abs=0.1)


async def test_a_run_refuses_to_start_far_behind_its_log(autojump_clock: MockClock) -> None:
    log, clock = MemoryLog(), VirtualClock()
    async with gateway(log, clock=clock):
        pass
    clock.set_wall(-3600)

    with pytest.raises(ClockBehind, match="--accept-clock"):
        async with gateway(log, clock=clock):
            pass
    async with gateway(log, clock=clock, accept_clock=True) as engine:
        assert engine.ready


async def test_what_is_recorded_is_visible_once_record_returns(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    async with gateway(log) as engine:
        position = await engine.record(StationRegistered(name="Harbour"), subject="CP-1", actor="admin-1")

        assert engine.position >= position
        assert history(log)[position - 1].actor == "admin-1"


async def test_a_start_from_snapshots_knows_what_a_replay_knows(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations(admit=AnyStation())
    async with gateway(log, stations) as engine:
        await stations.connect("CP-1")
    kept = log.snapshot("presence")
    assert kept is not None
    assert kept.position == log.position

    async with gateway(log) as engine:
        from_snapshot = presence.dump(engine.state(presence))
    log.keep_snapshots([type(kept)(kept.name, kept.version, kept.position, b"another history", b"{}")])
    del engine
    replayed = presence.initial()
    from stationkeeper.engine import fold

    replayed = fold(presence, log.read(until=log.position - 1))
    assert presence.dump(replayed) == from_snapshot


async def test_an_unknown_opened_of_the_past_is_no_obstacle(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    stray = ConnectionOpened(connection="nobody-1", ping_interval=1, ping_timeout=1, silence=1)
    log.append([seal(stray, id="nobody-1:opened", at=1, subject="CP-1", run="nobody")])
    async with gateway(log) as engine:
        assert "CP-1" not in engine.connections
        assert engine.ready
    assert only(log, GatewayStarted)


async def test_a_start_that_is_cancelled_ends(autojump_clock: MockClock) -> None:
    scope = trio.CancelScope()

    class Unlucky(MemoryStations):
        async def bind(self) -> str:
            scope.cancel()
            return "memory:"

    began = trio.current_time()
    with trio.move_on_after(1000), scope:
        async with gateway(MemoryLog(), Unlucky()):
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert trio.current_time() - began < 100


async def test_a_loss_that_somebody_else_has_recorded_does_not_stop_a_start(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])
    dead = history(log)[0].id
    theirs = GatewayLost(run="somebody else's", alive_at=1, listened=0.0, found_by="another")
    log.append([seal(theirs, id=f"{dead}:lost", at=1)])

    async with gateway(log) as engine:
        assert engine.ready
    assert kinds(log).count("gateway.lost") == 1


async def test_a_start_that_fails_leaves_nothing_listening(tmp_path: Path) -> None:
    taken = WebSocketStations("127.0.0.1:0", admit=AnyStation())
    await taken.bind()
    first = WebSocketStations("127.0.0.1:0", admit=AnyStation())
    second = WebSocketStations(taken.addresses[0], admit=AnyStation())

    with pytest.raises(WrongSetting):
        async with open_engine(tmp_path / "x.db", transports=[first, second]):
            pass
    assert first.addresses == []
    taken.stop_accepting()


async def test_no_grace_lapses_while_stations_are_answered_503_by_whomever(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    await crash(log, MemoryStations(admit=AnyStation()), connect=["CP-1"])

    async def too_busy(knock: Knock) -> Refusal:
        return Refusal(status=503, reason="busy", hint="")

    stations = MemoryStations(admit=too_busy)
    async with gateway(log, stations) as engine:
        for _ in range(200):
            with suppress(NotLetIn):
                await stations.connect("CP-1")
            await trio.sleep(0.9)

        assert engine.state(presence)["CP-1"].online


async def test_snapshots_that_cannot_be_kept_harm_nobody(autojump_clock: MockClock) -> None:
    class Full(MemoryLog):
        def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
            raise OverflowError("too big")

    log = Full()
    async with gateway(log) as engine:
        await trio.sleep(2 * SETTINGS.snapshot_interval)
        assert engine.ready
    assert kinds(log)[-1] == "gateway.stopped"


@pytest.mark.parametrize("transport", [DenseStations, WebSocketStations])
async def test_a_damaged_log_is_what_is_told_though_somebody_was_being_let_in(
    transport: type[DenseStations | WebSocketStations], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise LogDamaged("what was acknowledged is gone")

    async def serve() -> None:
        log = MemoryLog()
        async with open_engine(log, transports=[transport("127.0.0.1:0", admit=AnyStation())]) as engine:
            monkeypatch.setattr(log, "append", damaged)
            async with await dial_tcp(engine.urls[0]) as stream:
                await stream.send_all(request("/ocpp/CP-1"))
                await trio.sleep_forever()

    with trio.fail_after(20), pytest.raises(LogDamaged):
        await serve()

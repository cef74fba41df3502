"""Draining: at a stop the connections are closed in order, over a set time (semantics 7, `shutdown`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import (
    ConnectionClosed,
    GatewayStopped,
    HandshakeRefused,
    StationRegistered,
    WebhookAdded,
)
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Answer, Attempt, Sender
from stationkeeper.engine.stations import Connection
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence
from stationkeeper.transports.memory import Closed, MemoryStation, MemoryStations, NotLetIn

LIVENESS = Liveness(ping_interval=10, ping_timeout=5, silence=900)
DRAIN = 20.0


@asynccontextmanager
async def gateway(
    log: MemoryLog, stations: MemoryStations, *, drain: float = DRAIN, shutdown_timeout: float = 30.0
) -> AsyncGenerator[Engine]:
    settings = EngineSettings(liveness=LIVENESS, drain=drain, shutdown_timeout=shutdown_timeout)
    async with open_engine(
        log, transports=[stations], projections=[presence], settings=settings, clock=VirtualClock(), inline=True
    ) as engine:
        yield engine


def closing(recorded: Recorded) -> ConnectionClosed:
    event = decode(recorded)
    assert isinstance(event, ConnectionClosed)
    return event


async def watch(stations: list[MemoryStation], nursery: trio.Nursery) -> list[tuple[float, int, Closed]]:
    """Note from now on when which station is told that it is closed."""
    began, ends = trio.current_time(), list[tuple[float, int, Closed]]()

    async def wait(number: int, station: MemoryStation) -> None:
        closed = await station.wait_closed()
        ends.append((trio.current_time() - began, number, closed))

    for number, station in enumerate(stations):
        nursery.start_soon(wait, number, station)
    await trio.lowlevel.checkpoint()
    return ends


async def test_stations_are_closed_one_by_one_in_the_order_of_their_coming(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with trio.open_nursery() as nursery:
        async with gateway(log, stations) as engine:
            ends = await watch([await stations.connect(f"CP-{number}") for number in range(10)], nursery)
        fleet = engine.state(presence)

    assert [number for _, number, _ in ends] == list(range(10))
    assert [at for at, _, _ in ends] == pytest.approx([2.0 * number for number in range(10)], abs=0.01)
    assert {closed.code for _, _, closed in ends} == {1001}
    assert all(fleet[f"CP-{number}"].online for number in range(10))


async def test_each_end_is_in_the_log_before_the_run_ends(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with gateway(log, stations):
        for number in range(10):
            await stations.connect(f"CP-{number}")

    closed = list(log.read(kinds={ConnectionClosed.kind}))
    assert [recorded.subject for recorded in closed] == [f"CP-{number}" for number in range(10)]
    assert {closing(recorded).cause for recorded in closed} == {"shutdown"}
    assert [recorded.kind for recorded in log.read()][-1] == GatewayStopped.kind


async def test_who_comes_meanwhile_is_answered_503(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    refused: list[NotLetIn] = []

    async def come() -> None:
        await trio.sleep(DRAIN / 4)
        with pytest.raises(NotLetIn) as caught:
            await stations.connect("CP-new")
        refused.append(caught.value)

    async with trio.open_nursery() as nursery:
        async with gateway(log, stations) as engine:
            await stations.connect("CP-1")
            await stations.connect("CP-2")
            nursery.start_soon(come)
        ready = engine.ready

    assert [(error.status, error.reason) for error in refused] == [(503, "draining")]
    assert not ready


async def test_who_is_not_closed_yet_is_watched_and_answered(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    told: list[str] = []

    async def answer(connection: Connection, text: str) -> None:
        await connection.send(text.upper())

    stations = MemoryStations(on_message=answer)

    async def talk(station: MemoryStation) -> None:
        await trio.sleep(12)
        await station.send("still here")
        told.append(await station.receive())

    async with trio.open_nursery() as nursery, gateway(log, stations, drain=40, shutdown_timeout=60):
        await stations.connect("CP-first")
        good = await stations.connect("CP-good")
        silent = await stations.connect("CP-silent")
        silent.vanish()
        nursery.start_soon(talk, good)

    causes = {recorded.subject: closing(recorded).cause for recorded in log.read(kinds={ConnectionClosed.kind})}
    assert told == ["STILL HERE"]
    assert good.pings > 0
    assert causes == {"CP-first": "shutdown", "CP-good": "shutdown", "CP-silent": "ping_timeout"}


async def test_a_second_signal_cuts_it_short(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with trio.open_nursery() as nursery:
        async with gateway(log, stations) as engine:
            for number in range(10):
                await stations.connect(f"CP-{number}")
            began = trio.current_time()

            async def hurry() -> None:
                await trio.sleep(5)
                engine.hurry()

            nursery.start_soon(hurry)
        took = trio.current_time() - began

    assert took < 6
    assert sum(recorded.kind == ConnectionClosed.kind for recorded in log.read()) == 3
    assert GatewayStopped.kind not in {recorded.kind for recorded in log.read()}


async def test_the_whole_stop_is_bounded_all_the_same(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with gateway(log, stations, drain=1000, shutdown_timeout=30):
        await stations.connect("CP-1")
        await stations.connect("CP-2")
        began = trio.current_time()

    assert trio.current_time() - began < 31


async def test_where_everybody_has_gone_there_is_nothing_to_wait_for(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with gateway(log, stations):
        for number in range(10):
            await (await stations.connect(f"CP-{number}")).close()
        began = trio.current_time()

    assert trio.current_time() - began < 1


async def test_without_a_drain_all_are_closed_at_once(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with trio.open_nursery() as nursery, gateway(log, stations, drain=0.0):
        ends = await watch([await stations.connect(f"CP-{number}") for number in range(10)], nursery)

    assert max(at for at, _, _ in ends) < 1


async def test_whoever_goes_by_itself_is_not_waited_for(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()

    async def leave(late: list[MemoryStation]) -> None:
        await trio.sleep(1)
        for station in late:
            station.lose()

    async with trio.open_nursery() as nursery:
        async with gateway(log, stations):
            fleet = [await stations.connect(f"CP-{number}") for number in range(10)]
            nursery.start_soon(leave, fleet[5:])
            began = trio.current_time()
        took = trio.current_time() - began

    assert took == pytest.approx(8.0, abs=0.5)  # when the last of those that stayed had its turn


class Hanging(Sender):
    """Sends, and gets no answer."""

    def __init__(self) -> None:
        self.begun = trio.Event()

    async def send(self, attempt: Attempt) -> Answer:
        self.begun.set()
        await trio.sleep_forever()

    async def aclose(self) -> None: ...


async def test_a_drain_leaves_time_to_end_in_order_whatever_is_being_sent(autojump_clock: MockClock) -> None:
    log, stations, sender = MemoryLog(), MemoryStations(), Hanging()
    settings = EngineSettings(liveness=LIVENESS, drain=28, shutdown_timeout=30)
    async with open_engine(
        log,
        transports=[stations, sender],
        projections=[presence, outbox],
        settings=settings,
        clock=VirtualClock(),
        inline=True,
    ) as engine:
        engine.secrets.keep("s1", b"secret")
        await engine.record(StationRegistered(), subject="CP-1")
        await engine.record(WebhookAdded(url="https://a.example/", secrets=("s1",)), subject="w1")
        for number in range(1, 11):
            await stations.connect(f"CP-{number}")
        await sender.begun.wait()

    assert [recorded.kind for recorded in log.read()][-1] == GatewayStopped.kind


async def test_refusals_of_the_last_minute_are_counted_before_the_run_ends(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with gateway(log, stations) as engine:
        for _ in range(7):
            engine.doorway.refused("CP-7", reason="wrong_credentials", status=401)

    counted = [decode(recorded) for recorded in log.read(kinds={HandshakeRefused.kind})]
    assert sum(event.count for event in counted if isinstance(event, HandshakeRefused)) == 7
    assert [recorded.kind for recorded in log.read()][-1] == GatewayStopped.kind

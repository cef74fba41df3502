"""The timer behind `station.settled`, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from stationkeeper.daemon.settle import settle_stations
from stationkeeper.engine import Engine, EngineSettings, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import StationSettled
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence, registry, settling, webhooks
from stationkeeper.transports.admission import AnyStation
from stationkeeper.transports.memory import MemoryStations

MINUTE = 60.0


@asynccontextmanager
async def gateway(log: MemoryLog, stations: MemoryStations, clock: VirtualClock) -> AsyncIterator[Engine]:
    async with (
        open_engine(
            log,
            transports=[stations],
            projections=[presence, registry, webhooks, outbox, settling],
            settings=EngineSettings(settling=5 * MINUTE, reconnect_grace=MINUTE),
            clock=clock,
            inline=True,
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(settle_stations, engine)
        yield engine
        nursery.cancel_scope.cancel()


def settled(log: MemoryLog) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for recorded in log.read(kinds={StationSettled.kind}):
        event = decode(recorded)
        assert isinstance(event, StationSettled)
        found.append((recorded.subject, event.version))
    return found


async def drop(stations: MemoryStations, id: str) -> None:
    station = await stations.connect(id)
    await station.close()


async def test_a_station_that_stays_offline_settles_once(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations(admit=AnyStation())
    async with gateway(log, stations, VirtualClock()):
        await drop(stations, "CP-7")
        await trio.sleep(5 * MINUTE - 5)
        assert settled(log) == []
        await trio.sleep(10)
        assert settled(log) == [("CP-7", 2)]
        await trio.sleep(60 * MINUTE)

    assert settled(log) == [("CP-7", 2)]


async def test_one_that_comes_back_does_not_settle(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations(admit=AnyStation())
    async with gateway(log, stations, VirtualClock()):
        await drop(stations, "CP-7")
        await trio.sleep(4 * MINUTE)
        await stations.connect("CP-7")
        await trio.sleep(10 * MINUTE)

    assert settled(log) == []


async def test_time_offline_counts_on_over_a_restart(autojump_clock: MockClock) -> None:
    log, clock = MemoryLog(), VirtualClock()
    first, second = MemoryStations(admit=AnyStation()), MemoryStations(admit=AnyStation())
    async with gateway(log, first, clock):
        await drop(first, "CP-7")
        await trio.sleep(4 * MINUTE)
    async with gateway(log, second, clock):
        await trio.sleep(30)
        assert settled(log) == []
        await trio.sleep(45)

        assert settled(log) == [("CP-7", 2)]


async def test_a_clock_that_was_set_back_makes_nobody_wait_longer(autojump_clock: MockClock) -> None:
    log, clock = MemoryLog(), VirtualClock()
    first, second = MemoryStations(admit=AnyStation()), MemoryStations(admit=AnyStation())
    async with gateway(log, first, clock):
        await drop(first, "CP-7")
    clock.set_wall(-50)
    async with gateway(log, second, clock):
        await trio.sleep(5 * MINUTE + 5)

        assert settled(log) == [("CP-7", 2)]


async def test_a_log_that_cannot_be_written_delays_it_and_no_more(autojump_clock: MockClock) -> None:
    broken = True
    log = MemoryLog(
        fault=lambda entries: (
            "written" if broken and any(entry.kind == "station.settled" for entry in entries) else None
        )
    )
    stations = MemoryStations(admit=AnyStation())
    async with gateway(log, stations, VirtualClock()):
        await drop(stations, "CP-7")
        await trio.sleep(6 * MINUTE)
        broken = False
        await trio.sleep(MINUTE)

        assert settled(log) == [("CP-7", 2)]

"""An operator is told of troubles: once when they begin, and of a log that cannot be written once when that is over."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.daemon.troubles import tell_of_conflicts, tell_of_troubles
from stationkeeper.engine import open_engine
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import StationRegistered
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import conflicts, registry
from stationkeeper.transports import MemoryStations


async def test_a_trouble_is_told_once_and_its_end_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = False
    log = MemoryLog(fault=lambda entries: "lost" if broken else None)
    async with (
        open_engine(log, projections=[registry], clock=VirtualClock(), inline=True) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tell_of_troubles, engine)
        await trio.sleep(60)
        broken = True
        with pytest.raises(LogUnavailable):
            await engine.record(StationRegistered(), subject="CP-7")
        await trio.sleep(60)
        broken = False
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    told = [record for record in caplog.records if record.name == "stationkeeper.log"]

    assert [record.levelno for record in told] == [logging.ERROR, logging.WARNING]
    assert engine.committer.reason in told[0].getMessage()


async def test_two_devices_with_one_identity_are_told_of_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """ts-ocpp#19: to everybody else such a station is just online."""
    stations = MemoryStations()
    async with (
        open_engine(
            MemoryLog(), transports=[stations], projections=[conflicts], clock=VirtualClock(), inline=True
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tell_of_conflicts, engine)
        for _ in range(10):
            device = await stations.connect("CP-7")
            await trio.sleep(8)
            await device.send("[2,...]")
            await trio.sleep(2)
        nursery.cancel_scope.cancel()
    told = [record for record in caplog.records if record.name == "stationkeeper.stations"]

    assert [record.levelno for record in told] == [logging.WARNING]
    assert (
        "'CP-7', or one opens a second connection while it has one: it was taken over 3 times within 20 s"
        in told[0].getMessage()
    )

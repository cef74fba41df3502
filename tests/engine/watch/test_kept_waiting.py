"""What holds up the grace: our own shortcomings, and not whatever strangers do (semantics 4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.engine import EngineSettings, open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.engine.watch.doorway import Doorway
from stationkeeper.projections import presence
from stationkeeper.transports.handshake.answers import crowded
from stationkeeper.transports.memory import MemoryStations

SETTINGS = EngineSettings(reconnect_grace=60)


async def still_online_after(what: Callable[[Doorway], None]) -> bool:
    """Lose a run that held a station, do something ten times a second for thrice the grace, and look at its flag."""
    log, clock = MemoryLog(), VirtualClock()
    stations = MemoryStations()
    async with open_engine(log, transports=[stations], settings=SETTINGS, clock=clock, inline=True) as engine:
        await stations.connect("CP-1")
        engine.hurry()
    async with open_engine(log, projections=[presence], settings=SETTINGS, clock=clock, inline=True) as engine:
        for _ in range(1800):
            what(engine.doorway)
            await trio.sleep(0.1)
        return engine.state(presence)["CP-1"].online


@pytest.mark.parametrize("reason", ["overloaded", "full", "busy", "handshake_timeout", "log_unavailable"])
async def test_nobody_lapses_while_stations_are_turned_away_for_a_reason_of_ours(
    autojump_clock: MockClock, reason: str
) -> None:
    assert await still_online_after(lambda door: door.refused("CP-1", reason=reason, status=503))


async def test_nobody_lapses_while_nobody_can_be_accepted(autojump_clock: MockClock) -> None:
    assert await still_online_after(lambda door: door.kept_waiting())


async def test_strangers_that_get_nowhere_hold_up_no_grace(autojump_clock: MockClock) -> None:
    refused = crowded()

    assert not await still_online_after(lambda door: door.refused("", reason=refused.reason, status=refused.status))


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "too_often"), (404, "unknown_station"), (401, "no_credentials"), (503, "superseded"), (503, "ended")],
)
async def test_what_is_a_peers_own_doing_holds_up_no_grace(autojump_clock: MockClock, status: int, reason: str) -> None:
    assert not await still_online_after(lambda door: door.refused("CP-1", reason=reason, status=status))

"""How late the event loop is, as the engine says it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.engine import open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock


@pytest.mark.parametrize("in_a_storm", [False, True])
async def test_the_lag_is_how_late_the_loop_was_of_late_also_while_stations_come_all_the_time(
    autojump_clock: MockClock, in_a_storm: bool
) -> None:
    async with open_engine(MemoryLog(), clock=VirtualClock(), inline=True) as engine:
        await trio.sleep(2)
        assert engine.lag == pytest.approx(0)

        for _ in range(20):
            if in_a_storm:
                engine.doorway.watched_sooner()  # as each station does that comes in
            autojump_clock.jump(0.3)  # somebody holds up the loop
            await trio.lowlevel.checkpoint()

        assert 0.25 < engine.lag < 0.7
        await trio.sleep(60)
        assert engine.lag < 0.01

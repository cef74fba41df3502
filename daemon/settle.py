"""The timer behind `station.settled`: a station that stays offline for the settling time is confirmed offline.

The event has an id that is computed, so the log holds it once, whatever happens between here and there; and it has no
effect if the station moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from ..engine.core import Engine
from ..engine.errors import Conflict, LogUnavailable
from ..engine.events import StationSettled
from ..engine.names import settled_id
from ..projections import settling
from ..projections.settling import Unsettled

LOOK: Final = 1.0
"""Seconds between looks: little beside minutes of settling, and a look costs 10 ms for 50 000 stations."""
AT_ONCE: Final = 200
"""Events on their way into the log: they share commits, and leave room for those of connections."""


async def settle_stations(engine: Engine) -> None:
    """Append `station.settled` for every station that stays offline long enough, for as long as this runs."""
    due: dict[Unsettled, float] = {}
    while True:
        now = engine.clock.stepless()
        due = {
            unsettled: due[unsettled] if unsettled in due else now + _delay(engine, unsettled)
            for unsettled in engine.state(settling).values()
        }
        ripe = [unsettled for unsettled, moment in due.items() if moment <= now]
        if ripe and engine.ready:
            await _record(engine, ripe)
        await trio.sleep(LOOK)


def _delay(engine: Engine, unsettled: Unsettled) -> float:
    """Return the seconds until a station seen for the first time by this run settles: none waits longer than one
    settling time, whatever the clock did while nobody ran."""
    gone = (engine.now() - unsettled.since) / 1_000_000
    settling_time = engine.settings.settling
    return min(max(settling_time - gone, 0.0), settling_time)


async def _record(engine: Engine, ripe: Sequence[Unsettled]) -> None:
    async def record(unsettled: Unsettled) -> None:
        event = StationSettled(version=unsettled.version, settling=engine.settings.settling)
        try:
            await engine.record(event, subject=unsettled.station, id=settled_id(unsettled.station, unsettled.version))
        except (Conflict, LogUnavailable):
            # In the log already, or cannot be written now: the next look finds out which.
            return

    for first in range(0, len(ripe), AT_ONCE):
        async with trio.open_nursery() as nursery:
            for unsettled in ripe[first : first + AT_ONCE]:
                nursery.start_soon(record, unsettled)

"""The ways in which virtual stations behave, as real ones do: each a function of a station and the line it has got."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import trio

from .line import Line
from .station import Behaviour, Station


async def steady(station: Station, line: Line) -> bool:
    """Boot, send heartbeats, answer, for as long as the gateway lets it."""
    await station.talk(line)
    return False


async def flapping(station: Station, line: Line) -> bool:
    """Stay for a while, then drop: in order, cut off, reset, or gone without a trace. Come back after a while."""
    if station.settled.is_set():
        return await rest(station, line)
    up, down = station.pace.up, station.pace.down
    if await station.talk(line, station.random.expovariate(1 / up)) is not None:
        return False
    vanish = station.random.random() < 0.25
    if vanish:
        station.fall_silent(line)
    else:
        await station.leave(line, how=station.random.choice([line.hang_up, line.cut, line.reset]))
    await station.away(station.random.expovariate(1 / down))
    return vanish


async def half_open(station: Station, line: Line) -> bool:
    """Lose the way to the gateway without noticing, and dial in anew while the old socket still stands."""
    if station.settled.is_set():
        return await rest(station, line)
    if await station.talk(line, station.random.expovariate(1 / station.pace.up)) is not None:
        return False
    station.fall_silent(line)
    return True


async def rest(station: Station, line: Line) -> bool:
    """Be flaky no more: one in three hangs up and stays away, the others stay."""
    if station.random.random() < 1 / 3:
        await station.leave(line, how=line.hang_up)
        station.retired = True
        await trio.sleep_forever()
    return await steady(station, line)


async def slow(station: Station, line: Line) -> bool:
    """Read and write at a crawl: a frame comes in pieces. Slow is not dead."""
    await station.talk(line, slowly=True)
    return False


BEHAVIOURS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "steady": steady,
        "flapping": flapping,
        "half-open": half_open,
        "slow": slow,
        # The rest behave like any other and never get that far: what is wrong is what they dial in with.
        "wrong password": steady,
        "unknown id": steady,
        "no subprotocol": steady,
    }
)
"""By name."""

REFUSED: Mapping[str, int] = MappingProxyType({"wrong password": 401, "unknown id": 404, "no subprotocol": 101})
"""The answers that those who must not be let in have to get; a 101 here names no subprotocol."""

FLAKY = ("flapping", "half-open", "slow")
"""What flaky stations are drawn from."""

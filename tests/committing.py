"""A committer at work, what it tells, and logs that fail as scripted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from stationkeeper.engine.committer import Committer
from stationkeeper.engine.entry import Beat, Entry, Recorded
from stationkeeper.engine.log import Log
from stationkeeper.engine.log.memory import Fault


class Told:
    """What was told of commits, and in which sizes."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.groups: list[int] = []

    def __call__(self, events: list[Recorded]) -> None:
        self.events += events
        self.groups.append(len(events))

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events]


@asynccontextmanager
async def running(
    log: Log,
    told: Callable[[list[Recorded]], None],
    *,
    inline: bool = True,
    beat: Callable[[], Beat | None] = lambda: None,
    capacity: int = 100,
) -> AsyncGenerator[Committer]:
    """Run a committer for as long as the block lasts, a minute at most; then close it."""
    committer = Committer(log, inline=inline, committed=told, beat=beat, capacity=capacity)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(committer.run)
            yield committer
            await committer.close()


def faults(*script: Fault | None) -> Callable[[Sequence[Entry]], Fault | None]:
    """Fail the next appends as scripted, and none after them."""
    coming = list(script)
    return lambda _: coming.pop(0) if coming else None

"""The feed's past: messages older than what the engine holds, derived from the log again, in worker threads.

A replay begins at the log's begin, or at its newest snapshot, so paging through a long history by starting over for
each page would take the square of its length. Each replay therefore stands for a while at the end of the page that it
made, and whoever asks for the next one goes on from there. It holds a whole fleet, so few may stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import trio

from ...engine import Engine
from ...engine.fold import Fold, in_order
from ...engine.log import Log
from ...engine.snapshots import fold_of
from ...projections.feed import Cursor, Telling, feed, first_of
from ...projections.webhooks import Webhook

RUNNING: Final = 2
"""Replays at once: each keeps a thread busy, and the committer needs one, too."""
STANDING: Final = 4
"""Replays that stand, at most."""
PATIENCE: Final = 60.0
"""Seconds that a replay stands and nobody goes on with it."""
SLICE: Final = 10_000
"""Events that a thread folds in one go: some 50 ms, after which it is seen whether anybody still waits."""
LONGEST: Final = 20.0
"""Seconds that a page may take, under the time at which proxies give up. What was not reached by then, the next request
goes on to: the page is empty, and its `next` is where it began."""
PAGE: Final = 500_000
"""Events that one page may look through; a filter that finds little gets a short page, and goes on from there."""

KINDS: Final = frozenset(kind for projection in in_order([feed]) for kind in projection.kinds)


class Replay:
    """A fold of the feed, somewhere in the log."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self.looked = fold.position
        """All up to here is folded, as far as it concerns the feed."""
        self._newest: tuple[Telling, ...] = ()
        """What the event that was folded last tells."""
        self.until = 0.0
        """When it is let go of, by trio's clock."""

    def reaches(self, after: Cursor) -> bool:
        """Can it tell all that comes after this? It only goes on, but its last event it can tell again."""
        return self._fold.position <= after.position

    def read(self, log: Log, asking: Webhook, after: Cursor, until: int, limit: int) -> tuple[list[Telling], Cursor]:
        """Return the first messages after a cursor, and how far was looked: a slice of the log, *until* at most."""
        end = min(until, self.looked + SLICE)
        found, stopped = first_of(chain(self._newest, self._on(log, end)), asking, after, limit)
        return found, stopped or max(after, Cursor(self.looked))

    def _on(self, log: Log, end: int) -> Iterator[Telling]:
        for recorded in log.read(self.looked, until=end, kinds=KINDS):
            self._newest = tuple(self._fold.advance(recorded).changes(feed))
            self.looked = recorded.position
            yield from self._newest
        self.looked = max(self.looked, end)


class Replays:
    """The replays of one engine: those that run, and those that stand."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns = trio.CapacityLimiter(RUNNING)
        self._standing: list[Replay] = []
        """The one that stands for longest first."""
        self._watched = False
        """Whether a task waits to let go of them."""

    @property
    def standing(self) -> int:
        """How many stand."""
        return len(self._standing)

    async def read(self, asking: Webhook, after: Cursor, until: int, limit: int) -> tuple[list[Telling], Cursor]:
        """Return the first messages after a cursor, and how far was looked: a page, *until* at most.

        If nobody waits any more, what was folded so far stands for whoever asks again.
        """
        async with self._turns:
            replay = self._take(after)
            if replay is None:
                replay = await trio.to_thread.run_sync(self._begin, after)
            try:
                return await self._page(replay, asking, after, until, limit)
            finally:
                self._stand(replay)

    async def _page(
        self, replay: Replay, asking: Webhook, after: Cursor, until: int, limit: int
    ) -> tuple[list[Telling], Cursor]:
        def read() -> tuple[list[Telling], Cursor]:
            with self._engine.reader() as log:
                return replay.read(log, asking, looked, until, limit - len(found))

        found: list[Telling] = []
        looked = after
        enough, deadline = Cursor(after.position + PAGE), trio.current_time() + LONGEST
        while len(found) < limit and Cursor(until) > looked and looked < enough:
            more, looked = await trio.to_thread.run_sync(read)
            found += more
            if trio.current_time() >= deadline:
                break
        return found, looked

    def _begin(self, after: Cursor) -> Replay:
        with self._engine.reader() as log:
            fold = fold_of(log, [feed])
        # What the event at the snapshot itself tells, nobody told this replay.
        return Replay(fold if fold.position < after.position else Fold([feed]))

    def _take(self, after: Cursor) -> Replay | None:
        fit = [replay for replay in self._standing if replay.reaches(after)]
        nearest = max(fit, key=lambda replay: replay.looked, default=None)
        if nearest is not None:
            self._standing.remove(nearest)
        return nearest

    def _stand(self, replay: Replay) -> None:
        replay.until = trio.current_time() + PATIENCE
        self._standing.append(replay)
        del self._standing[:-STANDING]
        if not self._watched:
            self._watched = True
            trio.lowlevel.spawn_system_task(self._let_go)

    async def _let_go(self) -> None:
        """Let go of those that stood for long enough, until none stands."""
        while self._standing:
            await trio.sleep_until(self._standing[0].until)
            self._standing = [replay for replay in self._standing if replay.until > trio.current_time()]
        self._watched = False

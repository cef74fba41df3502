"""The handshakes under way: each has its deadline, and together they are bounded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio

from .places import Places, Waiting


class Patience:
    """How long one handshake may take."""

    def __init__(self, scope: trio.CancelScope, waiting: Waiting) -> None:
        self.scope = scope
        self._waiting = waiting

    @property
    def cut(self) -> bool:
        """Whether it had to make room for others."""
        return self._waiting.cut


class Lobby:
    """Where peers wait to be let in, or turned away."""

    def __init__(self, *, places: int, timeout: float) -> None:
        self._places = Places(places)
        self._most = places
        self._lingering = 0
        self._timeout = timeout
        self._moved: trio.Event | None = None
        """Set at the next move; none while nobody waits for one, as most of the time."""

    def accepted(self) -> None:
        """A peer was accepted; its handshake will begin."""
        self._places.reserve()

    @contextmanager
    def handshake(self, progress: Callable[[], int | None]) -> Generator[Patience]:
        """Bound the time of one handshake; its place is free when the block ends. *progress*: see `Waiting`."""
        with trio.move_on_after(self._timeout) as scope:
            waiting = self.enter(progress, scope.cancel, trio.current_time())
            try:
                yield Patience(scope, waiting)
            finally:
                self.leave(waiting)

    def enter(self, progress: Callable[[], int | None], make_room: Callable[[], object], now: float) -> Waiting:
        """Begin a handshake that sees to its time by itself. *progress* and *make_room*: see `Waiting`."""
        waiting = self._places.enter(progress, make_room, now)
        self._tell()
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """End it: its place is free."""
        self._places.leave(waiting)
        self._tell()

    def may_linger(self) -> bool:
        """Return whether one that was turned away may be waited for until it closes its side; as many may at a time as
        there are places. Then its end is told by `lingered`."""
        if self._lingering >= self._most:
            return False
        self._lingering += 1
        return True

    def lingered(self) -> None:
        """It has closed, or its time was over."""
        self._lingering -= 1

    async def room(self) -> None:
        """Wait until there is a place. Who gets nowhere has to make one (see `Places`); one that is merely slow, or
        that we have not decided about, has not."""
        while self._places.full:
            if self._moved is None:
                self._moved = trio.Event()
            moved = self._moved  # taken once: whoever leaves while our deadline comes must not be missed
            waiting = self._places.must_go(trio.current_time())
            if waiting is None:
                with trio.CancelScope(deadline=self._places.next_look()):
                    await moved.wait()
            else:
                waiting.make_room()
                await moved.wait()

    def _tell(self) -> None:
        """Wake all who wait for room: there is one waiting for each listener."""
        if self._moved is not None:
            self._moved.set()
            self._moved = None

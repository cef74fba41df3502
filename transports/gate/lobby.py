"""The handshakes under way: each has its deadline, and together they are bounded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Final

import trio

_CROWDED: Final = 1.0
"""Seconds that a peer may be silent once the lobby is full: the first bytes of a station come at once."""


class Patience:
    """How long one handshake may take."""

    def __init__(self, scope: trio.CancelScope, silent: Callable[[], bool]) -> None:
        self.scope = scope
        self.began = trio.current_time()
        self.silent = silent
        """Tells whether the peer has not sent one byte yet."""
        self.cut = False
        """Whether it had to make room for others."""


class Lobby:
    """Where peers wait to be let in, or turned away."""

    def __init__(self, *, places: int, timeout: float) -> None:
        self._places = places
        self._timeout = timeout
        self._accepted = 0
        self._undecided: dict[Patience, None] = {}
        self._moved = trio.Event()

    def accepted(self) -> None:
        """A peer was accepted; its `handshake` will begin."""
        self._accepted += 1

    @contextmanager
    def handshake(self, silent: Callable[[], bool]) -> Generator[Patience]:
        """Bound the time of one handshake; its place is free when the block ends. *silent*: see `Patience`."""
        self._accepted -= 1
        with trio.move_on_after(self._timeout) as scope:
            patience = Patience(scope, silent)
            self._undecided[patience] = None
            self._tell()
            try:
                yield patience
            finally:
                del self._undecided[patience]
                self._tell()

    async def room(self) -> None:
        """Wait until there is a place. A peer that has sent nothing has to make room for others after a second; one
        that is slow, or that we have not decided about, has not."""
        while self._accepted + len(self._undecided) >= self._places:
            moved = self._moved  # taken once: whoever leaves while our deadline comes must not be missed
            silent = next((patience for patience in self._undecided if patience.silent()), None)
            with trio.CancelScope(deadline=inf if silent is None else silent.began + _CROWDED) as waiting:
                await moved.wait()
            if waiting.cancelled_caught and silent is not None and silent.silent():
                silent.cut = True
                silent.scope.cancel()
                await moved.wait()

    def _tell(self) -> None:
        """Wake all who wait for room: there is one waiting for each listener."""
        self._moved.set()
        self._moved = trio.Event()

"""The places of those whose handshake is under way, and who has to make room when there is none left."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Final

SILENT: Final = 1.0
"""Seconds that a peer may say nothing while others wait for its place: the first bytes of a station come at once."""
STUCK: Final = 3.0
"""Seconds that one which has begun may get no further. Mobile networks take seconds for a TLS handshake's two ways."""


class Waiting:
    """A peer whose handshake is under way, and holds a place."""

    __slots__ = ("cut", "make_room", "progress", "seen", "since")

    def __init__(self, progress: Callable[[], int | None], make_room: Callable[[], object], now: float) -> None:
        self.make_room = make_room
        """Sends the peer away; its place is free once it has left."""
        self.progress = progress
        """Tells how far the peer has come, as a number that grows with what it sends; 0: it has not sent one byte.
        None: it waits for us, to decide or only to read what it has sent."""
        self.seen = 0
        """How far it was when somebody last looked."""
        self.since = now
        """When it had last got any further, as far as somebody looked."""
        self.cut = False
        """Whether it has to go, to make room for others."""


class Places:
    """A number of places, and who holds them. Nobody is looked at while there is room.

    Time is data: seconds of any clock that does not go back.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._silent: OrderedDict[Waiting, None] = OrderedDict()
        """Who was not seen to have sent anything, oldest first."""
        self._begun: OrderedDict[Waiting, None] = OrderedDict()
        """Who was seen to have sent something, longest without progress first."""

    @property
    def full(self) -> bool:
        """Whether whoever comes has to wait."""
        return self._free <= 0

    def reserve(self) -> None:
        """Take a place for a peer that was accepted, and will `enter`."""
        self._free -= 1

    def enter(self, progress: Callable[[], int | None], make_room: Callable[[], object], now: float) -> Waiting:
        """Let a peer whose place was reserved begin. *progress* and *make_room*: see `Waiting`."""
        waiting = Waiting(progress, make_room, now)
        self._silent[waiting] = None
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """Free a peer's place: it is let in, or turned away."""
        self._silent.pop(waiting, None)
        self._begun.pop(waiting, None)
        self._free += 1

    def must_go(self, now: float) -> Waiting | None:
        """Return who has to make room now, each once: who said nothing, or got no further, for too long. It holds its
        place until it leaves. Who waits for us need not."""
        return self._first(self._silent, SILENT, now) or self._first(self._begun, STUCK, now)

    def next_look(self) -> float:
        """Return when `must_go` may find somebody; infinity if nobody can be found."""
        times = [
            next(iter(queue)).since + patience
            for queue, patience in ((self._silent, SILENT), (self._begun, STUCK))
            if queue
        ]
        return min(times, default=inf)

    def _first(self, queue: OrderedDict[Waiting, None], patience: float, now: float) -> Waiting | None:
        while queue:
            waiting = next(iter(queue))
            if waiting.since + patience > now:
                return None
            del queue[waiting]
            come = waiting.progress()
            if come == waiting.seen:
                waiting.cut = True
                return waiting
            if come is not None:
                waiting.seen = come
            waiting.since = now
            self._begun[waiting] = None
        return None

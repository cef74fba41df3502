"""One watchdog for all connections: a heap of deadlines, most of them stale.

Proof of life need not touch the heap: an entry stands no later than any deadline that a byte may bring about
(`Vigil.ask_again`), and one whose time has come is looked up again and put back where it now belongs. A talking
station costs one heap operation an interval, an idle one two.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from math import inf, nextafter
from typing import Generic, Protocol, TypeVar

from .liveness import Due, Vigil


class Watched(Protocol):
    """Something under watch."""

    vigil: Vigil

    @property
    def over(self) -> bool:
        """Whether it has ended, and need not be watched any more."""
        ...


W = TypeVar("W", bound=Watched)


class Watchdog(Generic[W]):
    """Says who is due, in the order of their deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, W]] = []
        self._ties = count()

    def watch(self, watched: W) -> None:
        """Watch it from now on, until it is over."""
        self._put(watched.vigil.deadline(), watched)

    def next_deadline(self) -> float:
        """Return when somebody may be due next; infinity if nobody is watched."""
        return self._heap[0][0] if self._heap else inf

    def due(self, now: float) -> Iterator[tuple[W, Due, float]]:
        """Yield everyone who is due at *now*, what is due, and how late we are (seconds).

        Whoever takes one must act on it (`pinged`, `heard`, or its end) before taking the next.
        """
        while self._heap and self._heap[0][0] <= now:
            _, _, watched = heappop(self._heap)
            if watched.over:
                continue
            due = watched.vigil.expire(now)
            if due is not None:
                yield watched, due, now - watched.vigil.deadline()
            if not watched.over:
                # After *now* in any case: an interval too short for a float to tell apart must not hold us here.
                self._put(max(watched.vigil.ask_again(now), nextafter(now, inf)), watched)

    def _put(self, when: float, watched: W) -> None:
        heappush(self._heap, (when, next(self._ties), watched))

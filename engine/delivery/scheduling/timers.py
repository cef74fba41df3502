"""Timers: who is due, and when. Setting one anew makes the older one void.

Nothing is ever searched for; void ones are dropped when they are due, or when they may be half of all.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar


class Timed(Protocol):
    """Who can have a timer: one at a time."""

    ticket: int
    """Of the timer that counts; 0: none does."""


T = TypeVar("T", bound=Timed)

FEW: Final = 256
"""Entries among which void ones do not matter."""


class Timers(Generic[T]):
    """A heap of timers. An entry counts only while its owner still bears its ticket."""

    __slots__ = ("_heap", "_most", "_tickets")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._tickets = 0
        self._most = FEW
        """More entries than these are worth a look for void ones."""

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, owner: T, due: float) -> None:
        """Let an owner be due then, and at no other time."""
        self._tickets += 1
        owner.ticket = self._tickets
        heappush(self._heap, (due, owner.ticket, owner))
        if len(self._heap) > self._most:
            self._drop_void()

    def deadline(self) -> float | None:
        """Return when the next one is due; none if nobody is."""
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].ticket:
            heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now: float) -> T | None:
        """Take off who has been due for longest; none if nobody is due."""
        due = self.deadline()
        if due is None or due > now:
            return None
        owner = heappop(self._heap)[2]
        owner.ticket = 0
        return owner

    def _drop_void(self) -> None:
        # Each time there are twice as many as counted the last time: a few steps for each timer that is set.
        self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
        heapify(self._heap)
        self._most = max(FEW, 2 * len(self._heap))

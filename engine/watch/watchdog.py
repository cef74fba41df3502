"""One watchdog for all connections: a calendar of deadlines, most of them stale.

A day of the calendar is a 64th of a second, and whoever is due on it waits in one list: 8 bytes a station, and a fleet
is pinged in batches. Proof of life need not touch the calendar: an entry stands no later than any deadline that a byte
may bring about (`Vigil.ask_again`), and one whose day has come is looked up again and put where it now belongs. A
talking station is looked up once an interval, an idle one twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import ceil, floor, inf
from typing import Final, Generic, Protocol, TypeVar

from .liveness import Due, Vigil

GRAIN: Final = 1 / 64
"""Seconds. A power of two, so that multiples of it are exact."""


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
        self._days: dict[int, list[W]] = {}
        """By number: who is to be looked up on it."""
        self._ahead: list[int] = []
        """The days on which there is somebody: a heap."""

    def watch(self, watched: W) -> None:
        """Watch it from now on, until it is over."""
        self._put(watched.vigil.deadline(), 0, watched)

    def next_deadline(self) -> float:
        """Return when somebody may be due next; infinity if nobody is watched."""
        return self._ahead[0] * GRAIN if self._ahead else inf

    def due(self, now: float) -> Iterator[tuple[W, Due, float]]:
        """Yield everyone who is due at *now*, what is due, and how late we are (seconds).

        Whoever takes one must act on it (`pinged`, `heard`, or its end) before taking the next.
        """
        today = floor(now / GRAIN)
        while self._ahead and self._ahead[0] <= today:
            waiting = self._days.pop(heappop(self._ahead))
            while waiting:
                watched = waiting.pop()
                if watched.over:
                    continue
                due = watched.vigil.expire(now)
                if due is not None:
                    yield watched, due, now - watched.vigil.deadline()
                if not watched.over:
                    self._put(watched.vigil.ask_again(now), today + 1, watched)

    def _put(self, when: float, earliest: int, watched: W) -> None:
        """Look it up on the day after *when*, or on the *earliest* that is possible."""
        if when == inf:
            return
        day = max(ceil(when / GRAIN), earliest)
        if day not in self._days:
            self._days[day] = []
            heappush(self._ahead, day)
        self._days[day].append(watched)

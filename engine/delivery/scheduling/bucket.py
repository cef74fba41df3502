"""A token bucket: so many attempts a second, at most, and hardly more in any one moment. Sans-IO: time comes in.

It is kept as one time, the one at which the bucket would be full again (the "generic cell rate algorithm" of ATM
Forum TM 4.0), so that nothing has to be filled while nobody asks.
"""

from __future__ import annotations

from typing import Final

BURST: Final = 0.1
"""Seconds' worth of attempts that may begin at once, but always one: what a receiver takes on average it takes within
a tenth of a second too, and a loop that wakes some milliseconds late does not fall short of the rate for it."""


class Bucket:
    """In any span of t seconds no more than `burst + rate * t` attempts begin."""

    __slots__ = ("_full_at", "_rate", "burst", "until")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._full_at = 0.0
        self.burst = max(1.0, BURST * rate)
        """Attempts that may begin at once."""
        self.until = 0.0
        """When the next attempt may begin."""

    @property
    def rate(self) -> float:
        """Attempts a second."""
        return self._rate

    def take(self, now: float) -> None:
        """Note that an attempt begins, at `until` or later."""
        self._full_at = max(self._full_at, now) + 1.0 / self._rate
        self.until = self._full_at - (self.burst - 1.0) / self._rate

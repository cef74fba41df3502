"""Token buckets by key: how often each of many may do something, at the price of a number for those who did of late.

A bucket of `burst` tokens that fills at `rate` a second is kept as the moment at which it is full again (the virtual
scheduling form of ITU-T I.371's cell rate algorithm). A full bucket is not kept at all, so that who behaves costs
nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import frozen

_SWEPT = 2
"""Full buckets forgotten with each use: more than are made, so that the table shrinks as soon as it can."""


@frozen
class Rate:
    """At most `burst` at once, and `per_second` in the long run."""

    burst: int
    per_second: float


class Rates:
    """The buckets of many keys. Their number is bounded: the one that was not used for the longest time goes first.

    Time is data: seconds of any clock that does not go back.
    """

    def __init__(self, rate: Rate, *, most: int) -> None:
        self._each = 1 / rate.per_second
        self._leeway = (rate.burst - 1) / rate.per_second
        self._full = self._leeway + self._each
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """Key -> when its bucket is full again, in the order of use."""

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until *key* has a token again; 0 if it has one."""
        full_at = self._full_at.get(key)
        return 0.0 if full_at is None else max(full_at - now - self._leeway, 0.0)

    def spend(self, key: str, now: float) -> None:
        """Take a token of *key*'s. Whether it has one is asked of `wait`: an empty bucket does not go below nothing."""
        full_at = max(self._full_at.pop(key, now), now) + self._each
        self._full_at[key] = min(full_at, now + self._full)
        for _ in range(_SWEPT):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._most:
                break
            del self._full_at[oldest]

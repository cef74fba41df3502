"""How often slow properties are tried."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> int:
    """Return how many examples to try of a property that is too slow for the usual hundred.

    *number* in a usual run; in a soak as many times more as of any other property.
    """
    return max(1, number * settings().max_examples // 100)

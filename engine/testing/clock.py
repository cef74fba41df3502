"""A clock for virtual time: trio's own, so that a `MockClock` moves liveness, grace and event times alike."""

from __future__ import annotations

import trio

from ..events import Micros

BEGIN: Micros = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: what the wall clock says when virtual time is 0."""


class VirtualClock:
    """Trio's clock as the engine's. `set_wall` steps the wall clock, as an operator or NTP would."""

    def __init__(self, *, begin: Micros = BEGIN) -> None:
        self._begin = begin

    def stepless(self) -> float:
        return trio.current_time()

    def wall(self) -> Micros:
        return self._begin + round(trio.current_time() * 1_000_000)

    def set_wall(self, seconds: float) -> None:
        """Step the wall clock by so many seconds, forward or back."""
        self._begin += round(seconds * 1_000_000)

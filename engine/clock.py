"""Time: a clock that never steps, the wall time derived from it, and RFC 3339 on the edges."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from .events import Micros


class Clock(Protocol):
    """Where the engine's time comes from."""

    def stepless(self) -> float:
        """Return seconds on a clock that never steps and counts suspend. Only it decides liveness, retries, grace."""
        ...

    def wall(self) -> Micros:
        """Return what the machine's wall clock says: data, never a decision."""
        ...


class SystemClock:
    """The machine's clocks: CLOCK_BOOTTIME, and the wall clock."""

    def stepless(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> Micros:
        return time.time_ns() // 1000


def rfc3339(at: Micros) -> str:
    """Write a time as RFC 3339 in UTC, with microseconds."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1_000_000:06d}Z"


def parse_time(text: str) -> Micros:
    """Read an RFC 3339 time; one without an offset is taken as UTC.

    Raises:
        ValueError: it is no such time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write it as in RFC 3339, e.g. 2026-11-22T09:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Whole seconds and microseconds apart: a float would lose the last digits.
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + moment.microsecond

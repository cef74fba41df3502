"""Time: a clock that never steps, the wall time derived from it, and RFC 3339 on the edges."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

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


_MINUTES: Final = [f"{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60)]
"""Of a day."""


def rfc3339(at: Micros) -> str:
    """Write a time as RFC 3339 in UTC, with microseconds."""
    # A message bears half a dozen times, and `strftime` costs four times as much as this.
    seconds, micros = divmod(at, 1_000_000)
    minutes, second = divmod(seconds, 60)
    day, minute = divmod(minutes, 1440)
    return f"{_date(day)}{_MINUTES[minute]}{second:02}.{micros:06}Z"


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    """Return the begin of all times of a day, counted from 1970 on."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT")


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


class EventClock:
    """The times that a run's events bear: wall time at its start, plus what the stepless clock counted since.

    When the machine's wall clock is set, event times follow only after the difference has stood for a while, and by an
    event that says so; until then they run on evenly.
    """

    TOLERANCE = 1.0
    """Seconds of difference that are nobody's business: NTP slews more than that without a step."""
    PATIENCE = 10.0
    """Seconds that a difference must stand before it is believed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.stepless()
        self._wall = clock.wall()
        self._differs_since: float | None = None

    def now(self) -> Micros:
        """Return the time that an event of this moment bears."""
        return self.at(self._clock.stepless())

    def at(self, stepless: float) -> Micros:
        """Return the time that an event of that moment bears."""
        return self._wall + round((stepless - self._began) * 1_000_000)

    def take_step(self) -> float | None:
        """Compare with the wall clock; return the seconds by which event times now step, if it was set for good.

        To be called about once a second.
        """
        now = self._clock.stepless()
        difference = (self._clock.wall() - self.at(now)) / 1_000_000
        if abs(difference) <= self.TOLERANCE:
            self._differs_since = None
            return None
        if self._differs_since is None:
            self._differs_since = now
        if now - self._differs_since < self.PATIENCE:
            return None
        self._differs_since = None
        self._wall += round(difference * 1_000_000)
        return difference

"""The breaker: a webhook whose receiver is ill is left alone, and tried with one probe at a time.

    closed ── FAILURES messages fail, none accepted between ──> open ── its time is over ──> half open ── one probe
      ^                                                          ^                                          │
      └────────────────────── accepted ──────────────────────────┴──────────────── failed: twice as long ───┘

It counts *messages*, not attempts: one message that its receiver never accepts stays the trouble of its own lane,
however often it is tried. The probe is an ordinary attempt at a message that is due. Sans-IO: time comes in.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half open"]

FAILURES: Final = 5
"""Messages that fail in a row before it opens. With the attempts in flight at that moment this is all that an outage
costs at first, however many lanes wait; and two or three bad messages are not yet an ill receiver."""

FIRST_PAUSE: Final = 10.0
"""Seconds for which it opens first: a receiver that restarts is back by then."""

LONGEST_PAUSE: Final = 300.0
"""Seconds; doubling ends here. A receiver that comes back after hours is found within five minutes, and one that is
gone for good gets at most 12 probes an hour."""


class Breaker:
    """Whether a webhook may be tried now. It does no waiting: `until` says when it is worth asking again."""

    __slots__ = ("_cap", "_failing", "_pause", "_probe", "_put_off", "until")

    def __init__(self, cap: float = inf) -> None:
        """Make a closed one. *cap*: seconds for which its receiver may put it off in all, until it accepts one."""
        self._cap = cap
        self._put_off = 0.0
        self._failing: set[str] = set()
        self._pause = 0.0
        self._probe = ""
        self.until = 0.0
        """When the pause of an open breaker ends."""

    @property
    def tripped(self) -> bool:
        """Whether it is open or half open."""
        return self._pause > 0.0

    def suspend(self) -> None:
        """Be half open from the start: it was open before a restart."""
        self._pause = FIRST_PAUSE

    def state(self, now: float) -> State:
        """Return what it lets through: everything, nothing, or one probe."""
        if not self._pause:
            return "closed"
        return "open" if now < self.until else "half open"

    def allows(self, now: float) -> bool:
        """Return whether one more attempt may begin."""
        return not self._pause or (now >= self.until and not self._probe)

    def begin(self, message: str) -> None:
        """Note that an attempt begins; while half open it is the probe."""
        if self._pause:
            self._probe = message

    def abandon(self, message: str) -> None:
        """Note that an attempt that had begun was not made: another may be the probe."""
        if self._probe == message:
            self._probe = ""

    def accepted(self) -> None:
        """Note that the receiver accepted something: all is well."""
        self._failing.clear()
        self._pause, self._probe, self._put_off, self.until = 0.0, "", 0.0, 0.0

    def failed(self, message: str, now: float, *, asked: float = 0.0) -> None:
        """Note that an attempt failed; *asked*: the seconds that the receiver asked to be left alone."""
        if self._pause:
            if self._probe == message:
                self._probe = ""
                self._open(now, min(2 * self._pause, LONGEST_PAUSE), asked)
            return  # begun before it opened: says nothing new
        self._failing.add(message)
        if len(self._failing) >= FAILURES:
            self._failing.clear()
            self._open(now, FIRST_PAUSE, asked)

    def _open(self, now: float, pause: float, asked: float) -> None:
        self._pause = pause
        more = min(max(0.0, asked - pause), self._cap - self._put_off)
        self._put_off += more
        self.until = now + pause + more

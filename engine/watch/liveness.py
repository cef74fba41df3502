"""Liveness: is this connection alive? A machine without socket and clock; time comes in as an argument.

The rules (semantics 5):

* Any inbound byte is proof of life. A station that talks is not pinged.
* After `ping_interval` seconds of silence a ping is due. Its deadline counts from the moment at which it was written,
  or could not be, never from the moment at which it was due: our own lateness is not held against the station.
* At the deadline the machine does not say *dead*, it says *look*: only a read that begins now and finds the socket
  empty may end the connection. An answer that came in time is never a timeout, however late our loop is.
* A station that must not be pinged (`ping_interval = 0`) is looked at after `silence` seconds without a byte.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

from ..settings import Liveness


class Due(Enum):
    """What the machine asks for when its deadline has come."""

    PING = auto()
    """Write a ping, then call `pinged`."""
    LOOK = auto()
    """Look at the socket: call `heard` if there are bytes, else the connection has timed out."""


class Vigil:
    """The watch over one connection. All times are seconds of one stepless clock."""

    __slots__ = ("_early", "alive", "pinged_at", "rtt", "settings")

    def __init__(self, settings: Liveness, now: float, *, early: float = 0.0) -> None:
        """Begin to watch at *now*.

        *early*, from 0 to 1, brings the first ping forward by up to a quarter of the interval, so that stations that
        came back all at once are not pinged all at once for ever after.
        """
        self.settings = settings
        self.alive = now
        """When the newest proof of life came."""
        self.pinged_at: float | None = None
        """When the ping that is unanswered was written."""
        self.rtt: float | None = None
        """Seconds from the newest answered ping to the first byte after it."""
        self._early = early * settings.ping_interval / 4

    def heard(self, now: float) -> None:
        """Take note of a byte."""
        self.alive = now
        if self.pinged_at is not None:
            self.rtt = now - self.pinged_at
            self.pinged_at = None
            self._early = 0.0

    def pinged(self, now: float) -> None:
        """Take note that a ping was written, or could not be; its answer is awaited from *now* on."""
        self.pinged_at = now

    def deadline(self) -> float:
        """Return when `expire` next has something to say, as far as is known now. A byte moves it."""
        if self.pinged_at is not None:
            return self.pinged_at + self.settings.ping_timeout
        if self.settings.ping_interval > 0:
            return self.alive + self.settings.ping_interval - self._early
        return self.alive + (self.settings.silence or inf)

    def ask_again(self, now: float) -> float:
        """Return when to look at `deadline` again: whatever comes after *now*, it does not fall before this.

        The answer to a ping brings the deadline forward where the timeout is longer than the interval.
        """
        if self.pinged_at is None:
            return self.deadline()
        return min(self.deadline(), now + self.settings.ping_interval)

    def expire(self, now: float) -> Due | None:
        """Return what is due at *now*; none if the deadline has moved on."""
        if now < self.deadline():
            return None
        if self.pinged_at is None and self.settings.ping_interval > 0:
            return Due.PING
        return Due.LOOK

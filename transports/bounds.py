"""What one peer may cost, and the one sweep that sees to it for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import trio
from attrs import frozen

from ..engine.stations import Ending
from .frames import Meter

_LOG: Final = logging.getLogger(__name__)


@frozen(kw_only=True)
class Bounds:
    """What one peer may cost."""

    message: int = 64 * 1024
    """Bytes of a message."""
    frame_time: float = 30.0
    """Seconds from a frame's first byte to its last."""
    message_time: float = 60.0
    """Seconds from a message's first byte to its last."""
    unread: int = 256 * 1024
    """Bytes handed to us for a station that does not read them."""
    unread_time: float = 20.0
    """Seconds for which bytes may wait because the station does not read."""
    waiting: int = 64
    """Messages of a station that wait to be handled. OCPP allows one unanswered call in each direction."""
    sweep: float = 1.0
    """Seconds between two looks at what has begun and not ended."""


class Progress:
    """Since when a frame, a message or a write of one connection has been under way."""

    __slots__ = ("_begun_at", "_frames", "_message_at", "_messages", "_waits_since")

    def __init__(self) -> None:
        self._begun_at: float | None = None
        self._message_at: float | None = None
        self._waits_since: float | None = None
        self._frames = self._messages = 0

    @property
    def pending(self) -> bool:
        """Whether something is under way, so that somebody should look at it now and then."""
        return not (self._begun_at is None and self._message_at is None and self._waits_since is None)

    def heard(self, meter: Meter, now: float) -> None:
        """Note where *meter* stands, after bytes came."""
        if not meter.in_frame:
            self._begun_at = None
        elif self._begun_at is None or meter.frames != self._frames:
            self._begun_at = now
        if not meter.in_message:
            self._message_at = None
        elif self._message_at is None or meter.messages != self._messages:
            self._message_at = now
        self._frames, self._messages = meter.frames, meter.messages

    def wrote(self, waiting: int, now: float) -> bool:
        """Note how many bytes wait to be written, after an attempt; return whether some do now and did not, or did."""
        if bool(waiting) == (self._waits_since is not None):
            return False
        self._waits_since = now if waiting else None
        return True

    def overdue(self, bounds: Bounds, now: float, look: Callable[[], bool]) -> Ending | None:
        """Return how the connection ends because something takes too long. *look* tells whether bytes wait unread:
        then it is our reader that is late."""
        if _older(self._waits_since, now - bounds.unread_time):
            reason = f"nothing was read for {bounds.unread_time:g} s"
            return Ending(side="gateway", cause="slow_reader", reason=reason)
        for since, limit, what in (
            (self._begun_at, bounds.frame_time, "frame"),
            (self._message_at, bounds.message_time, "message"),
        ):
            if _older(since, now - limit) and not look():
                reason = f"a {what} must be complete within {limit:g} s"
                return Ending(side="gateway", cause="stalled_frame", code=1002, reason=reason)
        return None


def _older(since: float | None, limit: float) -> bool:
    return since is not None and since < limit


class Suspect(Protocol):
    """Something that has begun and not ended."""

    def check(self, now: float) -> None:
        """Put an end to it if it takes too long."""
        ...


class Suspects:
    """The wires on which something has begun and not ended, and the one sweep that looks after all of them.

    An idle wire is not among them, so that a fleet of silent stations costs the sweep nothing.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.wires: set[Suspect] = set()

    async def sweep(self) -> None:
        """Look for frames, messages and writes that take too long, until cancelled."""
        while True:
            await trio.sleep(self.bounds.sweep)
            now = trio.current_time()
            for wire in tuple(self.wires):
                try:
                    wire.check(now)
                except Exception:
                    _LOG.exception("looking after a connection failed")

"""What one peer may cost, and the one sweep that sees to it for all of them."""

from __future__ import annotations

from typing import Protocol

import trio
from attrs import frozen


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
                wire.check(now)

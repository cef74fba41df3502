"""The queue of a webhook: where its messages go, how it fares, and those of its lanes that are worth holding here.

The projection knows all lanes. A queue holds those that are in flight, those that wait for a retry, and a bounded
*window* of those that are ready: a webhook that is paused, or dead with a lane for each of ten thousand stations, costs
next to nothing. What is outside is found by a *sweep* over the projection's heads. While there is something outside,
a lane that becomes ready stands at the end of that line, outside too, so each sweep serves every lane once and none
starves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from ...sending import Destination, Owed
from .bucket import Bucket
from .condition import Condition
from .hosts import Host

WINDOW: Final = 1024
"""Ready lanes of a webhook that are held, at most: far more than are in flight, so that refilling is rare."""
PROBES: Final = 1
"""Ready lanes that are held of a webhook whose breaker is open."""


class Lane:
    """What the scheduler knows of one lane: it is in flight, or ready, or waits for its time."""

    __slots__ = ("condition", "finished", "flying", "head", "host", "moot", "queue", "queued", "subject", "ticket")

    def __init__(self, queue: Queue, subject: str) -> None:
        self.queue = queue
        self.subject = subject
        self.head: Owed | None = None
        """What is to be sent next, as the projection has it."""
        self.flying: Owed | None = None
        """What is in flight, or whose outcome is not in the log yet."""
        self.host = queue.host
        """Where what is in flight goes."""
        self.condition = queue.condition
        """Which an answer to what is in flight concerns: that of an attempt from before a mending says nothing of what
        was mended."""
        self.moot = False
        """Whether what is in flight is owed no more."""
        self.finished: tuple[str, int] | None = None
        """Message and round that had an outcome last: it is never sent again, though the fold still shows it."""
        self.queued = False
        """Whether it stands in `Queue.ready`."""
        self.ticket = 0


class Queue:
    """One webhook."""

    __slots__ = (
        "bucket", "called", "condition", "destination", "disabling", "flying", "held_until", "host", "lanes",
        "more", "ready", "sweep", "ticket", "turning", "wakes_at", "webhook", "window",
    )  # fmt: skip

    def __init__(self, destination: Destination, condition: Condition, window: int = WINDOW) -> None:
        self.webhook = destination.webhook
        self.destination: Destination | None = destination
        """None: it was removed."""
        self.condition = condition
        self.bucket: Bucket | None = None
        self.disabling = False
        """Whether it is to be disabled, which is not in the log yet."""
        self.lanes: dict[str, Lane] = {}
        """The lanes that are held here."""
        self.ready: deque[Lane] = deque()
        self.more = True
        """Whether a lane may be ready that is not held here."""
        self.sweep: Iterator[str] | None = None
        """The lanes that this sweep has still to look at."""
        self.window = window
        self.flying = 0
        self.held_until = 0.0
        """Until then nothing begins: what its attempts need is not there."""
        self.host = Host()
        self.called = False
        """Whether its host has promised it a slot."""
        self.turning = False
        """Whether it stands in the line of webhooks that could begin something, or in its host's."""
        self.ticket = 0
        self.wakes_at = 0.0

    @property
    def active(self) -> bool:
        """Whether anything may be sent to it."""
        return self.destination is not None and self.destination.state == "active" and not self.disabling

    @property
    def behind(self) -> bool:
        """Whether lanes may be ready that are not held here."""
        return self.more or self.sweep is not None

    @property
    def room(self) -> int:
        """Ready lanes that are worth holding now."""
        if not self.active:
            return 0
        return PROBES if self.condition.breaker.tripped else self.window

    @property
    def until(self) -> float:
        """When the next attempt may begin."""
        until = max(self.held_until, self.condition.breaker.until)
        return until if self.bucket is None else max(until, self.bucket.until)

    def may_begin(self, share: int) -> bool:
        """Return whether one more attempt would be within its share; while the trouble is ours, one at a time."""
        destination = self.destination
        if destination is None or destination.state != "active" or self.disabling:
            return False
        if self.condition.troubled:
            return self.flying < 1
        return self.flying < (destination.concurrency or share)

    def shed(self, *, waiting: bool) -> None:
        """Let go of the lanes that are ready, and of those that wait for their time: they are found again."""
        self.ready.clear()
        self.sweep, self.more = None, True
        for lane in list(self.lanes.values()):
            lane.queued = False
            stands = lane.flying is not None or (lane.ticket and not waiting)
            if not stands and (lane.head is None or (lane.head.id, lane.head.round) != lane.finished):
                lane.ticket = 0
                del self.lanes[lane.subject]

    def limit(self, rate: float | None) -> None:
        """Let so many attempts begin a second, at most; none: as many as it bears."""
        if rate is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != rate:
            self.bucket = Bucket(rate)


def mended(before: Destination, now: Destination) -> bool:
    """Return whether attempts may fare differently now. Of secrets and keys the newest counts.

    One that was enabled may, though it was active all the time: its breaker may have suspended it.
    """

    def blamed(destination: Destination) -> tuple[object, ...]:
        newest = destination.secrets[:1], destination.keys[:1], destination.headers
        places = destination.url, newest, destination.identity, destination.authorities
        return *places, destination.state, destination.afresh_at

    return blamed(before) != blamed(now)


def vaulted(destination: Destination) -> tuple[object, ...]:
    """Return what of a destination stands in the vault."""
    return (
        destination.secrets, destination.keys, destination.headers, destination.identity, destination.authorities,
    )  # fmt: skip

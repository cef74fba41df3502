"""What happened in a simulated world, written down by those to whom it happened: plain facts, in the order of time.

The engine writes the log; this is what the judge holds against it. Times are seconds of virtual time since the world's
begin. Nothing here comes from a projection, but for what the simulated world asked and was answered (`Asked`, `Told`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeAlias

import msgspec

from ...engine.entry import Recorded
from ...engine.events import Micros


class _Fact(msgspec.Struct, frozen=True, tag=True, tag_field="fact"):
    at: float


class Began(_Fact, frozen=True):
    """A gateway's run began."""

    run: str
    based: float
    """When its clock was read first ..."""
    wall: Micros
    """... and what the wall clock said then."""


class Accepting(_Fact, frozen=True):
    """The gateway begins, or ceases, to accept."""

    yes: bool


class Stopping(_Fact, frozen=True):
    """A gateway was told to stop in order."""

    run: str


class Died(_Fact, frozen=True):
    """A gateway's process is no more, in order or not."""

    run: str


class LetIn(_Fact, frozen=True):
    """A station was sent its 101."""

    socket: int
    station: str
    connection: str
    durable: int
    """The newest position that the log had acknowledged by then."""


class Broke(_Fact, frozen=True):
    """A Close frame (`closed`) or a reset (`reset`) of a let-in station has arrived at the gateway's socket."""

    socket: int
    how: str


class Dropped(_Fact, frozen=True):
    """The gateway ended a socket."""

    socket: int
    abort: bool
    pinged: float | None
    """When the newest ping was written."""
    arrived: tuple[float, ...]
    """When the newest bytes of the station arrived, read or not."""


class Silent(_Fact, frozen=True):
    """No byte of a station arrived for longer than its interval and timeout, while the gateway kept its socket."""

    socket: int
    since: float
    bound: float


class Stalled(_Fact, frozen=True):
    """The gateway's loop had no turn until now."""

    since: float


class Unwritable(_Fact, frozen=True):
    """The log fails."""

    over: float
    """Until then nothing can be written."""
    until: float
    """By then the engine must have found that it is well again."""


class Told(_Fact, frozen=True):
    """A webhook message reached its receiver."""

    begun: float
    """When the attempt began."""
    run: str
    webhook: str
    message: str
    type: str
    station: str
    version: int
    online: bool
    taken: bool
    """Whether the receiver heeds it, whatever it answers."""
    status: int | None
    """What it answers; none: nothing."""
    durable: int
    asked: tuple[bool, int]
    """What a GET says at that moment: online, version."""

    @property
    def accepted(self) -> bool:
        """Whether it took the message, and says so."""
        return self.taken and self.status is not None and 200 <= self.status < 300


class Asked(_Fact, frozen=True):
    """A GET of a station was answered, as of a position."""

    position: int
    station: str
    online: bool
    version: int


class AtRest(_Fact, frozen=True):
    """How a station's socket stands when everything has come to rest, at a position of the log."""

    position: int
    station: str
    connected: bool


Fact: TypeAlias = (
    Began
    | Accepting
    | Stopping
    | Died
    | LetIn
    | Broke
    | Dropped
    | Silent
    | Stalled
    | Unwritable
    | Told
    | Asked
    | AtRest
)


class History:
    """All that is known of a world in the end."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.acknowledged: dict[int, bytes] = {}
        """Position -> leaf, of every event that a log has acknowledged."""
        self.rows: list[Recorded] = []
        """What the log holds in the end."""
        self.turn = 0.0
        """Seconds that bytes may have waited for the gateway's reader, though nothing stalled."""
        self.attempts = 0
        """How often a message must be tried before it is given up."""
        self.failure = ""
        """What the engine fell over, if it did."""

    def note(self, fact: Fact) -> None:
        """Write a fact down."""
        self.facts.append(fact)

    def digest(self) -> str:
        """Return a hash over all facts and all rows of the log: the same seed, the same digest."""
        whole = sha256()
        for part in (*self.facts, *self.rows):
            whole.update(msgspec.json.encode(part) + b"\n")
        return whole.hexdigest()

"""How message senders, the engine and the projection that derives messages speak to each other.

The engine owns *when*: lanes, order, retries, breakers (`lanes`, `delivery`). A projection owns *what is owed*: it
derives `Owed` from the log. A `Sender` owns *how*: one attempt over the wire.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
from attrs import field, frozen

from .events import Format, Micros

Health: TypeAlias = Literal["well", "failing", "suspended"]
MessageState: TypeAlias = Literal["pending", "delivered", "parked", "skipped", "cancelled"]
Place: TypeAlias = tuple[int, str]
"""Position of a cause, and the subject of the messages that it caused: it names what they tell."""


class Owed(msgspec.Struct, frozen=True, gc=False):
    """A message that a webhook is owed, in some state."""

    id: str
    """A function of the log: stable over rebuild, restart, export and import."""
    webhook: str
    subject: str
    """The station, or empty: with the webhook it names the lane."""
    type: str
    position: int
    """Of the event that caused it."""
    round: int
    """0, then one more with each request for redelivery."""
    state: MessageState
    format: Format = "standard"
    """How its body is written, as its webhook had it when it was caused."""


@frozen(kw_only=True)
class Destination:
    """Where a webhook's messages go, as of now: mending a URL mends what is pending."""

    webhook: str
    url: str
    secrets: tuple[str, ...]
    """Ids of signing secrets, newest first."""
    state: Literal["active", "paused", "disabled"]
    health: Health = "well"
    """As the log has it: whether it failed, or was suspended, and accepted nothing since."""
    keys: tuple[str, ...] = ()
    """Ids of Ed25519 signing keys, newest first."""
    retired_at: Micros | None = None
    """From when on only the newest secret and the newest key sign."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names of headers of its own, with the ids of their values."""
    identity: str = ""
    """Id of our certificate and key for it."""
    authorities: str = ""
    """Id of the certificates of its authorities."""
    rate: float | None = None
    """Attempts a second, at most."""
    concurrency: int | None = None
    """Attempts in flight, at most."""
    accepted_at: Micros = 0
    """When it last accepted a message, or was added or enabled."""
    afresh_at: Micros = 0
    """When it was added, enabled or mended last: what failed before counts no more."""
    failing_since: Micros | None = None
    """When the first attempt was made at the oldest message that was parked since then; none if none was. What is
    younger than that the deliveries know themselves."""


class Owing(Protocol):
    """The state of a projection that owes messages; its changes are `Owed`, each in its new state."""

    def pending(self) -> Iterable[Owed]:
        """Return all that is owed, each lane in the order in which it must be sent."""
        ...

    def webhooks(self) -> Iterable[str]:
        """Return the ids of the webhooks that messages are owed to, or may be."""
        ...

    def lane(self, webhook: str, subject: str) -> Iterable[Owed]:
        """Return what one lane owes, in the order in which it must be sent."""
        ...

    def subjects(self, webhook: str) -> Iterable[str]:
        """Return the subjects of the lanes of a webhook, the one first that has been owing for longest."""
        ...

    def heads(self, webhook: str) -> Iterable[Owed]:
        """Return what stands at the head of each lane of a webhook, the lane first that has been owing for longest."""
        ...

    def destination(self, webhook: str) -> Destination | None:
        """Return where a webhook's messages go now; none if it was removed."""
        ...

    def body(self, message: Owed) -> bytes:
        """Return a pending message's body: a function of the log up to its cause.

        Raises:
            LookupError: the state no longer has what it says; the projection's `retelling` makes it from the log.
        """
        ...

    def evicted(self) -> Iterable[tuple[Place, bytes]]:
        """Hand over, once, what pending messages say that the state had to forget to make room, to be put by."""
        ...

    def oldest_cause(self) -> int | None:
        """Return the position of the oldest cause of anything that is pending; none if nothing is."""
        ...

    def untold(self, subject: str) -> Collection[Place]:
        """Return what a subject's pending messages say that the state no longer has."""
        ...


@frozen(kw_only=True)
class Attempt:
    """One attempt to deliver a message."""

    message: str
    url: str
    body: bytes
    secrets: tuple[bytes, ...] = field(repr=False)
    """Signing secrets, newest first; each signs."""
    at: int
    """Whole seconds since 1970: the attempt's own time, signed with the body."""
    content_type: str = "application/json"
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Seeds of Ed25519 signing keys (32 bytes), newest first; each signs."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Headers of the webhook's own."""
    identity: bytes = field(default=b"", repr=False)
    """The certificate chain and the key, in PEM, by which we prove who we are; empty: none."""
    authorities: bytes = b""
    """The certificates, in PEM, of the authorities that the receiver is believed by; empty: the system's."""
    checkpoint: bytes = b""
    """The newest signed checkpoint of the log, so that receivers become its witnesses; empty: none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt."""

    status: int | None
    """The HTTP status; none if there was no answer."""
    error: str = ""
    """What went wrong, in words, where there was no answer or a bad one."""
    latency: float = 0.0
    """Seconds from the begin of the attempt to the end of the answer's head."""
    retry_after: float | None = None
    """Seconds that the receiver asked us to wait."""
    local: bool = False
    """The trouble is ours (no network, no name server, the proxy, no descriptors): the receiver is not to blame."""
    excerpt: str = ""
    """The begin of the answer's body, at most 4 KiB, for people."""

    @property
    def accepted(self) -> bool:
        """2xx, and nothing else, is success; a redirect is a failure and is not followed."""
        return self.status is not None and 200 <= self.status < 300


@runtime_checkable
class Sender(Protocol):
    """Webhooks out: how one attempt is made."""

    async def send(self, attempt: Attempt) -> Answer:
        """Make one attempt. Whatever the receiver does becomes an answer; only cancellation leaves this."""
        ...

    async def aclose(self) -> None:
        """Close what is kept open between attempts."""
        ...


@runtime_checkable
class Tidying(Protocol):
    """A sender that keeps something between attempts, which ages also while none is made."""

    def tidy(self) -> None:
        """Let go of what was kept for long enough. Called each second; it neither blocks nor raises."""
        ...

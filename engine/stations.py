"""How station transports and the engine speak to each other.

A transport does handshakes and moves bytes. It asks the `Door` to admit, tells the `Connection` it is given what it
hears and how it ended, and obeys the orders that come over its `Link`, which never block. It needs no task a station.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from .errors import LogUnavailable
from .events import Cause, PingSettings, Reach, Side
from .settings import Liveness

Hint: TypeAlias = str | Callable[[], str]
"""What to tell a technician of a refusal. A callable is asked only if the refusal is told: it may be dear."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A station whose handshake has passed every check, about to be admitted."""

    station: str
    subprotocol: str | None
    """`ocpp1.6`, `ocpp2.0.1` or `ocpp2.1`."""
    security: str = "none"
    """How it proved who it is: `basic`, `mtls` or `none`."""
    credential: str | None = None
    """The id of the credential it used; once that is revoked, the connection is dropped."""
    certificate: str | None = None
    """The serial of its client certificate."""
    names: tuple[str, ...] = ()
    """The names that its client certificate bears: once none of them is its own any more, the connection is dropped."""
    tls: str | None = None
    """The TLS version, if the transport itself ended TLS."""
    liveness: PingSettings | None = None
    """Where it is watched otherwise than by the engine's settings."""
    remote: str = ""
    """Its address: private, recorded where it can be erased."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection ended."""

    side: Side
    cause: Cause
    code: int | None = None
    """The WebSocket close code that was on the wire, if any was."""
    reason: str = ""


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """Why nobody new is let in now: an HTTP 503."""

    reason: str
    """For programs: `starting`, `draining`, `log_unavailable`, `full`; `superseded` or `ended` while it was let in."""
    retry_after: float
    """Seconds."""
    hint: str = ""
    """For a technician, where the reason does not say all."""


class NotAdmitted(LogUnavailable):
    """A station cannot be admitted now: answer 503, with the reason and the time that `busy` bears."""

    def __init__(self, busy: Busy) -> None:
        super().__init__(f"no station can be admitted now: {busy.reason}")
        self.busy = busy


class Link(Protocol):
    """What the engine may ask of an open connection's transport. Nothing here blocks, and nothing raises."""

    def ping(self) -> None:
        """Write a ping now, or behind the frame that is being written."""
        ...

    def look(self) -> bool:
        """Look at the socket, now: are there bytes of the station that nobody has read yet?"""
        ...

    def path(self, waited: float) -> Reach | None:
        """Say whether the station's network answers, though the station said nothing for *waited* seconds, since a ping
        was written or, where none is sent, since its last byte. None: it cannot be said."""
        ...

    def rtt(self) -> float | None:
        """Return the round-trip time that the network itself measured, in seconds; None if it cannot be said. To be
        asked when somebody looks, not for everybody all the time."""
        ...

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        """End the connection: a Close frame, or with *abort* nothing at all; then the socket."""
        ...

    async def send(self, text: str) -> None:
        """Send one message. This alone may wait for a slow reader.

        Raises:
            trio.BrokenResourceError: the connection has ended.
        """
        ...


class Connection(Protocol):
    """An admitted connection. The transport that holds it keeps it told."""

    arrival: Arrival
    received: int
    """Messages from the station; the transport counts them up."""
    sent: int
    """Messages to the station; the transport counts them up."""

    @property
    def id(self) -> str:
        """`<run>-<n>`."""
        ...

    @property
    def station(self) -> str:
        """The station's id."""
        ...

    @property
    def liveness(self) -> Liveness:
        """How it is watched."""
        ...

    def heard(self) -> None:
        """Note proof of life: some bytes came, whichever they were."""
        ...

    def ended(self, ending: Ending) -> None:
        """Record how it ended. The first cause wins; whatever comes later changes nothing."""
        ...

    async def send(self, text: str) -> None:
        """Send one message to the station (see `Link.send`)."""
        ...


OnMessage: TypeAlias = Callable[[Connection, str], Awaitable[object]]
"""Handles a station's message, one at a time for each station; answers with `await connection.send(text)`."""


class Undecided(Protocol):
    """A handshake that nobody has decided yet: no grace lapses over its head. As a context, for a block."""

    def decided(self) -> None:
        """It is admitted, refused or gone."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...


class Door(Protocol):
    """Where a transport asks to let stations in."""

    def kept_waiting(self) -> None:
        """Note that peers wait whom nobody can accept, for a reason of ours: now, stations cannot come back."""
        ...

    def busy(self, station: str) -> Busy | None:
        """Return why this station cannot be let in now; none if it can. A takeover is never refused for capacity."""
        ...

    def handshake(self) -> Undecided:
        """Count a handshake, from its accept, as undecided until it is `decided`."""
        ...

    async def admit(self, arrival: Arrival, link: Link) -> Connection:
        """Admit a station: returns once `connection.opened` is durable and visible, and the 101 may be sent.

        From the call on the connection owes a `connection.closed`; the engine sees to it, also if this is cancelled.
        Orders may come over *link* from the moment that this returns.

        Raises:
            NotAdmitted: not now (full, draining, superseded or ended meanwhile); answer 503 as it says.
            LogUnavailable: the log cannot be written; answer 503.
        """
        ...

    def let_in(self, arrival: Arrival, link: Link, decided: Callable[[LogUnavailable | None], None]) -> Connection:
        """Admit a station without waiting: *decided* is called once `admit` would return (None), or with what it would
        raise. It must not raise itself, and is never called before this returns.

        The connection owes its `closed` from now on: a peer that goes before the decision is told of by `ended`, and
        the decision is then `NotAdmitted`.

        Raises:
            NotAdmitted: not now, known at once; *decided* is not called.
            LogUnavailable: the log cannot be written, known at once; *decided* is not called.
        """
        ...

    def refused(self, claimed: str, *, reason: str, status: int, hint: Hint = "", remote: str = "") -> None:
        """Note that somebody was not let in. Repeats are summed up, and a hint may then never be asked for."""
        ...


@runtime_checkable
class StationTransport(Protocol):
    """Stations in. Bound first, so that the run's start can name its address; then serving until told to stop."""

    async def bind(self) -> str:
        """Start to listen, accept nobody yet, and return the public URL (without a station id).

        Raises:
            WrongSetting: the address cannot be used; the message says why.
        """
        ...

    async def serve(self, door: Door) -> None:
        """Accept stations until `stop_accepting` was called and every connection has ended, or until cancelled."""
        ...

    def stop_accepting(self) -> None:
        """Accept no more. Connections that stand go on until they are dropped."""
        ...

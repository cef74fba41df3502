"""Who is let in: what a station said at the door, and what the embedding program makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
from attrs import frozen

from ..engine.events import PingSettings
from ..engine.stations import Hint

Subprotocol: TypeAlias = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]

SUBPROTOCOLS: tuple[Subprotocol, ...] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
"""What we speak. The station's order of preference decides, not ours (RFC 6455, 4.2.2)."""

LAST_WORD = 0.5
"""Seconds before the end of a handshake's time by which an answer that was held back must be on its way."""


@frozen(kw_only=True)
class Certificate:
    """A client certificate that the TLS handshake has verified up to one of our authorities."""

    serial: str
    """Its serial number, in hexadecimal."""
    names: tuple[str, ...]
    """The common names of its subject, then its alternative DNS names."""
    organizations: tuple[str, ...] = ()
    """The organizations (O) of its subject: whose station it says it is."""


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """All that a station said of itself before anything is answered. Nothing of it is proven yet."""

    station: str
    """The id that it claims, percent-decoded."""
    password: bytes | None = None
    """The password of `Authorization: Basic`, as it came: OCPP 1.6 keys are raw bytes, so it is never decoded.
    What follows `<id>:` where that fits, else what follows the first colon. None without such a header."""
    username: bytes | None = None
    """The user name of that header, as it came."""
    username_matches: bool = False
    """Whether there is such a header and its user name is the claimed id. If not, the password is somebody else's."""
    offered: tuple[str, ...] = ()
    """The subprotocols that it offers, in its order of preference."""
    remote: str = ""
    """The peer's address."""
    tls: str | None = None
    """The TLS version, if we ended TLS ourselves."""
    certificate: Certificate | None = None


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The station is who it says; it is let in if there is room and a common subprotocol."""

    station: str
    protocol: Subprotocol | None = None
    """What a station speaks that offers nothing (some do); None: such a one is turned away."""
    security: str = "none"
    """How it proved who it is: `basic`, `mtls` or `none`."""
    credential: str | None = None
    """The id of the credential it used; once that is revoked, its connection is dropped."""
    liveness: PingSettings | None = None
    """Where it is watched otherwise than by the engine's settings."""
    lenient: tuple[str, ...] = ()
    """What is forgiven this station, of: `username`, `upgrade`, `subprotocol`, `origin` (`StationRecord.lenient`)."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The station is not let in."""

    status: int
    """The HTTP status: 404 for an unknown station, 401 for missing or wrong credentials, 403 for a wrong profile or
    certificate, 429 for too often, 503 for later."""
    reason: str
    """For programs: `unknown_station`, `wrong_credentials`, ..."""
    hint: Hint = ""
    """For a technician: what to change. It is recorded, never sent to the peer."""
    retry_after: float | None = None
    """Seconds, with a 429 or a 503."""
    delay: float = 0.0
    """Seconds that the answer is to be held back: a wrong guess at a password costs whoever made it some time."""


Admit: TypeAlias = Callable[[Knock], Awaitable[Welcome | Refusal]]
"""Decides who is let in. It compares credentials in constant time, and may wait, within the handshake's deadline."""


@runtime_checkable
class AtOnce(Protocol):
    """An `Admit` that can decide most cases without waiting."""

    def at_once(self, knock: Knock) -> Welcome | Refusal | None:
        """Decide without waiting; None: it takes waiting, so call it and await the answer."""
        ...

    def __call__(self, knock: Knock) -> Awaitable[Welcome | Refusal]: ...


@frozen
class AnyStation:
    """Admits any station id without credentials: for trials and closed networks."""

    protocol: Subprotocol | None = None
    """What a station speaks that offers no subprotocol."""

    def at_once(self, knock: Knock) -> Welcome | Refusal | None:
        return Welcome(station=knock.station, protocol=self.protocol)

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        return Welcome(station=knock.station, protocol=self.protocol)

"""How a peer is received: from its first byte to the answer, as a machine that both WebSocket transports drive.

    missing, announce(bytes)       first, while `missing`: what a proxy in front says; so many bytes, and not one more
    secured(tls, certificate)      once TLS is set up, where it is ended here
    receive(bytes) -> Knock        once the head is whole; whoever decides is asked
    answered(Welcome | Refusal) -> Guest
    busy?  no  -> the engine admits -> switching(...) is written

Whatever is wrong is raised as `Refused`; `farewell` writes it down for the peer.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection
from hashlib import sha1
from typing import Final

import msgspec
from attrs import frozen

from ...engine.stations import Arrival, Busy, Hint
from ..admission import Admit, Certificate, Knock, Refusal, Subprotocol, Welcome
from ..frames import close_frame
from .answers import TLS, Refused, challenge, not_http, response, retry_after
from .deflate import agree
from .head import MAX_HEAD, Head, end_of_head, no_upgrade, parse_head
from .identity import basic_credentials, odd_id, station_of
from .origins import is_foreign
from .proxy import Announced, Network, misplaced, missing, parse_proxy, trusted
from .subprotocols import as_offered, choose, why_none

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""
_NOTHING_COMMON: Final = "no common subprotocol"


@frozen(kw_only=True)
class Manners:
    """How visitors are received."""

    admit: Admit
    path: str
    """What stands before the station id in the URL."""
    origins: Collection[str] = ()
    """Web pages that may connect from a browser, as `https://example.com`; stations send no `Origin`."""
    proxies: Collection[Network] = ()
    """Who must send a PROXY header: the proxies in front. From others it is not taken."""
    compression: bool = True
    """Whether messages may come compressed (RFC 7692) from stations that offer it."""


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that has passed every check of ours."""

    arrival: Arrival
    subprotocol: str | None
    """What the 101 names, as the station wrote it: nothing to a station that offered nothing."""
    deflate: str | None
    """What the 101 says of compression; None if there is none on this connection."""


class Reception:
    """One peer's handshake, up to its admission."""

    __slots__ = (
        "_announced",
        "_head",
        "_knock",
        "_manners",
        "_proxy",
        "certificate",
        "claimed",
        "early",
        "missing",
        "received",
        "remote",
        "tls",
    )

    def __init__(self, manners: Manners, remote: str) -> None:
        self.remote = remote
        """The peer's address: the real one, once a proxy has told it."""
        self.missing = missing(b"") if trusted(remote, manners.proxies) else 0
        """Bytes that have to be read next of what a proxy in front says; 0: it has said all, or there is none."""
        self.tls: str | None = None
        self.certificate: Certificate | None = None
        self.claimed = ""
        """The station id that the peer claims, once it has."""
        self.received = b""
        """What came of the head so far; nothing once it is whole."""
        self.early = b""
        """What came behind the head: frames that the peer sent before it had an answer."""
        self._manners = manners
        self._head: Head | None = None
        self._knock: Knock | None = None
        self._proxy = b""
        self._announced: Announced | None = None

    def announce(self, data: bytes) -> None:
        """Take bytes of a proxy's header, at most as many as are `missing`.

        Raises:
            Refused: they are no PROXY header, and this peer must send one.
            HealthCheck: the proxy only looks whether we are there. It is let go without a word.
        """
        self._proxy += data
        self.missing = missing(self._proxy)
        if not self.missing:
            announced = self._announced = parse_proxy(self._proxy)
            self._proxy = b""
            self.remote = announced.remote or self.remote
            self.tls, self.certificate = announced.tls, announced.certificate

    def secured(self, tls: str | None, certificate: Certificate | None) -> None:
        """Take what the TLS that was ended here says. It is the proxy's, if there is one that has ended the peer's."""
        if self._announced is None or not self._announced.tells_tls:
            self.tls, self.certificate = tls, certificate

    def receive(self, data: bytes) -> Knock | None:
        """Take the next bytes; return what the peer says of itself once its head is whole.

        Raises:
            Refused: it must not come in.
        """
        # As bytes, which are copied only where a head comes in pieces: nearly always it comes whole.
        seen = len(self.received)
        received = self.received = self.received + data
        end = end_of_head(received, seen)
        if not received.startswith(b"G") and (refused := _hopeless(received)) is not None:
            raise refused
        if end is None and len(received) <= MAX_HEAD:
            return None
        if end is None or end > MAX_HEAD:
            raise Refused(431, "oversized_head", f"a request's head has at most {MAX_HEAD} bytes")
        self.received = b""
        self.early = received[end:]
        head = self._head = parse_head(received[:end])
        self.claimed = station_of(head.target, self._manners.path, head.authorization)
        username, password, matches = basic_credentials(head.authorization, self.claimed)
        self._knock = Knock(
            station=self.claimed,
            password=password,
            username=username,
            username_matches=matches,
            offered=head.offered,
            remote=self.remote,
            tls=self.tls,
            certificate=self.certificate,
        )
        return self._knock

    def answered(self, answer: Welcome | Refusal) -> Guest:
        """Take the answer of whoever decides, and see to the rest.

        Raises:
            Refused: the peer must not come in; with status 101 it is let go right after the upgrade.
        """
        head, knock = self._head, self._knock
        assert head is not None
        assert knock is not None
        if isinstance(answer, Refusal):
            raise Refused(answer.status, answer.reason, _hint(answer, self.claimed), _headers(answer))
        lenient = answer.lenient
        if head.lacks_upgrade and "upgrade" not in lenient:
            raise no_upgrade()
        if head.origin is not None and "origin" not in lenient:
            self._check_origin(head.origin, head.host)
        offered = head.offered
        subprotocol = choose(offered, answer.protocol, lenient="subprotocol" in lenient)
        if subprotocol is None:
            raise Refused(101, "no_subprotocol", why_none(offered))
        compressed = head.extensions and self._manners.compression
        return Guest(
            arrival=_arrival(knock, answer, subprotocol),
            subprotocol=as_offered(offered, subprotocol),
            deflate=agree(head.extensions) if compressed else None,
        )

    def switching(self, subprotocol: str | None, deflate: str | None = None) -> bytes:
        """Write the answer to a peer that is let in (RFC 6455, 4.2.2), with what its `Guest` says."""
        head = self._head
        assert head is not None
        accept = b64encode(sha1(head.key + _GUID, usedforsecurity=False).digest())
        named = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("latin-1")
        agreed = b"" if deflate is None else b"Sec-WebSocket-Extensions: %b\r\n" % deflate.encode("ascii")
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b%b\r\n" % (accept, named, agreed)
        )

    def plain_head(self) -> bytes:
        """Write the peer's request anew, with no more in it than a library must know to answer it."""
        head = self._head
        assert head is not None
        offered = f"Sec-WebSocket-Protocol: {', '.join(head.offered)}\r\n" if head.offered else ""
        return (
            b"GET / HTTP/1.1\r\nHost: station\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n" % (head.key, offered.encode("latin-1"))
        )

    def farewell(self, refused: Refused) -> bytes:
        """Write down a refusal for the peer."""
        if refused.status == 101:
            return self.switching(None) + close_frame(1002, _NOTHING_COMMON)
        return response(refused.status, refused.headers)

    def _check_origin(self, origin: str, host: str) -> None:
        if is_foreign(origin, host, self._manners.origins):
            hint = (
                "it sends the header Origin, as browsers do for a web page: add it to [stations] origins if that page "
                "may connect, or forgive it if this is a charger (lenient: origin)"
            )
            raise Refused(403, "foreign_origin", hint)


def unwritable() -> Refused:
    """Return the refusal of everybody of whom nothing could be recorded."""
    return Refused(503, "log_unavailable", "our log cannot be written for now", retry_after(10))


def _hopeless(received: bytes) -> Refused | None:
    """Return the refusal of one whose first bytes tell already that no request will follow."""
    return not_http(received) if received.startswith(TLS) else misplaced(received)


def not_now(busy: Busy) -> Refused:
    """Return the refusal of a station that may come in some other time."""
    hint = busy.hint or f"not now ({busy.reason}); it should come again"
    return Refused(503, busy.reason, hint, retry_after(busy.retry_after))


def _arrival(knock: Knock, welcome: Welcome, subprotocol: Subprotocol) -> Arrival:
    return Arrival(
        station=welcome.station,
        subprotocol=subprotocol,
        security=welcome.security,
        credential=welcome.credential,
        certificate=None if knock.certificate is None else knock.certificate.serial or None,
        names=() if knock.certificate is None else knock.certificate.names,
        tls=knock.tls,
        liveness=welcome.liveness,
        remote=knock.remote,
    )


def _headers(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    if refusal.status == 401:
        return challenge()
    return () if refusal.retry_after is None else retry_after(refusal.retry_after)


def _hint(refusal: Refusal, claimed: str) -> Hint:
    """Return a refusal's hint, and before it what is odd about an id that nobody knows."""
    hint, odd = refusal.hint, odd_id(claimed) if refusal.reason == "unknown_station" else ""
    if not odd:
        return hint
    return lambda: f"{odd}; {hint() if callable(hint) else hint}".removesuffix("; ")

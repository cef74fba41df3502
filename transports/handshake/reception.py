"""How a peer is received: from its first byte to the answer, as a machine that both WebSocket transports drive.

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

from attrs import frozen

from ...engine.stations import Arrival, Busy
from ..admission import Admit, Certificate, Knock, Refusal, Subprotocol, Welcome
from ..frames import close_frame
from .answers import Refused, challenge, response, retry_after
from .head import MAX_HEAD, Head, end_of_head, parse_head
from .identity import basic_credentials, station_of
from .subprotocols import choose

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""
_OFFER_SHOWN: Final = 100
"""Characters of a station's offer that a hint tells: the offer itself may fill a head."""
_NOTHING_COMMON: Final = "no common subprotocol"


@frozen(kw_only=True)
class Manners:
    """How visitors are received."""

    admit: Admit
    path: str
    """What stands before the station id in the URL."""
    origins: Collection[str] = ()
    """Web pages that may connect from a browser, as `https://example.com`; stations send no `Origin`."""


@frozen(kw_only=True)
class Guest:
    """A peer that has passed every check of ours."""

    arrival: Arrival
    subprotocol: str | None
    """What the 101 names, as the station wrote it: nothing to a station that offered nothing."""


class Reception:
    """One peer's handshake, up to its admission."""

    __slots__ = ("_head", "_knock", "_manners", "certificate", "claimed", "early", "received", "remote", "tls")

    def __init__(self, manners: Manners, remote: str) -> None:
        self.remote = remote
        self.tls: str | None = None
        self.certificate: Certificate | None = None
        self.claimed = ""
        """The station id that the peer claims, once it has."""
        self.received = bytearray()
        """What came of the head so far; nothing once it is whole."""
        self.early = b""
        """What came behind the head: frames that the peer sent before it had an answer."""
        self._manners = manners
        self._head: Head | None = None
        self._knock: Knock | None = None

    def receive(self, data: bytes) -> Knock | None:
        """Take the next bytes; return what the peer says of itself once its head is whole.

        Raises:
            Refused: it must not come in.
        """
        received = self.received
        received += data
        end = end_of_head(received)
        if end is None and len(received) <= MAX_HEAD:
            return None
        if end is None or end > MAX_HEAD:
            raise Refused(431, "oversized_head", f"a request's head has at most {MAX_HEAD} bytes")
        self.early = bytes(received[end:])
        head = self._head = parse_head(bytes(received[:end]))
        self.claimed = station_of(head.target, self._manners.path)
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
            raise Refused(answer.status, answer.reason, answer.hint, _headers(answer))
        subprotocol = choose(head.offered, answer.protocol)
        if subprotocol is None:
            raise self._nothing_in_common(head)
        return Guest(arrival=_arrival(knock, answer, subprotocol), subprotocol=subprotocol if head.offered else None)

    def switching(self, subprotocol: str | None) -> bytes:
        """Write the answer to a peer that is let in (RFC 6455, 4.2.2)."""
        head = self._head
        assert head is not None
        accept = b64encode(sha1(head.key + _GUID, usedforsecurity=False).digest())
        named = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("latin-1")
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, named)
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

    def _nothing_in_common(self, head: Head) -> Refused:
        """No version in common: OCPP-J wants 101 without a subprotocol, then the end (1.6, 3.1.2; 2.0.1, 3.1.2)."""
        offer = ", ".join(head.offered) or "nothing"
        if len(offer) > _OFFER_SHOWN:
            offer = offer[:_OFFER_SHOWN] + "..."
        return Refused(101, "no_subprotocol", f"it offers {offer}; we speak ocpp1.6, ocpp2.0.1 and ocpp2.1")


def not_now(busy: Busy) -> Refused:
    """Return the refusal of a station that may come in some other time."""
    hint = f"not now ({busy.reason}); it should come again"
    return Refused(503, busy.reason, hint, retry_after(busy.retry_after))


def _arrival(knock: Knock, welcome: Welcome, subprotocol: Subprotocol) -> Arrival:
    return Arrival(
        station=welcome.station,
        subprotocol=subprotocol,
        security=welcome.security,
        credential=welcome.credential,
        certificate=None if knock.certificate is None else knock.certificate.serial,
        tls=knock.tls,
        liveness=welcome.liveness,
        remote=knock.remote,
    )


def _headers(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    if refusal.status == 401:
        return challenge()
    return () if refusal.retry_after is None else retry_after(refusal.retry_after)

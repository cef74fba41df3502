"""A visit: what is asked and answered between a peer's accept and the moment when the engine is asked to admit it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Final

import trio
from attrs import frozen
from trio_websocket import ConnectionClosed, WebSocketRequest, wrap_server_stream

from ..engine.stations import Arrival, Busy, Door
from .admission import Admit, Knock, Refusal, Subprotocol, Welcome
from .frames import close_frame
from .handshake import (
    MAX_HEAD,
    Head,
    Refused,
    basic_password,
    challenge,
    choose,
    end_of_head,
    parse_head,
    refuse_fragment,
    refuse_tls,
    response,
    retry_after,
    station_of,
)
from .lobby import Patience
from .wire import Wire

_LOG: Final = logging.getLogger(__name__)

READ: Final = 4096
"""Bytes read at once: most OCPP messages are shorter."""
_QUEUE: Final = 1024
"""Messages that the library may queue: `Bounds.waiting` ends a connection long before, so its reader never stands."""
_OFFER_SHOWN: Final = 100
"""Characters of a station's offer that a hint tells: the offer itself may fill a head."""
_NOTHING_COMMON: Final = "no common subprotocol"


@frozen(kw_only=True)
class Etiquette:
    """How visitors are received."""

    admit: Admit
    path: str
    """What stands before the station id in the URL."""
    tls: ssl.SSLContext | None
    max_message: int
    handshake: Callable[[Callable[[], bool]], AbstractContextManager[Patience]]
    """Bounds the time of one handshake (`Lobby.handshake`)."""


@frozen(kw_only=True)
class Guest:
    """A peer that has passed every check of ours."""

    arrival: Arrival
    request: WebSocketRequest
    subprotocol: Subprotocol | None
    """What the 101 names: nothing to a station that offered nothing."""


class Visit:
    """One peer's handshake, up to its admission. What is wrong with it is answered, and told to the door."""

    def __init__(self, etiquette: Etiquette, door: Door, wire: Wire, remote: str) -> None:
        self.claimed = ""
        """The station id that the peer claims, once it has."""
        self._etiquette = etiquette
        self._door = door
        self._wire = wire
        self._remote = remote
        self._received = bytearray()

    async def receive(self, nursery: trio.Nursery) -> Guest | None:
        """Hear what the peer has to say; None if it went, or was let go after the upgrade.

        Raises:
            Refused: it must not come in.
            trio.BrokenResourceError: it went away in the middle.
        """
        await self._secure()
        head = await self._read_head()
        self.claimed = station_of(head.target, self._etiquette.path)
        knock = self._knock(head)
        welcome = await self._ask(knock)
        busy = self._door.busy(welcome.station)
        if busy is not None:
            raise not_now(busy)
        request = await wrap_server_stream(nursery, self._wire, _QUEUE, self._etiquette.max_message, READ)
        subprotocol = choose(head.offered, welcome.protocol)
        if subprotocol is None:
            await self._let_go(request, head)
            return None
        if self._wire.gone():
            return None
        return Guest(
            arrival=_arrival(knock, welcome, subprotocol),
            request=request,
            subprotocol=subprotocol if head.offered else None,
        )

    def silent(self) -> bool:
        """Return whether the peer has not sent one byte yet, not even one that nobody has read."""
        return not (self._received or self._wire.greeted or self._wire.look())

    # --- how it can end -----------------------------------------------------------------------------------------------

    def turn_away(self, refused: Refused) -> None:
        """Answer with a refusal, and tell the door."""
        self._wire.write_last(response(refused.status, refused.headers))
        self.refused(refused.status, refused.reason, refused.hint)

    def went_away(self) -> None:
        """The peer was gone before it was let in. Who said nothing at all was a port scan or a health check."""
        if self._received and not self.claimed:
            self.turn_away(refuse_fragment(self._received, late=False))

    def took_too_long(self) -> None:
        """The time for the handshake is over."""
        if self.claimed:
            hint = "it could not be decided in time whether to let it in"
            self.turn_away(Refused(503, "handshake_timeout", hint, retry_after(5)))
        else:
            self.turn_away(refuse_fragment(self._received, late=True))

    def made_room(self) -> None:
        """It said nothing while others waited for its place."""
        hint = "it said nothing at first, while others waited to be let in; it should come again"
        self.turn_away(Refused(503, "crowded", hint, retry_after(5)))

    def refused(self, status: int, reason: str, hint: str) -> None:
        """Tell the door that the peer was not let in."""
        self._door.refused(self.claimed, reason=reason, status=status, hint=hint, remote=self._remote)

    # -----------------------------------------------------------------------------------------------------------------

    async def _secure(self) -> None:
        if self._etiquette.tls is not None:
            try:
                await self._wire.secure(self._etiquette.tls)
            except OSError as error:
                self._wire.mute()  # OpenSSL has told the peer
                raise refuse_tls(error) from None

    async def _read_head(self) -> Head:
        received = self._received
        while (end := end_of_head(received)) is None and len(received) <= MAX_HEAD:
            data = await self._wire.receive(READ)
            if not data:
                raise trio.BrokenResourceError
            received += data
        if end is None or end > MAX_HEAD:
            raise Refused(431, "oversized_head", f"a request's head has at most {MAX_HEAD} bytes")
        head = bytes(received[:end])
        self._wire.replay(head, bytes(received[end:]))
        return parse_head(head)

    def _knock(self, head: Head) -> Knock:
        password = basic_password(head.authorization, self.claimed)
        return Knock(
            station=self.claimed,
            password=password,
            username_matches=password is not None,
            offered=head.offered,
            remote=self._remote,
            tls=self._wire.tls,
            certificate=self._wire.certificate(),
        )

    async def _ask(self, knock: Knock) -> Welcome:
        """Ask whoever decides.

        Raises:
            Refused: the station is not let in.
        """
        try:
            answer = await self._etiquette.admit(knock)
        except Exception:
            _LOG.exception("deciding about %r failed", knock.station)
            raise Refused(500, "internal_error", "deciding about this station failed; see our log") from None
        if isinstance(answer, Welcome):
            return answer
        raise Refused(answer.status, answer.reason, answer.hint, _headers(answer))

    async def _let_go(self, request: WebSocketRequest, head: Head) -> None:
        """No version in common: OCPP-J wants 101 without a subprotocol, then the end (1.6, 3.1.2; 2.0.1, 3.1.2)."""
        offer = ", ".join(head.offered) or "nothing"
        if len(offer) > _OFFER_SHOWN:
            offer = offer[:_OFFER_SHOWN] + "..."
        self.refused(101, "no_subprotocol", f"it offers {offer}; we speak ocpp1.6, ocpp2.0.1 and ocpp2.1")
        with suppress(ConnectionClosed):
            await request.accept()
            self._wire.write_last(close_frame(1002, _NOTHING_COMMON))


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

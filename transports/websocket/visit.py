"""A visit: what is asked and answered between a peer's accept and the moment when the engine is asked to admit it."""

from __future__ import annotations

import logging
from typing import Final

import trio
from attrs import frozen
from trio_websocket import WebSocketRequest, wrap_server_stream

from ...engine.stations import Door, Hint
from ..admission import LAST_WORD, Knock, Refusal, Welcome
from ..gate.gate import Gate
from ..gate.lobby import Lobby
from ..handshake.answers import Refused, crowded, refuse_fragment, refuse_tls, retry_after
from ..handshake.proxy import HealthCheck
from ..handshake.reception import Guest, Manners, Reception, not_now
from ..sockets.tls import Tls, context_of
from .wire import Wire

_LOG: Final = logging.getLogger(__name__)

READ: Final = 4096
"""Bytes read at once: most OCPP messages are shorter."""
_QUEUE: Final = 1024
"""Messages that the library may queue: `Bounds.waiting` ends a connection long before, so its reader never stands."""


@frozen(kw_only=True)
class Etiquette:
    """How visitors are received, and what they may cost."""

    manners: Manners
    tls: Tls | None
    max_message: int
    gate: Gate
    lobby: Lobby
    """Bounds the handshakes, and how many of those who were turned away are waited for."""


class Visit:
    """One peer's handshake, up to its admission. What is wrong with it is answered, and told to the door."""

    def __init__(self, etiquette: Etiquette, door: Door, wire: Wire, remote: str) -> None:
        self._etiquette = etiquette
        self._door = door
        self._wire = wire
        self._reception = Reception(etiquette.manners, remote)

    async def receive(self, nursery: trio.Nursery) -> tuple[Guest, WebSocketRequest] | None:
        """Hear what the peer has to say; None if it is gone.

        Raises:
            Refused: it must not come in.
            trio.BrokenResourceError: it went away in the middle.
        """
        try:
            await self._introduce()
        except HealthCheck:
            return None
        await self._secure()
        knock = await self._hear()
        refused = self._etiquette.gate.may_try(self._reception.remote, knock.station, trio.current_time())
        if refused is not None:
            raise refused
        guest = self._reception.answered(await self._ask(knock))
        busy = self._door.busy(guest.arrival.station)
        if busy is not None:
            raise not_now(busy)
        refused = self._etiquette.gate.may_enter(guest.arrival.station, trio.current_time())
        if refused is not None:
            raise refused
        self._wire.replay(self._reception.plain_head(), self._reception.early)
        request = await wrap_server_stream(nursery, self._wire, _QUEUE, self._etiquette.max_message, READ)
        return None if self._wire.gone() else (guest, request)

    def progress(self) -> int | None:
        """Return how far the peer has come; None if it waits for us (`gate.places.Waiting`)."""
        if self._reception.claimed or self._wire.look():
            return None
        return len(self._reception.received) + self._wire.flights

    # --- how it can end -----------------------------------------------------------------------------------------------

    def turn_away(self, refused: Refused) -> None:
        """Answer with a refusal, and tell the door."""
        self._wire.write_last(self._reception.farewell(refused))
        self.refused(refused.status, refused.reason, refused.hint)

    def went_away(self) -> None:
        """The peer was gone before it was let in. Who said nothing at all was a port scan or a health check."""
        if self._reception.received:
            self.turn_away(refuse_fragment(self._reception.received, late=False))

    def took_too_long(self) -> None:
        """The time for the handshake is over."""
        if self._reception.claimed:
            hint = "it could not be decided in time whether to let it in"
            self.turn_away(Refused(503, "handshake_timeout", hint, retry_after(5)))
        else:
            self.turn_away(refuse_fragment(self._reception.received, late=True))

    def made_room(self) -> None:
        """It got nowhere while others waited for its place."""
        self.turn_away(crowded())

    def refused(self, status: int, reason: str, hint: Hint) -> None:
        """Tell the door that the peer was not let in."""
        reception = self._reception
        self._etiquette.gate.refused(reception.remote, status, trio.current_time())
        self._door.refused(reception.claimed, reason=reason, status=status, hint=hint, remote=reception.remote)

    # -----------------------------------------------------------------------------------------------------------------

    async def _introduce(self) -> None:
        """Hear what a proxy in front says of the peer, if one has to.

        Raises:
            HealthCheck: it speaks for itself.
            Refused: it says nothing, or nothing that can be understood.
        """
        reception = self._reception
        try:
            while reception.missing:
                data = await self._wire.receive(reception.missing)
                if not data:
                    raise trio.BrokenResourceError
                reception.announce(data)
        except Refused:
            if self._etiquette.tls is not None:
                self._wire.mute()
            raise

    async def _secure(self) -> None:
        if self._etiquette.tls is not None:
            try:
                await self._wire.secure(context_of(self._etiquette.tls))
            except OSError as error:
                self._wire.mute()  # OpenSSL has told the peer
                raise refuse_tls(error) from None
            self._reception.secured(self._wire.tls, self._wire.certificate())

    async def _hear(self) -> Knock:
        while True:
            data = await self._wire.receive(READ)
            if not data:
                raise trio.BrokenResourceError
            knock = self._reception.receive(data)
            if knock is not None:
                return knock

    async def _ask(self, knock: Knock) -> Welcome | Refusal:
        """Ask whoever decides.

        Raises:
            Refused: that failed.
        """
        try:
            answer = await self._etiquette.manners.admit(knock)
        except Exception:
            _LOG.exception("deciding about %r failed", knock.station)
            raise Refused(500, "internal_error", "deciding about this station failed; see our log") from None
        if isinstance(answer, Refusal):
            # Not past the end of the handshake's time: that would be a 503, which holds up the grace.
            left = trio.current_effective_deadline() - trio.current_time() - LAST_WORD
            await trio.sleep(max(0.0, min(answer.delay, left)))
        return answer

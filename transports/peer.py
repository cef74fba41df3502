"""One peer of a WebSocket transport, from its accept to the close of its socket (semantics 7, `accept` and `close`)."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import Final, TypeAlias

import trio
from attrs import frozen
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from ..engine.errors import LogUnavailable
from ..engine.stations import Arrival, Connection, Door, Ending
from .admission import Admit, Knock, Refusal, Subprotocol, Welcome
from .frames import PING, close_frame
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
from .wire import Bounds, Suspects, Wire

_LOG: Final = logging.getLogger(__name__)

OnMessage: TypeAlias = Callable[[Connection, str], Awaitable[object]]
"""Handles a station's message; answers with `await connection.send(text)`."""

_READ: Final = 4096
"""Bytes read at once: most OCPP messages are shorter."""
_QUEUE: Final = 1024
"""Messages that the library may queue: `Bounds.waiting` ends a connection long before, so its reader never stands."""
_LINGER: Final = 1.0
"""Seconds that a peer has, after our last word, to close its side."""
_NOTHING_COMMON: Final = "no common subprotocol"


@frozen(kw_only=True)
class Terms:
    """On what terms a transport deals with its peers."""

    admit: Admit
    on_message: OnMessage | None
    path: str
    tls: ssl.SSLContext | None
    suspects: Suspects
    handshake: Callable[[], AbstractContextManager[trio.CancelScope]]
    """Bounds the time of one handshake."""

    @property
    def bounds(self) -> Bounds:
        return self.suspects.bounds


class Peer:
    """A peer, and for the engine the `Link` of its connection."""

    __slots__ = ("_abort", "_claimed", "_connection", "_door", "_opened", "_remote", "_terms", "_unread", "_wire")

    def __init__(self, terms: Terms, door: Door, sock: socket.socket, remote: str) -> None:
        self._terms = terms
        self._door = door
        self._remote = remote
        self._wire = Wire(sock, terms.suspects)
        self._claimed = ""
        self._connection: Connection | None = None
        self._opened: WebSocketConnection | None = None
        self._unread = 0
        self._abort = False

    # --- what the engine asks (stations.Link) -------------------------------------------------------------------------

    def ping(self) -> None:
        self._wire.write(PING)

    def look(self) -> bool:
        return self._wire.look()

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        self._abort = abort
        if not abort:
            self._say_last(code, reason)
        self._wire.cancel()

    async def send(self, text: str) -> None:
        if self._opened is None or self._connection is None:
            raise trio.BrokenResourceError
        bounds, size = self._terms.bounds, len(text)
        if self._unread and self._unread + size > bounds.unread:
            reason = f"more than {bounds.unread} bytes wait to be read"
            self._wire.end(Ending(side="gateway", cause="slow_reader", reason=reason))
            raise trio.BrokenResourceError(reason)
        self._unread += size
        try:
            await self._opened.send_message(text)
        except ConnectionClosed:
            raise trio.BrokenResourceError(f"the connection of {self._claimed} has ended") from None
        finally:
            self._unread -= size
        self._connection.sent += 1

    # --- from accept to close -----------------------------------------------------------------------------------------

    async def attend(self) -> None:
        """Do all that is done for this peer. Nothing of its making leaves this."""
        try:
            await self._attend()
            await self._part()
        finally:
            self._wire.close()

    async def _attend(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._wire.cancel = nursery.cancel_scope.cancel
                if await self._let_in(nursery):
                    await self._converse()
                nursery.cancel_scope.cancel()
        except* Exception:
            _LOG.exception("serving %r at %s failed", self._claimed, self._remote)
            if self._connection is None:
                self._turn_away(Refused(500, "internal_error", "a fault of ours; see our log"))
            else:
                self._wire.end(Ending(side="gateway", cause="internal_error", code=1011, reason="internal error"))
        finally:
            self._record_end()
        if self._wire.refused and self._connection is None:
            self._refused(400, "malformed_request", "the WebSocket library refused this request")

    def _record_end(self) -> None:
        """Say how it ended, if it is for us to say."""
        ending = self._wire.ending
        if ending is None:
            return
        if self._connection is not None:
            self._connection.ended(ending)
        if ending.code is None:
            self._abort = True
        elif ending.side == "gateway":
            self._say_last(ending.code, ending.reason)

    async def _part(self) -> None:
        if self._abort:
            self._wire.abort()
        else:
            await self._wire.linger(_LINGER)

    def _say_last(self, code: int, reason: str) -> None:
        if self._opened is not None:
            self._wire.write_last(close_frame(code, reason))

    # --- the handshake ------------------------------------------------------------------------------------------------

    async def _let_in(self, nursery: trio.Nursery) -> bool:
        """Return whether the peer is a station's connection now."""
        received = bytearray()
        with self._door.handshake(), self._terms.handshake() as scope:
            try:
                return await self._shake_hands(nursery, received)
            except Refused as refused:
                self._turn_away(refused)
            except trio.BrokenResourceError:
                if received:
                    self._turn_away(refuse_fragment(received, late=False))
        if scope.cancelled_caught:
            self._too_late(received)
        return False

    def _too_late(self, received: bytearray) -> None:
        if self._connection is not None:
            self._wire.end(Ending(side="network", cause="handshake_aborted"))
        elif self._claimed:
            hint = "it could not be decided in time whether to let it in"
            self._turn_away(Refused(503, "handshake_timeout", hint, retry_after(5)))
        else:
            self._turn_away(refuse_fragment(received, late=True))

    def _turn_away(self, refused: Refused) -> None:
        self._wire.write_last(response(refused.status, refused.headers))
        self._refused(refused.status, refused.reason, refused.hint)

    def _refused(self, status: int, reason: str, hint: str) -> None:
        self._door.refused(self._claimed, reason=reason, status=status, hint=hint, remote=self._remote)

    async def _shake_hands(self, nursery: trio.Nursery, received: bytearray) -> bool:
        await self._secure()
        head = await self._read_head(received)
        self._claimed = station_of(head.target, self._terms.path)
        knock = self._knock(head)
        welcome = await self._ask(knock)
        busy = self._door.busy(welcome.station)
        if busy is not None:
            hint = f"not now ({busy.reason}); it should come again"
            raise Refused(503, busy.reason, hint, retry_after(busy.retry_after))
        subprotocol = choose(head.offered, welcome.protocol)
        request = await wrap_server_stream(nursery, self._wire, _QUEUE, self._terms.bounds.message, _READ)
        if subprotocol is None:
            await self._turn_away_after_the_upgrade(request, head)
            return False
        if self._wire.gone():
            return False
        arrival = Arrival(
            station=welcome.station,
            subprotocol=subprotocol,
            security=welcome.security,
            credential=welcome.credential,
            certificate=None if knock.certificate is None else knock.certificate.serial,
            tls=knock.tls,
            liveness=welcome.liveness,
            remote=self._remote,
        )
        return await self._open(request, arrival, offered=subprotocol if head.offered else None)

    async def _secure(self) -> None:
        if self._terms.tls is not None:
            try:
                await self._wire.secure(self._terms.tls)
            except OSError as error:
                self._wire.break_off()
                raise refuse_tls(error) from None

    async def _read_head(self, received: bytearray) -> Head:
        while (end := end_of_head(received)) is None:
            if len(received) > MAX_HEAD:
                break
            data = await self._wire.receive(_READ)
            if not data:
                raise trio.BrokenResourceError
            received += data
        if end is None or end > MAX_HEAD:
            raise Refused(431, "oversized_head", f"a request's head has at most {MAX_HEAD} bytes")
        head = bytes(received[:end])
        self._wire.replay(head, bytes(received[end:]))
        return parse_head(head)

    def _knock(self, head: Head) -> Knock:
        password = basic_password(head.authorization, self._claimed)
        return Knock(
            station=self._claimed,
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
            answer = await self._terms.admit(knock)
        except Exception:
            _LOG.exception("deciding about %r failed", knock.station)
            raise Refused(500, "internal_error", "deciding about this station failed; see our log") from None
        if isinstance(answer, Welcome):
            return answer
        raise Refused(answer.status, answer.reason, answer.hint, _headers(answer))

    async def _turn_away_after_the_upgrade(self, request: WebSocketRequest, head: Head) -> None:
        """No version in common: OCPP-J wants 101 without a subprotocol, then the end (1.6, 3.1.2; 2.0.1, 3.1.2)."""
        offer = ", ".join(head.offered) or "nothing"
        self._refused(101, "no_subprotocol", f"it offers {offer}; we speak ocpp1.6, ocpp2.0.1 and ocpp2.1")
        with suppress(ConnectionClosed):
            await request.accept()
            self._wire.write_last(close_frame(1002, _NOTHING_COMMON))

    async def _open(self, request: WebSocketRequest, arrival: Arrival, *, offered: Subprotocol | None) -> bool:
        """Have the station admitted, and tell it so; return whether it still was there."""
        try:
            connection = self._connection = await self._door.admit(arrival, self)
        except LogUnavailable:
            raise Refused(503, "log_unavailable", "our log cannot be written for now", retry_after(10)) from None
        self._wire.heard = connection.heard
        lost = Ending(side="network", cause="handshake_aborted")
        if self._wire.gone():
            self._wire.end(lost)
            return False
        try:
            self._opened = await request.accept(subprotocol=offered)
        except ConnectionClosed:
            self._wire.end(lost)
            return False
        self._wire.release()
        return True

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _converse(self) -> None:
        """Handle the station's messages until the connection ends."""
        opened, connection, on_message = self._opened, self._connection, self._terms.on_message
        assert opened is not None
        assert connection is not None
        while True:
            try:
                message = await opened.get_message()
            except ConnectionClosed:
                self._wire.end(self._how_it_ended(opened))
                return
            self._wire.handled += 1
            connection.received += 1
            text = _text(message)
            if text is None:
                self._wire.end(Ending(side="gateway", cause="protocol_error", code=1003, reason="OCPP-J is text"))
                return
            if on_message is not None:
                try:
                    await on_message(connection, text)
                except trio.BrokenResourceError:
                    if opened.closed is None:
                        raise

    def _how_it_ended(self, opened: WebSocketConnection) -> Ending:
        """Tell apart a Close of the station, a loss, and frames that the library could not bear."""
        closed = opened.closed
        if self._wire.close_seen and closed is not None:
            code = None if closed.code == 1005 else int(closed.code)
            return Ending(side="station", cause="station_closed", code=code, reason=closed.reason or "")
        if closed is None or closed.code == 1006:
            return Ending(side="network", cause="network_lost")
        return Ending(side="gateway", cause="protocol_error", code=int(closed.code), reason=closed.reason or "")


def _text(message: str | bytes) -> str | None:
    if isinstance(message, str):
        return message
    try:
        return message.decode()  # a few chargers send their JSON in binary frames
    except UnicodeDecodeError:
        return None


def _headers(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    if refusal.status == 401:
        return challenge()
    return () if refusal.retry_after is None else retry_after(refusal.retry_after)

"""One peer of a WebSocket transport, from its accept to the close of its socket (semantics 7, `accept` and `close`)."""

from __future__ import annotations

import logging
import socket
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest

from ...engine.errors import LogUnavailable
from ...engine.events import Reach
from ...engine.stations import Connection, Door, Ending, NotAdmitted, OnMessage
from ..bounds import Suspects
from ..endings import ABORTED, DRAIN, FAULT, LINGER
from ..frames import NOT_AGREED, PING, close_frame
from ..handshake.answers import Refused
from ..handshake.reception import Guest, not_now, unwritable
from ..sockets.kernel import reach, round_trip, watch_over
from .visit import Etiquette, Visit
from .wire import Wire

_LOG: Final = logging.getLogger(__name__)


class Peer:
    """A peer: for the engine the `Link` of its connection, for its wire the `Owner`.

    Its end is recorded at the moment at which it is met, whatever else goes on, and once.
    """

    __slots__ = (
        "_abort",
        "_connection",
        "_door",
        "_ending",
        "_etiquette",
        "_on_message",
        "_opened",
        "_remote",
        "_scope",
        "_suspects",
        "_unread",
        "_visit",
        "_wire",
    )

    def __init__(
        self,
        etiquette: Etiquette,
        suspects: Suspects,
        on_message: OnMessage | None,
        door: Door,
        sock: socket.socket,
        remote: str,
    ) -> None:
        self._etiquette = etiquette
        self._suspects = suspects
        self._on_message = on_message
        self._door = door
        self._remote = remote
        self._wire = Wire(sock, suspects, self)
        self._scope = trio.CancelScope()
        self._visit: Visit | None = None
        self._connection: Connection | None = None
        self._opened: WebSocketConnection | None = None
        self._ending: Ending | None = None
        self._unread = 0
        self._abort = False

    async def attend(self) -> None:
        """Do all that is done for this peer. Nothing of its making leaves this."""
        try:
            await self._attend()
        except Exception:
            _LOG.exception("parting from %s failed", self._remote)

    async def _attend(self) -> None:
        try:
            await self._serve()
            if self._abort:
                self._wire.abort()
            elif self._visit is None:
                await self._wire.linger(LINGER)
            elif self._etiquette.lobby.may_linger():
                try:
                    await self._wire.linger(LINGER)
                finally:
                    self._etiquette.lobby.lingered()
        finally:
            self._connection = self._opened = None  # the engine's connection points back here
            self._wire.close()

    async def _serve(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                if await self._let_in(nursery):
                    await self._converse()
                nursery.cancel_scope.cancel()
        except* Exception:
            _LOG.exception("serving %s failed", self._remote)
            if self._visit is not None and self._connection is None:
                self._visit.turn_away(Refused(500, "internal_error", "a fault of ours; see our log"))
            self.ended(FAULT)

    # --- what the engine asks (stations.Link) -------------------------------------------------------------------------

    def ping(self) -> None:
        if self._opened is not None:
            self._wire.write(PING)

    def look(self) -> bool:
        return self._wire.look()

    def path(self, waited: float) -> Reach | None:
        return reach(self._wire.sock, waited)

    def rtt(self) -> float | None:
        return round_trip(self._wire.sock)

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        self._abort = abort
        if not abort:
            self._say_last(code, reason)
        self._scope.cancel()

    async def send(self, text: str) -> None:
        opened, connection = self._opened, self._connection
        if opened is None or connection is None:
            raise trio.BrokenResourceError("the connection has ended")
        self._check_unread(len(text))
        self._unread += len(text)
        try:
            await opened.send_message(text)
        except ConnectionClosed:
            # Until the library has answered a Close of the station it looks like one of its own: its reader will tell.
            if self._wire.close_seen or _lost(opened):
                self.ended(_how_it_ended(opened, self._wire))
            raise trio.BrokenResourceError("the connection has ended") from None
        finally:
            self._unread -= len(text)
        connection.sent += 1

    def _check_unread(self, size: int) -> None:
        """End the connection rather than hold more for a station that does not read. One message, of any size, is let
        through where nothing waits."""
        unread = max(self._unread, self._wire.waiting)
        if unread and unread + size > self._suspects.bounds.unread:
            reason = f"more than {self._suspects.bounds.unread} bytes wait to be read"
            self.ended(Ending(side="gateway", cause="slow_reader", reason=reason))
            raise trio.BrokenResourceError(reason)

    # --- what the wire tells (wire.Owner) -----------------------------------------------------------------------------

    def heard(self, messages: int) -> None:
        if self._connection is not None:
            self._connection.heard()
            self._connection.received = messages

    def ended(self, ending: Ending) -> None:
        if self._ending is not None:
            return
        self._ending = ending
        if self._connection is not None:
            self._connection.ended(ending)
        if ending.side != "gateway":
            self._wire.hang_up()
            self._scope.deadline = trio.current_time() + DRAIN
            return
        if ending.code is None:
            self._abort = True
        else:
            self._say_last(ending.code, ending.reason)
        self._scope.cancel()

    def ended_by_library(self) -> None:
        if self._opened is not None:
            self.ended(_how_it_ended(self._opened, self._wire))
        else:
            if self._visit is not None:
                self._visit.refused(400, "malformed_request", "the WebSocket library refused this request")
            self._scope.cancel()

    def _say_last(self, code: int, reason: str) -> None:
        if self._opened is not None:
            self._wire.write_last(close_frame(code, reason))

    # --- in, and on ---------------------------------------------------------------------------------------------------

    async def _let_in(self, nursery: trio.Nursery) -> bool:
        """Return whether the peer is a station's connection now."""
        visit = self._visit = Visit(self._etiquette, self._door, self._wire, self._remote)
        with self._door.handshake(), self._etiquette.lobby.handshake(visit.progress) as patience:
            try:
                received = await visit.receive(nursery)
                return received is not None and await self._open(*received)
            except Refused as refused:
                visit.turn_away(refused)
            except trio.BrokenResourceError:
                visit.went_away()
        if patience.scope.cancelled_caught:
            if patience.cut:
                visit.made_room()
            elif self._connection is None:
                visit.took_too_long()
            self.ended(ABORTED)
        return False

    async def _open(self, guest: Guest, request: WebSocketRequest) -> bool:
        """Have the station admitted, and tell it so; return whether it was still there."""
        try:
            self._connection = await self._door.admit(guest.arrival, self)
        except NotAdmitted as error:
            raise not_now(error.busy) from None
        except LogUnavailable:
            raise unwritable() from None
        if self._wire.gone():
            self.ended(ABORTED)
            return False
        try:
            self._opened = await request.accept(subprotocol=guest.subprotocol, extra_headers=_extensions(guest))
        except ConnectionClosed:
            self.ended(ABORTED)
            return False
        self._visit = None
        watch_over(self._wire.sock, self._connection.liveness)
        self._wire.release(deflate=guest.deflate is not None)
        return True

    async def _converse(self) -> None:
        """Handle the station's messages until the connection ends."""
        opened, connection = self._opened, self._connection
        assert opened is not None
        assert connection is not None
        while True:
            try:
                message = await opened.get_message()
            except ConnectionClosed:
                self.ended(_how_it_ended(opened, self._wire))
                return
            self._wire.handled += 1
            text = _text(message)
            if text is None:
                self.ended(Ending(side="gateway", cause="protocol_error", code=1003, reason="OCPP-J is text"))
            elif self._on_message is not None:
                try:
                    await self._on_message(connection, text)
                except trio.BrokenResourceError:
                    if self._ending is None and opened.closed is None:
                        raise


def _how_it_ended(opened: WebSocketConnection, wire: Wire) -> Ending:
    """Tell apart a Close of the station, a loss, and frames that the library could not bear."""
    closed = opened.closed
    if closed is None or _lost(opened):
        return Ending(side="network", cause="network_lost")
    code, reason = int(closed.code), closed.reason or ""
    if wire.close_seen:
        return Ending(side="station", cause="station_closed", code=None if code == 1005 else code, reason=reason)
    if code == 1002 and wire.inflater is None and wire.meter.compressed:
        reason = NOT_AGREED
    return Ending(side="gateway", cause="protocol_error", code=code, reason=reason)


def _lost(opened: WebSocketConnection) -> bool:
    """Return whether the library has met the end of its stream, and no Close."""
    return opened.closed is None or opened.closed.code == 1006


def _extensions(guest: Guest) -> list[tuple[bytes, bytes]]:
    return [] if guest.deflate is None else [(b"Sec-WebSocket-Extensions", guest.deflate.encode("ascii"))]


def _text(message: str | bytes) -> str | None:
    if isinstance(message, str):
        return message
    try:
        return message.decode()  # a few chargers send their JSON in binary frames
    except UnicodeDecodeError:
        return None

"""A station that was let in: for the engine the `Link` of its connection, for the reactor a socket."""

from __future__ import annotations

import logging
import select
import socket
import ssl
from typing import Final

import trio
from websockets.frames import Frame, Opcode

from ...engine.events import Reach
from ...engine.stations import Connection, Ending
from ..endings import DRAIN, FAULT, LOST
from ..frames import PING, close_frame
from ..sockets.kernel import reach, round_trip, watch_over
from ..sockets.nonblocking import WOULD_BLOCK, peek
from .house import House
from .parting import Parting, abort
from .reactor import READ, READ_AND_WRITE, WRITE
from .speech import Speech

_LOG: Final = logging.getLogger(__name__)

_CHUNK: Final = 4096
"""Bytes read at once: most OCPP messages are shorter."""
_IN_A_ROW: Final = 16
"""Reads of one that has much to say, before others get their turn."""
_PONG: Final = b"\x8a\x00"
_EMPTY_PING: Final = b"\x89\x80"
_EMPTY_PONG: Final = b"\x8a\x80"
"""Masked and without a payload: with the mask, 6 bytes."""


class Peer:
    """An open connection. While it is idle this, and what the engine keeps of it, is all there is."""

    __slots__ = ("_connection", "_deflate", "_house", "_sock", "_speech")

    def __init__(self, house: House, sock: socket.socket) -> None:
        self._house = house
        self._sock = sock
        self._connection: Connection | None = None
        """None before it is open, and again once it has ended."""
        self._speech: Speech | None = None
        self._deflate = False

    def open(self, connection: Connection, early: bytes, *, deflate: bool) -> None:
        """The 101 is written: read frames, the first of which may have come *early*; with *deflate*, they may come
        compressed."""
        self._connection = connection
        self._deflate = deflate
        watch_over(self._sock, connection.liveness)
        self._house.reactor.watch(self._sock.fileno(), self)
        if early:
            self._hear(early)
        if self._decrypted():
            self._read()

    # --- what the engine asks (stations.Link) -------------------------------------------------------------------------

    def ping(self) -> None:
        if self._connection is not None:
            self._write(PING)

    def look(self) -> bool:
        return self._connection is not None and bool(peek(self._sock))

    def path(self, waited: float) -> Reach | None:
        return reach(self._sock, waited)

    def rtt(self) -> float | None:
        return round_trip(self._sock)

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        self._leave(None if abort else close_frame(code, reason))

    async def send(self, text: str) -> None:
        connection = self._connection
        if connection is None:
            raise trio.BrokenResourceError("the connection has ended")
        data = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        speech, bounds = self._speech, self._house.suspects.bounds
        unread = 0 if speech is None else len(speech.out)
        if unread and unread + len(data) > bounds.unread:
            reason = f"more than {bounds.unread} bytes wait to be read"
            self._end(Ending(side="gateway", cause="slow_reader", reason=reason))
            raise trio.BrokenResourceError(reason)
        self._write(data)
        await trio.lowlevel.checkpoint()
        while self._connection is not None and self._speech is not None and self._speech.out:
            await self._speech.drained.wait()
        if self._connection is None:
            raise trio.BrokenResourceError("the connection has ended")
        connection.sent += 1

    # --- what the reactor tells (reactor.Watched) ---------------------------------------------------------------------

    def ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT and self._connection is not None:
            self._read()

    def failed(self) -> None:
        self._end(FAULT)

    def close(self) -> None:
        self._leave(None)

    # --- what the sweep asks (bounds.Suspect) -------------------------------------------------------------------------

    def check(self, now: float) -> None:
        if self._speech is not None and self._connection is not None:
            ending = self._speech.progress.overdue(self._house.suspects.bounds, now, self.look)
            if ending is not None:
                self._end(ending)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        sock = self._sock
        if self._speech is not None and len(self._speech.out) > self._house.suspects.bounds.unread:
            # It makes us answer and does not read: nothing more of it is read until it has, or has been too slow.
            self._house.reactor.change(sock.fileno(), WRITE)
            return
        for _ in range(_IN_A_ROW):
            try:
                data = sock.recv(_CHUNK)
            except WOULD_BLOCK:
                if isinstance(sock, ssl.SSLSocket) and self._connection is not None:
                    self._connection.heard()  # a part of a record is bytes as well
                return
            except OSError:
                data = b""
            if not data:
                self._end(LOST)
                return
            self._hear(data)
            if self._to_handle or (len(data) < _CHUNK and not self._more_records()):
                break
        while self._decrypted():  # of this the reactor would not tell
            self._hear(sock.recv(_CHUNK))

    @property
    def _to_handle(self) -> bool:
        """Whether there is no more to be read for now: the connection has ended, or messages wait to be handled."""
        return self._connection is None or (self._speech is not None and bool(self._speech.texts))

    def _more_records(self) -> bool:
        """Return whether TLS has, or could have at once, more to read: it gives one record at a time, however small."""
        return isinstance(self._sock, ssl.SSLSocket) and bool(peek(self._sock))

    def _decrypted(self) -> bool:
        """Return whether there is something to read that makes no socket readable: TLS has it already."""
        return self._connection is not None and isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _hear(self, data: bytes) -> None:
        connection, speech = self._connection, self._speech
        assert connection is not None
        connection.heard()
        if speech is None:
            if len(data) == 6:
                kind = data[:2]
                if kind == _EMPTY_PONG:
                    return
                if kind == _EMPTY_PING:
                    self._write(_PONG)
                    return
            speech = self._awake()
        before = len(speech.texts)
        answer, ending = speech.hear(data)
        connection.received += len(speech.texts) - before
        if answer:
            self._write(answer)
        if speech.texts and speech.scope is None:
            self._handle(connection, speech)
        if ending is not None:
            self._end(ending)
        else:
            speech.progress.heard(speech.meter, trio.current_time())
            self._settle()

    def _awake(self) -> Speech:
        if self._speech is None:
            self._speech = Speech(self._house.suspects.bounds, deflate=self._deflate)
        return self._speech

    def _settle(self) -> None:
        """Drop what is not needed while nothing is under way; have what is under way looked after."""
        speech = self._speech
        if speech is None:
            return
        if speech.progress.pending:
            self._house.suspects.wires.add(self)
            return
        self._house.suspects.wires.discard(self)
        if speech.over:
            speech.close()
            self._speech = None

    # --- messages -----------------------------------------------------------------------------------------------------

    def _handle(self, connection: Connection, speech: Speech) -> None:
        if self._house.on_message is None:
            speech.texts.clear()
        else:
            speech.scope = trio.CancelScope()
            self._house.nursery.start_soon(self._converse, connection, speech, speech.scope)

    async def _converse(self, connection: Connection, speech: Speech, scope: trio.CancelScope) -> None:
        """Handle messages until none is left."""
        on_message = self._house.on_message
        assert on_message is not None
        try:
            with scope:
                while speech.texts:
                    try:
                        await on_message(connection, speech.texts.popleft())
                    except trio.BrokenResourceError:
                        if self._connection is not None:
                            raise
        except Exception:
            _LOG.exception("serving %r failed", connection.station)
            self._end(FAULT)
        finally:
            speech.scope = None
            self._settle()

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Write as far as the socket takes it, behind what waits already. It never waits, and never raises."""
        if self._speech is not None and self._speech.out:
            self._speech.out += data
            return
        try:
            sent = self._sock.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            return  # the reader meets the same error, and reports it
        if sent < len(data):
            speech = self._awake()
            speech.out += data[sent:]
            speech.progress.wrote(len(speech.out), trio.current_time())
            self._settle()
            self._house.reactor.change(self._sock.fileno(), READ_AND_WRITE)

    def _flush(self) -> None:
        speech = self._speech
        if speech is None or self._connection is None:
            return
        try:
            del speech.out[: self._sock.send(speech.out)]
        except WOULD_BLOCK:
            return
        except OSError:
            speech.out.clear()
        if not speech.out:
            speech.progress.wrote(0, trio.current_time())
            speech.wake()
            self._house.reactor.change(self._sock.fileno(), READ)
            self._settle()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self, ending: Ending) -> None:
        """Tell the engine how it ended, and part."""
        connection = self._connection
        if connection is None:
            return
        connection.ended(ending)
        if ending.side == "gateway":
            self._leave(None if ending.code is None else close_frame(ending.code, ending.reason))
        else:
            self._leave(b"", drain=DRAIN)

    def _leave(self, last: bytes | None, *, drain: float = 0.0) -> None:
        """Say the *last* words, and part from the socket; without any, reset it."""
        if self._connection is None:
            return
        if last:
            self._write(last)
        self._connection = None
        self._house.suspects.wires.discard(self)
        speech, self._speech = self._speech, None
        if speech is not None:
            if speech.scope is not None:
                speech.scope.deadline = trio.current_time() + drain
            speech.wake()
            speech.close()
        if last is None:
            abort(self._house, self._sock)
        else:
            Parting(self._house, self._sock)

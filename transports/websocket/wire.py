"""A peer's socket, as the stream under the WebSocket library.

Theory of operation. The library reads and writes through a `Wire` and believes it owns the socket; it does not:

* Every inbound byte is noted on its way to the library (`Owner.heard`), also those of pings and pongs, which the
  library answers or drops in silence.
* The end is noted where it is met (`Owner.ended`), not when somebody next asks the library for a message.
* What cannot be written at once waits in one buffer, in order. A ping or a Close is put behind whatever frame is
  being written, never into it, and a sender that is cancelled leaves no half frame behind.
* Closing is ours. After it has failed the library closes its stream without a Close frame; here that only ends its
  reading, so that the right frame can still be written.
* Until the 101 the library gets the request's head and not one byte more: it would lose what came early.

Nothing but `receive_some`, `send_all` and what serves the handshake ever waits.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Protocol

import trio

from ...engine.stations import Ending
from ..admission import Certificate
from ..bounds import Progress, Suspects
from ..endings import LOST
from ..frames import Meter, is_close
from ..sockets.nonblocking import WOULD_BLOCK, half_close, peek, reset_on_close
from ..sockets.tls import certificate_of
from .inflation import Inflater


class Owner(Protocol):
    """Whoever a wire belongs to. It is told at once, from within reads and writes, and must not wait."""

    def heard(self, messages: int) -> None:
        """Bytes came; with them the peer has sent so many whole messages."""
        ...

    def ended(self, ending: Ending) -> None:
        """The connection has ended: the peer or the network ended it, or the peer may cost no more."""
        ...

    def ended_by_library(self) -> None:
        """The library would close its stream now."""
        ...


class Wire(trio.abc.Stream):
    """One accepted socket, non-blocking, with TLS or without."""

    __slots__ = (
        "_broken",
        "_early",
        "_gate",
        "_head",
        "_hung_up",
        "_mute",
        "_out",
        "_progress",
        "_released",
        "_sending",
        "_stopped",
        "_suspects",
        "close_seen",
        "flights",
        "handled",
        "inflater",
        "meter",
        "owner",
        "sock",
    )

    def __init__(self, sock: socket.socket, suspects: Suspects, owner: Owner) -> None:
        self.sock = sock
        self.owner = owner
        self.close_seen = False
        """Whether the library answered a Close frame of the peer."""
        self.flights = 0
        """How often something came of the peer's TLS handshake."""
        self.meter = Meter()
        self.handled = 0
        """Messages that were fetched from the library."""
        self.inflater: Inflater | None = None
        """Where compression was agreed on."""
        self._suspects = suspects
        self._head = b""
        self._early = b""
        self._gate: trio.Event | None = None
        self._out = bytearray()
        self._progress = Progress()
        self._released = False
        self._sending = False
        self._stopped = False
        self._mute = False
        self._hung_up = False
        self._broken = False

    # --- the handshake ------------------------------------------------------------------------------------------------

    async def secure(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake.

        Raises:
            OSError: it failed.
        """
        # After a reset `wrap_socket` takes our socket, raises, and leaves it to the garbage collector. Whoever is reset
        # between these two lines finds `sock` without a file: see `linger` and `close`.
        with suppress(*WOULD_BLOCK):
            self.sock.recv(1, socket.MSG_PEEK)
        self.sock = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        await trio.lowlevel.wait_readable(self.sock)  # the client begins
        while True:
            self.flights += 1
            try:
                self.sock.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self.sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self.sock)
            else:
                return

    @property
    def tls(self) -> str | None:
        """The TLS version; None without TLS."""
        return self.sock.version() if isinstance(self.sock, ssl.SSLSocket) else None

    def certificate(self) -> Certificate | None:
        """Return the client certificate, if one was asked for and verified."""
        return certificate_of(self.sock) if isinstance(self.sock, ssl.SSLSocket) else None

    def replay(self, head: bytes, early: bytes) -> None:
        """Give the library *head* to read, and nothing else until `release`; then *early*, and what comes after."""
        self._head, self._early, self._gate = head, early, trio.Event()

    def release(self, *, deflate: bool = False) -> None:
        """The 101 is written: let the library read frames; with *deflate*, they may come compressed."""
        self._released = True
        if deflate:
            self.inflater = Inflater(self._suspects.bounds.message)
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    def mute(self) -> None:
        """Write nothing more, whoever asks."""
        self._mute = True

    # --- reading ------------------------------------------------------------------------------------------------------

    async def receive(self, size: int) -> bytes:
        """Return the next bytes of the socket; none at its end.

        Raises:
            trio.BrokenResourceError: the connection is lost.
        """
        waited = False
        while True:
            of_a_record = self._released and isinstance(self.sock, ssl.SSLSocket) and bool(peek(self.sock))
            try:
                data = self.sock.recv(size)
            except WOULD_BLOCK:
                if of_a_record:
                    self.owner.heard(self.meter.messages)  # a part of it is bytes as well
            except OSError as error:
                raise trio.BrokenResourceError from error
            else:
                if not waited:
                    await trio.lowlevel.checkpoint()  # one that always has something to say must not keep the loop
                return data
            await trio.lowlevel.wait_readable(self.sock)
            waited = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes for the library, having noted and measured them; what was compressed comes inflated.

        Raises:
            trio.BrokenResourceError: the connection is lost, or was ended because of these bytes.
            trio.ClosedResourceError: the library has closed its stream.
        """
        if self._head:
            data, self._head = self._head, b""
            return data
        if self._gate is not None:
            await self._gate.wait()
        while True:
            inflater = self.inflater
            if inflater is not None and inflater.fault is not None:
                self.owner.ended(inflater.fault)
                raise trio.BrokenResourceError
            data = await self._receive_measured(max_bytes)
            if not data or inflater is None:
                return data
            if plain := inflater.feed(data):
                return plain

    async def _receive_measured(self, max_bytes: int | None) -> bytes:
        if self._stopped:
            raise trio.ClosedResourceError
        if self._early:
            data, self._early = self._early, b""
        else:
            try:
                data = await self.receive(max_bytes or 4096)
            except trio.BrokenResourceError:
                self.owner.ended(LOST)
                raise
        if not data:
            self.owner.ended(LOST)
        elif not self._measure(data):
            raise trio.BrokenResourceError
        return data

    def look(self) -> bool:
        """Return whether bytes of the peer are waiting, unread, in the socket now. Its end is none."""
        return bool(peek(self.sock))

    def gone(self) -> bool:
        """Return whether the peer has closed, or the connection is lost."""
        return peek(self.sock) == b""

    def _measure(self, data: bytes) -> bool:
        """Follow the frames in *data*; return False if the peer has to go because of them."""
        meter, bounds = self.meter, self._suspects.bounds
        fits = meter.feed(data, bounds.message)
        self.owner.heard(meter.messages)
        if not fits:
            reason = f"a message has at most {bounds.message} bytes"
            self.owner.ended(Ending(side="gateway", cause="message_too_big", code=1009, reason=reason))
            return False
        if meter.messages - self.handled > bounds.waiting:
            reason = f"more than {bounds.waiting} messages wait to be handled"
            self.owner.ended(Ending(side="gateway", cause="overrun", code=1008, reason=reason))
            return False
        if meter.in_frame or meter.in_message or self in self._suspects.wires:
            self._progress.heard(meter, trio.current_time())
            self._note_suspect()
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data*, waiting for a slow reader. If this is cancelled, what is left is written later, not cut off.

        Raises:
            trio.BrokenResourceError: the connection is lost.
        """
        if self._released and is_close(data):
            self.close_seen = True
            self.write_last(data)
        else:
            self.write(data)
        try:
            self._sending = True
            while self._out and not self._broken:
                await trio.lowlevel.wait_writable(self.sock)
                self.flush()
        finally:
            self._sending = False
        if self._broken:
            if self._released and not self.look():
                self.owner.ended(LOST)
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data* as far as the socket takes it, behind what waits already. It never waits, and never raises."""
        if not self._mute:
            self._out += data
            if not self._sending:  # a sender that waits goes on with this as well, once the socket takes much again
                self.flush()

    @property
    def waiting(self) -> int:
        """Bytes that wait because the peer does not read."""
        return len(self._out)

    def write_last(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data*, and nothing after it."""
        self.write(data)
        self._mute = True

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        while self._out and not self._broken:
            try:
                sent = self.sock.send(self._out)
            except WOULD_BLOCK:
                break
            except OSError:
                self._broken = True  # the reader meets the same error, and reports it
                self._out.clear()
            else:
                del self._out[:sent]
        if self._progress.wrote(len(self._out), trio.current_time()):
            self._note_suspect()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the library's reading. The socket stays ours: see `linger`."""
        self._stopped = True
        self.owner.ended_by_library()
        await trio.lowlevel.checkpoint()

    def check(self, now: float) -> None:
        """End this connection if something on it takes too long."""
        bounds = self._suspects.bounds
        if not self._sending:
            self.flush()
        ending = self._progress.overdue(bounds, now, self.look)
        if ending is not None:
            self.owner.ended(ending)

    def hang_up(self) -> None:
        """Close our side, now: after this nothing is written."""
        if self._hung_up:
            return
        self.flush()
        self._mute = self._hung_up = True
        half_close(self.sock)

    async def linger(self, seconds: float) -> None:
        """Close our side, and wait at most so long for the peer's: unread bytes would turn our end into a reset,
        which may overtake our last frame (RFC 9112, 9.6)."""
        if self.sock.fileno() < 0:
            return
        self.hang_up()
        with suppress(OSError), trio.move_on_after(seconds):
            while await _receive_raw(self.sock):
                pass

    def abort(self) -> None:
        """See that closing throws away what is unsent, and tells a peer that still listens by a reset."""
        reset_on_close(self.sock)

    def close(self) -> None:
        """Close the socket, now."""
        self._suspects.wires.discard(self)
        self._stopped = self._broken = True
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    def _note_suspect(self) -> None:
        if self._progress.pending:
            self._suspects.wires.add(self)
        else:
            self._suspects.wires.discard(self)


async def _receive_raw(sock: socket.socket) -> bytes:
    """Return raw bytes of the socket, under TLS still encrypted; none at its end."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return socket.socket.recv(sock, 4096)
        except BlockingIOError:
            continue

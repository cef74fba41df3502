"""A WebSocket connection from the station's end, of a station that need not behave.

wsproto speaks the protocol. What is ours is what a well-behaved client library does not offer: to fall silent with the
socket open, to cut or reset the connection without a Close, to write one frame a few bytes at a time.
"""

from __future__ import annotations

import socket
import ssl
import struct
from base64 import b64encode
from collections import deque
from contextlib import suppress
from typing import cast
from urllib.parse import quote, urlsplit

import trio
from attrs import frozen
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, CloseConnection, Event, Message, Ping, RejectConnection, Request
from wsproto.events import TextMessage as Text
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ...engine.events import Side

CLOSE_PATIENCE = 2.0
"""Seconds that an orderly close waits for the gateway's own Close."""

_CHUNK = 16 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing the socket resets the connection."""


@frozen(kw_only=True)
class Caller:
    """Who dials in, and with what."""

    station: str
    password: bytes | None = None
    """None: no Authorization header."""
    subprotocols: tuple[str, ...] = ("ocpp1.6",)
    """In the station's order of preference; empty: no Sec-WebSocket-Protocol header."""


@frozen(kw_only=True)
class Refusal:
    """The handshake led to no connection."""

    status: int | None
    """The HTTP status of the answer; none if no answer came."""
    reason: str = ""


@frozen(kw_only=True)
class Hangup:
    """How a line ended, as its station saw it."""

    side: Side
    code: int | None = None
    """The close code that the gateway sent, if it sent one."""
    reason: str = ""


class Line:
    """A connection to a gateway. One task at a time may use it."""

    def __init__(self, stream: trio.abc.Stream, tcp: trio.SocketStream) -> None:
        self._stream = stream
        self._tcp = tcp
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._messages: deque[str] = deque()
        self._partial: list[str] = []
        self._over: Hangup | None = None
        self.subprotocol: str | None = None
        """What the gateway chose; none where it refuses after the upgrade (OCPP-J 1.6, 3.1.2)."""
        self.pings = 0
        """Pings of the gateway that were seen."""

    @property
    def local_port(self) -> int:
        """The TCP port at the station's end."""
        return int(self._tcp.socket.getsockname()[1])

    async def upgrade(self, request: Request) -> Refusal | None:
        """Ask for the upgrade; None once it is granted. After a refusal the socket is closed.

        Raises:
            RemoteProtocolError: what came is no answer to a handshake.
        """
        await self._stream.send_all(self._ws.send(request))
        while True:
            data = bytes(await self._stream.receive_some(_CHUNK))
            self._ws.receive_data(data)
            events = deque(self._ws.events())
            if not events and data:
                continue
            answer = events.popleft() if events else None
            if isinstance(answer, AcceptConnection):
                self.subprotocol = answer.subprotocol
                for event in events:
                    await self._handle(event, answer=True)
                return None
            await self.cut()
            if isinstance(answer, RejectConnection):
                return Refusal(status=answer.status_code)
            return Refusal(status=None, reason="the connection broke before an answer came")

    async def receive(self, *, deadline: float, answer: bool = True) -> str | Hangup | None:
        """Return the next message, how the line ended, or None once the deadline (trio's clock) is over.

        Pings are answered meanwhile, and a Close is echoed; without *answer* neither is.
        """
        while True:
            if self._messages:
                return self._messages.popleft()
            if self._over is not None:
                return self._over
            data: bytes | None = None
            with trio.move_on_at(deadline):
                try:
                    data = bytes(await self._stream.receive_some(_CHUNK))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
            if data is None:
                return None
            await self._take(data, answer=answer)

    async def send(self, text: str) -> None:
        """Send a message. If the gateway is gone, the next `receive` says so."""
        await self._write(Text(data=text))

    async def trickle(self, text: str, *, pieces: int, pause: float) -> None:
        """Send a message in one frame, a few bytes at a time, with *pause* seconds between."""
        frame = self._frame(Text(data=text))
        size = max(1, -(-len(frame) // pieces))
        for start in range(0, len(frame), size):
            if start:
                await trio.sleep(pause)
            await self._put(frame[start : start + size])

    async def hang_up(self, code: int = 1000) -> None:
        """Close in order: a Close frame, the gateway's answer to it, then the socket."""
        if self._ws.state is ConnectionState.OPEN:
            await self._write(CloseConnection(code=code))
            deadline = trio.current_time() + CLOSE_PATIENCE
            while isinstance(await self.receive(deadline=deadline), str):
                pass
        await self.cut()

    async def cut(self) -> None:
        """Close the socket without a word to the gateway: it finds the end of the stream."""
        await trio.aclose_forcefully(self._stream)

    async def reset(self) -> None:
        """Reset the TCP connection: the gateway finds an error."""
        self._tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        await trio.aclose_forcefully(self._stream)

    async def _take(self, data: bytes, *, answer: bool) -> None:
        if not data:
            self._over = Hangup(side="network", reason="the connection broke without a Close")
            return
        try:
            self._ws.receive_data(data)
            events = list(self._ws.events())
        except (RemoteProtocolError, LocalProtocolError) as error:
            self._over = Hangup(side="gateway", reason=f"the gateway broke the protocol: {error}")
            return
        for event in events:
            await self._handle(event, answer=answer)

    async def _handle(self, event: Event, *, answer: bool) -> None:
        match event:
            case Ping():
                self.pings += 1
                if answer:
                    await self._write(event.response())
            case CloseConnection(code=code, reason=reason):
                if answer and self._ws.state is ConnectionState.REMOTE_CLOSING:
                    await self._write(event.response())
                self._over = Hangup(side="gateway", code=int(code), reason=reason or "")
            case Message(data=str() as text, message_finished=finished):
                self._partial.append(text)
                if finished:
                    self._messages.append("".join(self._partial))
                    self._partial.clear()
            case _:
                pass

    def _frame(self, event: Event) -> bytes:
        try:
            return self._ws.send(event)
        except LocalProtocolError:
            return b""  # a Close has gone over the line already

    async def _write(self, event: Event) -> None:
        await self._put(self._frame(event))

    async def _put(self, data: bytes) -> None:
        # Not cancelled half way: the rest of a frame would be missing.
        with trio.move_on_after(CLOSE_PATIENCE, shield=True):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(data)


async def dial(
    url: str, caller: Caller, *, patience: float = 10.0, trust: ssl.SSLContext | None = None
) -> Line | Refusal:
    """Dial in at a gateway, as one station: OCPP-J 1.6, 3.1.

    *url* is the gateway's without a station's id. The answer is due within *patience* seconds.
    """
    try:
        with trio.fail_after(patience):
            line = await _connect(url, trust)
            try:
                refusal = await line.upgrade(_request(url, caller))
            except BaseException:
                await line.cut()
                raise
    except trio.TooSlowError:
        return Refusal(status=None, reason=f"no answer within {patience:g} s")
    except (OSError, trio.BrokenResourceError, RemoteProtocolError) as error:
        return Refusal(status=None, reason=_why(error))
    return line if refusal is None else refusal


def _why(error: BaseException) -> str:
    """Say what went wrong. trio tries all addresses of a name, and puts what each attempt met into a group."""
    cause = error.__cause__ or error
    if isinstance(cause, ExceptionGroup):
        return "; ".join(map(str, cast("ExceptionGroup[Exception]", cause).exceptions))
    return str(cause) or type(cause).__name__


async def _connect(url: str, trust: ssl.SSLContext | None) -> Line:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host = parts.hostname or "localhost"
    tcp = await trio.open_tcp_stream(host, parts.port or (443 if secure else 80))
    if not secure:
        return Line(tcp, tcp)
    context = trust or ssl.create_default_context()
    return Line(trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True), tcp)


def _request(url: str, caller: Caller) -> Request:
    parts = urlsplit(url)
    headers: list[tuple[bytes, bytes]] = []
    if caller.password is not None:
        headers.append((b"Authorization", b"Basic " + b64encode(caller.station.encode() + b":" + caller.password)))
    return Request(
        host=parts.netloc.rpartition("@")[2],
        target=f"{parts.path.rstrip('/')}/{quote(caller.station, safe='')}",
        subprotocols=list(caller.subprotocols),
        extra_headers=headers,
    )

"""A station made of a bare socket, that can do all a good one does and all a bad one does."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from os import urandom
from socket import SO_LINGER, SO_RCVBUF, SOL_SOCKET
from urllib.parse import urlsplit

import trio
from attrs import frozen
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError


@frozen
class Rejected(Exception):
    """The server answered with something else than 101."""

    status: int
    headers: dict[str, str]


def frame(payload: bytes, *, opcode: int = 1, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return a client's frame, well-formed or not."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mask = masked << 7
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    key = urandom(4)
    return head + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def request(
    target: str = "/ocpp/CP-1", *, subprotocol: str | None = "ocpp1.6", extra: Sequence[str] = (), method: str = "GET"
) -> bytes:
    """Return a station's opening request."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol is not None else []),
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def dial_tcp(url: str, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """Connect to where a WebSocket URL points, and say nothing yet."""
    parts = urlsplit(url)
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, receive_buffer)
    try:
        await sock.connect((parts.hostname, parts.port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


class RawStation:
    """An open connection. It answers pings, unless it has vanished."""

    def __init__(self, stream: trio.abc.Stream, tcp: trio.SocketStream) -> None:
        self.stream = stream
        self.tcp = tcp
        self.subprotocol: str | None = None
        self.pings = 0
        self.closed: tuple[int | None, str] | None = None
        """How it ended: the code and reason of the peer's Close; no code where the socket just ended."""
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._texts, self._received = trio.open_memory_channel[str](1000)
        self._over = trio.Event()
        self._sending = trio.Lock()
        self._part = ""
        self._reading = trio.CancelScope()

    @classmethod
    async def open(
        cls,
        url: str,
        nursery: trio.Nursery,
        *,
        subprotocols: Sequence[str] = ("ocpp1.6",),
        headers: Sequence[tuple[bytes, bytes]] = (),
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        deflate: bool = False,
        first: bytes = b"",
    ) -> RawStation:
        """Dial in; with *deflate*, offer to compress. *first*: bytes that a proxy would send before anything else.

        Raises:
            Rejected: the server answered with something else than 101.
        """
        parts = urlsplit(url)
        tcp = await dial_tcp(url, receive_buffer=receive_buffer)
        stream: trio.abc.Stream = tcp
        if tls is not None:
            stream = trio.SSLStream(tcp, tls, server_hostname=parts.hostname, https_compatible=True)
        station = cls(stream, tcp)
        opening = Request(
            host=parts.netloc,
            target=parts.path,
            subprotocols=list(subprotocols),
            extensions=[PerMessageDeflate()] if deflate else [],
            extra_headers=list(headers),
        )
        try:
            await tcp.send_all(first)
            await stream.send_all(station._protocol.send(opening))
            await station._answered()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        nursery.start_soon(station._live)
        return station

    async def _live(self) -> None:
        try:
            await self._read()
            await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(self.stream)

    async def _answered(self) -> None:
        while True:
            data = await self.stream.receive_some(4096)
            if not data:
                raise trio.BrokenResourceError("the server hung up without an answer")
            self._protocol.receive_data(bytes(data))
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    self.subprotocol = event.subprotocol
                    return
                if isinstance(event, RejectConnection):
                    headers = {name.decode().lower(): value.decode() for name, value in event.headers}
                    raise Rejected(event.status_code, headers)

    async def send(self, text: str) -> None:
        """Send a message; into the void if the connection has ended."""
        with suppress(LocalProtocolError):
            await self.send_raw(self._protocol.send(TextMessage(data=text)))

    async def send_raw(self, data: bytes) -> None:
        """Send any bytes; into the void if the connection has ended."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._sending:
                await self.stream.send_all(data)

    async def receive(self) -> str:
        """Return the next message."""
        return await self._received.receive()

    async def ping(self) -> None:
        """Send a ping."""
        await self.send_raw(frame(b"are you there", opcode=9))

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Leave in order."""
        await self.send_raw(frame(b"" if code is None else struct.pack("!H", code) + reason.encode(), opcode=8))
        await self.hung_up()

    async def lose(self, *, reset: bool = False) -> None:
        """End the socket without a Close."""
        if reset:
            self.reset()
        self._reading.cancel()
        self.tcp.socket.close()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """End the socket with a reset, now."""
        self.tcp.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._reading.cancel()
        self.tcp.socket.close()

    def vanish(self) -> None:
        """Read and answer nothing more."""
        self._reading.cancel()

    async def hung_up(self) -> tuple[int | None, str]:
        """Wait until the server has ended the connection, reading on if this had vanished."""
        if self._reading.cancel_called and self.closed is None:
            self._reading = trio.CancelScope()
            await self._read()
        await self._over.wait()
        assert self.closed is not None
        return self.closed

    async def _read(self) -> None:
        with self._reading:
            told: tuple[int | None, str] = (None, "")
            while True:
                for event in self._protocol.events():
                    if isinstance(event, CloseConnection):
                        told = (int(event.code), event.reason or "")
                    await self._react(event)
                try:
                    data = await self.stream.receive_some(65536)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    break
                if not data:
                    break
                self._protocol.receive_data(bytes(data))
            self.closed = told
            await trio.aclose_forcefully(self.stream)
            self._over.set()

    async def _react(self, event: object) -> None:
        if isinstance(event, Ping):
            self.pings += 1
            await self.send_raw(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            with suppress(LocalProtocolError):
                await self.send_raw(self._protocol.send(event.response()))
        elif isinstance(event, TextMessage):
            self._part += event.data
            if event.message_finished:
                text, self._part = self._part, ""
                await self._texts.send(text)

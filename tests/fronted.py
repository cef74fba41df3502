"""An engine behind one of our station transports, on a loopback socket, and a peer that speaks in bytes."""

from __future__ import annotations

import logging
import os
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Literal

import trio
import trio.testing
import trustme
from attrs import field, frozen
from raw_station import RawStation, dial_tcp, frame, request

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, Event
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import Connection, StationTransport
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations
from stationkeeper.transports.bounds import Bounds

UNWATCHED = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))
"""No pings of ours, so that what a peer gets is the answer to what it sent."""
PATIENCE = 30.0
"""Seconds that a test may take."""


TRANSPORTS: dict[str, Callable[..., StationTransport]] = {
    "WebSocketStations": WebSocketStations,
    "DenseStations": DenseStations,
}
"""Our station transports on sockets, by name."""


@frozen
class Front:
    """A gateway that listens."""

    engine: Engine
    log: MemoryLog
    tls: ssl.SSLContext | None = None
    """What a peer needs to speak TLS to it, if it does."""
    first: bytes = b""
    """What must stand before all that a peer says."""

    @property
    def url(self) -> str:
        """Where stations dial in."""
        return self.engine.urls[0]

    def story(self, station: str) -> list[Event]:
        """Return what the log holds of a station, in order."""
        return [decode(recorded) for recorded in self.log.read(subject=station)]

    def connections(self) -> dict[str, list[str]]:
        """Return the kinds of events of each connection, in order."""
        stories: dict[str, list[str]] = {}
        for event in map(decode, self.log.read()):
            if isinstance(event, ConnectionOpened | ConnectionClosed):
                stories.setdefault(event.connection, []).append(event.kind)
        return stories

    async def closed(self, station: str) -> ConnectionClosed:
        """Wait for a station's `connection.closed`, and return it; there is one, behind one `connection.opened`."""
        while True:
            position = self.engine.position
            story = self.story(station)
            if any(isinstance(event, ConnectionClosed) for event in story):
                opened, closed = story
                assert isinstance(opened, ConnectionOpened)
                assert isinstance(closed, ConnectionClosed)
                assert opened.connection == closed.connection
                return closed
            await self.engine.beyond(position)


async def echo(connection: Connection, text: str) -> None:
    await connection.send(text)


Way = Literal["plain", "tls", "proxied"]
"""How a gateway is reached: behind a proxy, a header tells it of each peer's address."""
PROXIED = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + b"\x12\x34\x23\x28"
"""A PROXY header of version 2: from 192.0.2.1:4660 to 192.0.2.2:9000."""


@asynccontextmanager
async def fronted(
    transport: str,
    *,
    way: Way = "plain",
    bounds: Bounds | None = None,
    watched: EngineSettings = UNWATCHED,
    virtual: bool = False,
    patience: float = PATIENCE,
    **settings: Any,
) -> AsyncIterator[Front]:
    """Serve a transport, by name, with an echo, while the block lasts, and for *patience* seconds at most.

    *virtual*: under virtual time.
    """
    server, client = contexts() if way == "tls" else (None, None)
    stations = TRANSPORTS[transport](
        "127.0.0.1:0",
        admit=AnyStation(),
        on_message=echo,
        tls=server,
        trusted_proxies=["127.0.0.1"] if way == "proxied" else [],
        bounds=bounds or Bounds(sweep=0.05),
        **settings,
    )
    log = MemoryLog()
    clock = VirtualClock() if virtual else None
    with trio.fail_after(patience):
        async with open_engine(log, transports=[stations], settings=watched, clock=clock, inline=virtual) as engine:
            yield Front(engine, log, client, PROXIED if way == "proxied" else b"")


async def serves_well(front: Front) -> None:
    """See that a good station still gets in, is answered, and leaves: one that was not here before."""
    async with trio.open_nursery() as nursery:
        url = f"{front.url}/good-{len(front.connections())}"
        good = await RawStation.open(url, nursery, tls=front.tls, first=front.first)
        await good.send("hello")
        assert await good.receive() == "hello"
        await good.close()
        nursery.cancel_scope.cancel()


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's context that trust each other."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Complaints(logging.Handler):
    """Keeps what is logged at warning or above while the block lasts: whatever a peer does gives no reason for that."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

    def __enter__(self) -> Complaints:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


def held() -> tuple[int, int]:
    """Return how many files are open and how many tasks live."""
    return len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living


async def until(condition: Callable[[], bool], *, pause: float = 0.01) -> None:
    """Wait for what nobody tells of, looking every *pause* seconds."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(pause)


@frozen
class Frame:
    """One frame that the server sent. It is whole, unmasked and without reserved bits, or reading it fails."""

    opcode: int
    payload: bytes = b""


@frozen
class Peer:
    """A peer that has been let in, and says what it likes."""

    stream: trio.SocketStream
    head: bytearray = field(factory=bytearray)
    """The answer that let it in."""
    _received: bytearray = field(factory=bytearray)

    @classmethod
    async def open(cls, url: str, *, extra: Sequence[str] = ()) -> Peer:
        """Dial in; fails unless the answer is a 101."""
        peer = cls(await dial_tcp(url))
        target = "/" + url.partition("://")[2].partition("/")[2]
        await peer.stream.send_all(request(target, extra=extra))
        while b"\r\n\r\n" not in peer._received:
            assert await peer._more(), "the server hung up without an answer"
        head, _, rest = bytes(peer._received).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        peer.head.extend(head)
        peer._received[:] = rest
        return peer

    async def send(self, data: bytes) -> bool:
        """Send bytes, and let the server see them; return whether the connection still stood."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return False
        return True

    async def receive(self) -> Frame | None:
        """Return the next frame; None if the server has hung up."""
        while (taken := take_frame(self._received)) is None:
            if not await self._more():
                assert not self._received, "the server hung up in the middle of a frame"
                return None
        return taken

    async def _more(self) -> bool:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            return False
        self._received.extend(data)
        return bool(data)


def take_frame(data: bytearray, *, deflates: bool = False) -> Frame | None:
    """Take the first frame out of what a server sent; None while it is not whole.

    *deflates*: whether permessage-deflate was negotiated.
    """
    if len(data) < 2:
        return None
    assert not data[1] & 0x80, "a server masks nothing (RFC 6455, 5.1)"
    assert data[0] & (0xB0 if deflates else 0xF0) == 0x80, "a server's frames are whole, and use no other extension"
    size, start = data[1] & 0x7F, 2
    if size > 125:
        start = 4 if size == 126 else 10
        if len(data) < start:
            return None
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    taken = Frame(data[0] & 0x0F, bytes(data[start : start + size]))
    del data[: start + size]
    return taken


def text(payload: str | bytes, *, fin: bool = True) -> bytes:
    """Return a client's text frame."""
    return frame(payload.encode() if isinstance(payload, str) else payload, fin=fin)


def more(payload: str | bytes, *, fin: bool = True) -> bytes:
    """Return a client's continuation frame."""
    return frame(payload.encode() if isinstance(payload, str) else payload, opcode=0, fin=fin)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """Return a client's Close frame."""
    return frame(b"" if code is None else struct.pack("!H", code) + reason, opcode=8)

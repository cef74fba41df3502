"""Peers that say anything at all, drawn from a `Random`: Hypothesis's, which shrinks, or one with a seed.

What a peer says is made to get far, and then broken: heads that are nearly right, frames that nearly fit, bytes
changed, lost or repeated, in pieces of any size, and every way of going away.
"""

from __future__ import annotations

import ssl
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from random import Random
from typing import Final, Literal

import trio
from attrs import evolve, frozen
from fronted import PROXIED, Front, held, serves_well, take_frame, until
from raw_station import dial_tcp

from stationkeeper.engine import EngineSettings, Liveness
from stationkeeper.engine.stations import Connection
from stationkeeper.transports.bounds import Bounds

SHORT: Final = Bounds(message=4096, frame_time=0.5, message_time=1.0, unread=8192, unread_time=0.5, sweep=0.5)
"""Bounds that a few bytes, and a second of virtual time, can reach."""
MESSAGE: Final = SHORT.message
WATCHED: Final = EngineSettings(liveness=Liveness(ping_interval=0.4, ping_timeout=0.6, silence=2.0))
"""Pings come often, and stations that do not answer them time out."""
HANDSHAKE: Final = 1.0
"""Seconds for a handshake here."""
_STAYS: Final = 2.5
"""Seconds for which a peer stays that has nothing more to say: every bound of time is over by then."""
_PAUSE: Final = 0.2
"""Seconds between two looks at what nobody tells of: each costs a little real time."""
_SLICES: Final = (1, 2, 3, 7, 64, 500)

Leave = Literal["close", "end", "half", "reset", "stay"]
"""How a peer goes: with a Close, by ending its socket, or only its side of it, with a reset, or not at all."""


@frozen(kw_only=True)
class Visit:
    """All that one peer does."""

    head: bytes
    after: bytes
    """What follows the head."""
    early: bool
    """Whether that is said without waiting for the 101."""
    pieces: Sequence[int]
    """Sizes of the first pieces in which it is said; what is left then comes in one."""
    leave: Leave
    secure: bool = False
    """Whether it speaks TLS first, in order; to a gateway that does."""


# --- what is drawn ----------------------------------------------------------------------------------------------------


def draw_visit(draw: Random, station: str) -> Visit:
    """Draw a visit; some are those of a good station."""
    return Visit(
        head=spoiled(draw, _head(draw, station), 0.25),
        after=spoiled(draw, b"".join(_frame(draw) for _ in range(draw.randrange(6))), 0.5),
        early=draw.random() < 0.5,
        pieces=[draw.choice(_SLICES) for _ in range(draw.randrange(30))] if draw.random() < 0.5 else (),
        leave=draw.choice(("close", "end", "half", "reset", "stay")),
    )


def draw_visit_over_tls(draw: Random, station: str) -> Visit:
    """Draw a visit to a gateway that speaks TLS: one in TLS, or with a spoiled beginning of it."""
    if draw.random() < 0.6:
        return evolve(draw_visit(draw, station), secure=True)
    return evolve(draw_visit(draw, station), head=spoiled(draw, hello(), 0.8), early=True)


def draw_visit_by_proxy(draw: Random, station: str) -> Visit:
    """Draw a visit to a gateway behind a proxy that may have gone mad."""
    visit = draw_visit(draw, station)
    told = PROXIED if draw.random() < 0.5 else draw.choice(_OTHER_PROXIES)
    return evolve(visit, head=spoiled(draw, told, 0.3) + visit.head)


_SIGNED: Final = PROXIED[:12]
_OTHER_PROXIES: Final = (
    b"",
    _SIGNED + b"\x20\0\0\0",  # the proxy speaks for itself
    _SIGNED + b"\x21\x21\0\x24" + bytes(36),  # IPv6
    _SIGNED + b"\x21\x31\0\xd8" + bytes(216),  # a UNIX socket
    _SIGNED + b"\x21\0\0\x05hello",  # unspecified, with something behind
    _SIGNED + b"\x21\x11\0\x13" + bytes(12) + b"\x04\0\x04noop",
    _SIGNED + b"\x21\x11\0\x02\0\0",
    _SIGNED + b"\x21\x11\xff\xff" + bytes(3000),
    _SIGNED + b"\x31\xf9\0\0",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 9000\r\n",
)
"""What proxies send, or might."""


@cache
def hello() -> bytes:
    """Return how a client begins TLS."""
    said = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


_TARGETS: Final = (
    "/ocpp/{}",
    "//ocpp//{}//",
    "/ocpp/{}?a=b#c",
    "ws://host/ocpp/{}",
    "/ocpp/%",
    "/ocpp/%2F%00{}",
    "/ocpp/%C3%BC%ff",
    "/ocpp/",
    "/",
    "*",
    "/ocpp/" + "x" * 300,
    "/ocpp/\N{SNOWMAN}",
)
_GOOD: Final = {
    "Host": ("localhost", "localhost:9000", "[::1]:1", "", "a" * 300, "\xff", "."),
    "Upgrade": ("websocket", "WebSocket", "websocket, h2c", "h2c", ""),
    "Connection": ("Upgrade", "keep-alive, Upgrade", "close", "", ",,,"),
    "Sec-WebSocket-Key": ("dGhlIHNhbXBsZSBub25jZQ==", "", "x", "dGhlIHNhbXBsZSBub25jZQ=" * 9, "\xe9"),
    "Sec-WebSocket-Version": ("13", "8", "13, 8", "", "0x13"),
    "Sec-WebSocket-Protocol": (
        "ocpp1.6",
        "ocpp2.0.1, ocpp1.6",
        "ocpp9",
        "",
        ",,",
        "\xfc",
        "a" * 200,
        "ocpp1.6,ocpp1.6",
    ),
}
"""Header fields that a station's request has, each with a good value first."""
_OTHERS: Final = (
    "Authorization: Basic Q1AtMTpzZWNyZXQ=",
    "Authorization: Basic ====",
    "Authorization: Bearer x",
    "Authorization: Basic " + "A" * 3000,
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_no_context_takeover",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8, permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99",
    'Sec-WebSocket-Extensions: a; b="c\\"',
    "Content-Length: 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Origin: https://elsewhere.example",
    "Cookie: " + "c" * 2000,
    "X: " + "x" * 9000,
    " folded",
    "no colon",
    ": no name",
    "bad name: x",
    "Nul: \0",
)


_FOREIGN: Final = (b"", b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\0\r\nQUIT\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def _head(draw: Random, station: str) -> bytes:
    if draw.random() < 0.05:
        return draw.choice(
            (b"", b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\0\r\nQUIT\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        )
    good = draw.random() < 0.6

    def one(values: Sequence[str]) -> str:
        return values[0] if good or draw.random() < 0.85 else draw.choice(values)

    method, version = one(("GET", "POST", "get", "G\0T", "")), one(("HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "SPDY", ""))
    lines = [f"{name}: {one(values)}" for name, values in _GOOD.items()]
    if not good and draw.random() < 0.2:
        lines.pop(draw.randrange(len(lines)))
    for _ in range(draw.choice((0, 0, 0, 1, 3))):
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(_OTHERS))
    end = one(("\r\n", "\n", "\r"))
    target = (draw.choice(_TARGETS) if draw.random() < 0.15 else _TARGETS[0]).format(station)
    return end.join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1", errors="replace")


_CALL: Final = b'[2,"1","Heartbeat",{}]'
_PAYLOADS: Final = (
    b"",
    _CALL,
    "Ütz - 😀".encode(),
    b"\xff\xfe",
    b"\xf0\x9f",
    b"\x03\xe8",
    b"\x03\xe8bye",
    b"\x03",
    b"\x03\xee",
    b"\x0f\xa1\xff",
    b"x" * 125,
    b"x" * 126,
    b"x" * MESSAGE,
    b"x" * (MESSAGE + 1),
)


def _frame(draw: Random) -> bytes:
    """Draw a frame; more often than not it is in order."""
    opcode = draw.choice((1, 1, 1, 2, 8, 9, 10, 0)) if draw.random() < 0.9 else draw.randrange(16)
    fin = draw.random() < 0.8
    rsv = draw.choice((0, 0, 0, 0, 0, 4, 4, draw.randrange(8)))
    payload = draw.choice(_PAYLOADS) if draw.random() < 0.8 else draw.randbytes(draw.randrange(40))
    if rsv & 4 and draw.random() < 0.7:
        payload = _deflated(payload * draw.choice((1, 1, 1, 1000)), draw)
    size = len(payload) if draw.random() < 0.95 else draw.choice((0, 1, 125, 126, 65536, 2**31, 2**63, 2**64 - 1))
    masked = draw.random() < 0.97
    long = 126 if size < 65536 else 127
    if size < 126 and draw.random() < 0.97:
        length, more = size, b""
    else:
        length, more = long, struct.pack("!H" if long == 126 else "!Q", size)
    key = draw.randbytes(4) if masked else b""
    body = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload)) if masked else payload
    return bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | length]) + more + key + body


def _deflated(data: bytes, draw: Random) -> bytes:
    """Compress as RFC 7692 wants it, or nearly."""
    packer = zlib.compressobj(wbits=-draw.choice((9, 12, 15)))
    packed = packer.compress(data) + packer.flush(draw.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FINISH)))
    return packed.removesuffix(b"\0\0\xff\xff") if draw.random() < 0.8 else packed


_TOKENS: Final = (b"\0", b"\xff", b"\r\n", b"\n", b"\r\n\r\n", b":", b"%", b",", b" ", b"\x80", b"\x88\x80key!")


def spoiled(draw: Random, data: bytes, chance: float) -> bytes:
    """Change bytes in some places, or, but for a *chance*, in none."""
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 5) if draw.random() < chance else 0):
        at = draw.randrange(len(changed) + 1)
        upto = at + draw.choice(_SLICES)
        draw.choice(_CHANGES)(draw, changed, at, upto)
    return bytes(changed)


def _set(draw: Random, data: bytearray, at: int, upto: int) -> None:
    data[at : at + 1] = bytes([draw.randrange(256)])


def _insert(draw: Random, data: bytearray, at: int, upto: int) -> None:
    data[at:at] = draw.choice(_TOKENS)


def _noise(draw: Random, data: bytearray, at: int, upto: int) -> None:
    data[at:at] = draw.randbytes(upto - at)


def _lose(draw: Random, data: bytearray, at: int, upto: int) -> None:
    del data[at:upto]


def _repeat(draw: Random, data: bytearray, at: int, upto: int) -> None:
    data[at:at] = data[at:upto]


def _cut(draw: Random, data: bytearray, at: int, upto: int) -> None:
    del data[at:]


_CHANGES: Final[Sequence[Callable[[Random, bytearray, int, int], None]]] = (_set, _insert, _noise, _lose, _repeat, _cut)


# --- what is done, and what must hold ---------------------------------------------------------------------------------


async def pay(front: Front, visit: Visit) -> bytes:
    """Do what a visit says, and return all that was answered."""
    answer = bytearray()
    tcp = await dial_tcp(front.url)
    stream: trio.abc.HalfCloseableStream | trio.SSLStream[trio.SocketStream] = tcp
    if visit.secure:
        assert front.tls is not None
        stream = trio.SSLStream(tcp, front.tls, server_hostname="127.0.0.1", https_compatible=True)

    async def listen() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in stream:
                answer.extend(data)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with suppress(trio.BrokenResourceError):
                await _say(stream, visit, answer)
                await _leave(stream, tcp, visit.leave)
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(tcp)
    return bytes(answer)


async def _say(stream: trio.abc.SendStream, visit: Visit, answer: bytearray) -> None:
    said = visit.head
    if visit.early:
        said += visit.after
    at = 0
    for size in visit.pieces:
        await stream.send_all(said[at : at + size])
        await trio.lowlevel.checkpoint()
        at += size
    await stream.send_all(said[at:])
    if not visit.early:
        with trio.move_on_after(HANDSHAKE + 1):
            await until(lambda: b"\r\n\r\n" in answer, pause=_PAUSE)
        await stream.send_all(visit.after)


async def _leave(stream: trio.abc.SendStream, tcp: trio.SocketStream, leave: Leave) -> None:
    if leave == "reset":
        tcp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif leave != "end":
        if leave == "close":
            await stream.send_all(b"\x88\x82\0\0\0\0\x03\xe8")
        elif leave == "half":
            await tcp.send_eof()
        await trio.sleep(_STAYS)


async def endure(front: Front, visits: Sequence[Visit], meddler: Random) -> int:
    """Let peers come, all at once, while the gateway does things of its own, as *meddler* draws them. Then see that it
    lives, holds nothing of theirs, and tells one story of each that was let in. Return how many were."""
    before, known = held(), len(front.connections())
    answers: list[bytes] = []

    async def come(visit: Visit) -> None:
        answers.append(await pay(front, visit))

    async with trio.open_nursery() as meddling:
        meddling.start_soon(_meddle, front, meddler, meddling)
        async with trio.open_nursery() as nursery:
            for visit in visits:
                nursery.start_soon(come, visit)
        meddling.cancel_scope.cancel()
    await serves_well(front)
    await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), pause=_PAUSE)
    let_in = sum(map(was_let_in, answers))
    stories = front.connections()
    assert all(story == ["connection.opened", "connection.closed"] for story in stories.values())
    assert len(stories) - known - 1 >= let_in, "a 101 that the log does not know of"
    return let_in


async def _meddle(front: Front, meddler: Random, nursery: trio.Nursery) -> None:
    """Drop stations, and send to them, from time to time."""

    async def send(connection: Connection, text: str) -> None:
        with suppress(trio.BrokenResourceError):
            await connection.send(text)

    while True:
        await trio.sleep(meddler.choice((0.01, 0.1, 0.5)))
        for station, connection in list(front.engine.connections.items()):
            act = meddler.randrange(8)
            if act == 0:
                front.engine.drop(station)
            elif act < 4:
                nursery.start_soon(send, connection, meddler.choice(("", "{}", "x" * 5000, "x" * 100_000)))


def was_let_in(answer: bytes) -> bool:
    """Return whether an answer lets a station in, having seen that it is well-formed as far as it goes."""
    if not answer:
        return False
    head, found, rest = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    status, *fields = head.decode("ascii").lower().split("\r\n")
    assert status.startswith("http/1.1 "), answer
    if status.split()[1] != "101":
        assert not rest, answer
        return False
    received, deflates = bytearray(rest), any(field.startswith("sec-websocket-extensions:") for field in fields)
    while (taken := take_frame(received, deflates=deflates)) is not None:
        assert taken.opcode in {1, 8, 9, 10}, taken
        assert taken.opcode != 8 or not received, "something follows a Close"
    return any(field.startswith("sec-websocket-protocol:") for field in fields)

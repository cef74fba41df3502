"""What RFC 6455 asks of a server, case by case: what a client says, what it hears, and what the log then holds.

The groups are those of the Autobahn test suite (`make autobahn`), which needs a CPython 2.7; these need nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen
from fronted import Frame, close, more, text
from raw_station import frame

from stationkeeper.engine.events import Cause, Side

LIMIT = 128 * 1024
"""The longest message of these cases that is allowed, in bytes."""


@frozen
class End:
    """How a connection ends: for the peer, and in the log."""

    told: int | None
    """The code of the Close that the peer gets; None: one without a code."""
    side: Side
    cause: Cause
    code: int | None
    """The code in the log."""


def failed(code: int, cause: Cause = "protocol_error") -> End:
    """An end that the gateway makes because of what the peer sent."""
    return End(code, "gateway", cause, code)


def left(code: int | None) -> End:
    """An end that the station makes in order: its Close is answered with its code."""
    return End(code, "station", "station_closed", code)


Turn: TypeAlias = bytes | Frame
"""What the peer says, or what it awaits."""


@frozen
class Case:
    """A conversation: bytes are sent, frames are awaited in between, and then comes the end."""

    name: str
    turns: Sequence[Turn]
    end: End | None = None
    """None: nothing is wrong, and the connection stands; then the peer leaves with 1000."""
    or_else: End | None = None
    """Another end that is as good, where two rules are broken at once."""
    chops: Sequence[int] = field(default=(0, 1))
    """Sizes of the pieces in which all is sent; 0: as it is."""
    deflates: bool = False
    """Whether the peer offers compression, and it is agreed on."""


def says(*texts: str | bytes) -> tuple[Frame, ...]:
    """Echoes."""
    return tuple(Frame(1, one.encode() if isinstance(one, str) else one) for one in texts)


def pong(payload: bytes = b"") -> Frame:
    return Frame(10, payload)


def ping(payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    return frame(payload, opcode=9, fin=fin, rsv=rsv)


def framing() -> Iterator[Case]:
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536, LIMIT):
        chops = (0, 1) if size < 1000 else (0, 997)
        yield Case(f"a text of {size} bytes", [text("*" * size), *says("*" * size)], chops=chops)
    for size in (0, 126, 65536):
        # A few chargers send their JSON in binary frames.
        binary = frame(b"{}" * (size // 2), opcode=2)
        yield Case(
            f"a binary message of {size} bytes that is text", [binary, *says("{}" * (size // 2))], chops=(0, 997)
        )
    for size in (1, 125, 126, 65536):
        binary = frame(b"\xfe" * size, opcode=2)
        yield Case(f"a binary message of {size} bytes that is no text", [binary], failed(1003), chops=(0, 997))
    yield Case("many texts at once", [b"".join(text(str(n)) for n in range(50)), *says(*map(str, range(50)))])
    unmasked: list[Turn] = [text("before"), *says("before"), frame(b"hello", masked=False)]
    yield Case("a frame without a mask (5.1)", unmasked, failed(1002))
    yield Case("a mask of zeros", [b"\x81\x82\0\0\0\0ok", *says("ok")])


def lengths() -> Iterator[Case]:
    too_big = failed(1009, "message_too_big")
    yield Case("one byte too many", [text("*" * (LIMIT + 1))], too_big, chops=(0, 997))
    yield Case(
        "too many bytes, known from the header alone", [b"\x81\xff" + (LIMIT + 1).to_bytes(8, "big") + b"mask"], too_big
    )
    half = "*" * (LIMIT // 2)
    parts = text(half, fin=False) + more(half, fin=False) + more("*")
    yield Case("too many bytes in all its fragments", [parts], too_big, chops=(0, 997))
    between: list[Turn] = [text(half, fin=False), ping(b"*" * 125), pong(b"*" * 125), more(half), *says(half * 2)]
    yield Case("what a control frame bears does not count", between, chops=(0,))
    first_bit = [b"\x81\xff" + b"\xff" * 8 + b"mask"]
    yield Case("a length whose first bit is set (5.2)", first_bit, failed(1002), or_else=too_big)


def pings() -> Iterator[Case]:
    for payload in (b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125):
        yield Case(f"a ping of {len(payload)} bytes", [ping(payload), pong(payload)])
    yield Case("a ping of 126 bytes (5.5)", [ping(b"\xfe" * 126)], failed(1002))
    yield Case(
        "ten pings at once", [b"".join(ping(b"%d" % n) for n in range(10)), *(pong(b"%d" % n) for n in range(10))]
    )
    yield Case("a pong that nobody asked for", [frame(b"unasked", opcode=10), ping(b"!"), pong(b"!")])
    yield Case("a pong of 126 bytes (5.5)", [frame(b"\xfe" * 126, opcode=10)], failed(1002))


def reserved() -> Iterator[Case]:
    for rsv in range(1, 8):
        before: list[Turn] = [text("before"), *says("before")]
        yield Case(f"reserved bits {rsv:03b} on a text (5.2)", [*before, frame(b"x", rsv=rsv)], failed(1002))
        yield Case(f"reserved bits {rsv:03b} on a ping", [ping(b"x", rsv=rsv)], failed(1002))
        yield Case(f"reserved bits {rsv:03b} on a Close", [frame(b"\x03\xe8", opcode=8, rsv=rsv)], failed(1002))
        later = [text("a", fin=False) + frame(b"b", opcode=0, rsv=rsv)]
        yield Case(f"reserved bits {rsv:03b} on a continuation", later, failed(1002))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved"):
            turns: list[Turn] = [text("before"), *says("before"), frame(payload, opcode=opcode)]
            yield Case(f"opcode {opcode} with {len(payload)} bytes (5.2)", turns, failed(1002))


def fragments() -> Iterator[Case]:
    bad = failed(1002)
    yield Case("a ping in fragments (5.5)", [ping(b"a", fin=False) + more("b")], bad)
    yield Case("a pong in fragments", [frame(b"a", opcode=10, fin=False) + more("b")], bad)
    yield Case("a Close in fragments", [frame(b"\x03", opcode=8, fin=False) + more(b"\xe8")], bad)
    yield Case("two fragments", [text("a", fin=False) + more("b"), *says("ab")])
    yield Case("fragments without content", [text("", fin=False) + more("", fin=False) + more(""), *says("")])
    many = text("a", fin=False) + more("b", fin=False) * 500 + more("c")
    yield Case("many fragments", [many, *says("a" + "b" * 500 + "c")])
    interleaved: list[Turn] = [
        text("a", fin=False),
        ping(b"1"),
        pong(b"1"),
        more("b", fin=False),
        ping(b"2"),
        pong(b"2"),
        more("c"),
    ]
    yield Case("pings between fragments are answered at once", [*interleaved, *says("abc")])
    quiet = text("a", fin=False) + frame(b"", opcode=10) + more("b")
    yield Case("a pong between fragments", [quiet, *says("ab")])
    for fin in (True, False):
        yield Case(f"a continuation of nothing, fin={fin} (5.4)", [more("b", fin=fin)], bad)
        after: list[Turn] = [text("a", fin=False) + more("b"), *says("ab"), more("c", fin=fin)]
        yield Case(f"a continuation of what was whole, fin={fin}", after, bad)
        yield Case(f"a text within a text, fin={fin}", [text("a", fin=False) + text("b", fin=fin)], bad)
    yield Case("a binary message within a text", [text("a", fin=False) + frame(b"b", opcode=2)], bad)
    yield Case("a Close between fragments", [text("a", fin=False) + close(1000)], left(1000))


GOOD = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\x00 \x7f \x80 \u07ff \u0800 \ud7ff \ue000 \ufffd \ufffe \uffff \U00010000 \U0010ffff",
    "\U0001fffe \U0010fffe \ufdd0",
)
BAD = (
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
)
CUT = (b"\xce", b"\xce\xba\xe1", b"\xce\xba\xe1\xbd", b"\xf0\x9f\x98")
"""What ends in the middle of a character."""


def utf8() -> Iterator[Case]:
    bad = failed(1007)
    for good in GOOD:
        data = good.encode()
        yield Case(f"UTF-8: {good!a}", [text(good), *says(good)])
        split = text(data[:1], fin=False) + b"".join(more(data[at : at + 1], fin=False) for at in range(1, len(data)))
        yield Case(f"UTF-8, a byte a fragment: {good!a}", [split + more(""), *says(good)], chops=(0,))
    for wrong in BAD:
        yield Case(f"no UTF-8: {wrong.hex()} (8.1)", [text(b"good" + wrong)], bad)
        yield Case(
            f"no UTF-8, in a fragment that is not the last: {wrong.hex()}", [text(wrong + b"\x80", fin=False)], bad
        )
        late = text(b"good", fin=False) + more(wrong[:1], fin=False) + more(wrong[1:] + b"\x80", fin=False)
        yield Case(f"no UTF-8, over two fragments, and no end in sight: {wrong.hex()}", [late], bad)
    for cut in CUT:
        yield Case(f"a text that ends within a character: {cut.hex()}", [text(cut)], bad)
        yield Case(
            f"a last fragment that ends within a character: {cut.hex()}", [text("a", fin=False) + more(cut)], bad
        )


def closes() -> Iterator[Case]:
    yield Case("a Close without a code", [close(None)], left(None))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"a Close with {code}", [close(code)], left(code))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"a Close with {code}, which is none (7.4)", [close(code)], failed(1002))
    yield Case("a Close of one byte (5.5.1)", [frame(b"\x03", opcode=8)], failed(1002))
    yield Case("a Close with a reason", [close(1000, b"bye")], left(1000))
    yield Case("a Close of 125 bytes", [close(1000, b"*" * 123)], left(1000))
    yield Case("a Close of 126 bytes", [close(1000, b"*" * 124)], failed(1002))
    yield Case("a Close whose reason is no UTF-8", [close(1000, BAD[-1])], failed(1007))
    for name, data in (
        ("a text", text("late")),
        ("a ping", ping(b"late")),
        ("a Close", close(1001)),
        ("noise", b"\xff" * 9),
    ):
        yield Case(f"{name} after a Close (5.5.1)", [close(1000) + data], left(1000), chops=(0,))
    yield Case("a text, then a Close", [text("first"), *says("first"), close(1000)], left(1000))
    yield Case("a text after a fault", [more("x") + text("late")], failed(1002), chops=(0,))
    yield Case("a ping after a fault", [frame(b"", opcode=3) + ping(b"late")], failed(1002), chops=(0,))


def deflated(data: str | bytes, *, window: int = 12) -> bytes:
    """Compress a message's data (RFC 7692, 7.2.1)."""
    packer = zlib.compressobj(wbits=-window)
    packed = packer.compress(data.encode() if isinstance(data, str) else data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(b"\0\0\xff\xff")


RSV1, RSV2, RSV3 = 4, 2, 1
HELLO = bytes.fromhex("f248cdc9c90700")
"""What RFC 7692, 7.2.3.1, has as "Hello"."""


def compression() -> Iterator[Case]:
    def packed(payload: bytes, *, opcode: int = 1, fin: bool = True, rsv: int = RSV1) -> bytes:
        return frame(payload, opcode=opcode, fin=fin, rsv=rsv)

    def case(name: str, turns: Sequence[Turn], end: End | None = None, **more: Any) -> Case:
        return Case(f"compressed: {name}", turns, end, deflates=True, **more)

    yield case("the example of RFC 7692 (7.2.3.1)", [packed(HELLO), *says("Hello")])
    parts = packed(HELLO[:3], fin=False) + more(HELLO[3:])
    yield case("the same in two fragments", [parts, *says("Hello")])
    bytewise = packed(HELLO[:1], fin=False) + b"".join(more(HELLO[at : at + 1], fin=False) for at in range(1, 7))
    yield case("the same, a byte a fragment", [bytewise + more(""), *says("Hello")])
    between: list[Turn] = [packed(HELLO[:3], fin=False), ping(b"!"), pong(b"!"), more(HELLO[3:]), *says("Hello")]
    yield case("a ping between its fragments", between)
    yield case("without compression in it (7.2.3.3)", [packed(b"\x00\x05\x00\xfa\xffHello\x00"), *says("Hello")])
    final = packed(bytes.fromhex("f348cdc9c9070000"))
    yield case("with a final block (7.2.3.4)", [final, *says("Hello")])
    yield case("two blocks (7.2.3.5)", [packed(bytes.fromhex("f24805000000ffffcac9c90700")), *says("Hello")])
    yield case("an empty message (7.2.3.6)", [packed(b"\x00"), *says("")])
    yield case("one message after the other", [packed(HELLO) + packed(deflated("{}")), *says("Hello", "{}")])
    yield case("a message that is not", [text("plain"), *says("plain"), packed(HELLO), *says("Hello")])
    yield case("what is text in a binary message", [packed(deflated("{}"), opcode=2), *says("{}")])
    yield case("what is no text in a binary message", [packed(deflated(b"\xfe\xff"), opcode=2)], failed(1003))
    for window in (9, 12):
        long = "".join(map(str, range(10_000)))
        yield case(f"a window of {window} bits", [packed(deflated(long, window=window)), *says(long)], chops=(0, 997))
    yield case("the longest that is allowed", [packed(deflated("*" * LIMIT)), *says("*" * LIMIT)], chops=(0,))
    yield case("one byte too many", [packed(deflated("*" * (LIMIT + 1)))], failed(1009, "message_too_big"))
    bomb = deflated(b"\0" * 5_000_000)
    yield case("a bomb", [packed(bomb)], failed(1009, "message_too_big"), chops=(0, 997))
    fragments = packed(bomb[:100], fin=False) + b"".join(
        more(bomb[at : at + 100], fin=False) for at in range(100, 4000, 100)
    )
    yield case("a bomb in fragments", [fragments], failed(1009, "message_too_big"), chops=(0,))
    yield case("no UTF-8", [packed(deflated(BAD[-1]))], failed(1007))
    yield case("no UTF-8, and no end in sight", [packed(deflated(BAD[-1]), fin=False) + more(b"")], failed(1007))
    corrupt, either = failed(1002), failed(1007)
    yield case("what is no compressed data", [packed(b"\xff" * 20)], corrupt, or_else=either)
    yield case(
        "a reserved bit on its continuation (6.1)", [packed(HELLO[:3], fin=False) + packed(b"", opcode=0)], corrupt
    )
    yield case("a reserved bit on a ping (6.1)", [packed(b"", opcode=9)], corrupt)
    yield case("a reserved bit on a Close", [packed(b"\x03\xe8", opcode=8)], corrupt)
    for rsv in (RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3):
        yield case(f"reserved bits {rsv:03b}", [packed(HELLO, rsv=rsv)], corrupt)


def cases() -> dict[str, Case]:
    """Return all of them, by name."""
    groups = (framing, lengths, pings, reserved, fragments, utf8, closes, compression)
    every = [case for group in groups for case in group()]
    named = {case.name: case for case in every}
    assert len(named) == len(every)
    return named


def chopped(data: bytes, size: int) -> Iterator[bytes]:
    """Yield bytes in pieces of a size; of 0: as they are."""
    step = size or max(1, len(data))
    for at in range(0, len(data), step):
        yield data[at : at + step]


def code_of(frame: Frame) -> int | None:
    """Return the code of a Close frame."""
    assert frame.opcode == 8
    return None if not frame.payload else int(struct.unpack("!H", frame.payload[:2])[0])

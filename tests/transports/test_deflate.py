"""permessage-deflate without sockets: what is agreed on, what is inflated, and what a bomb costs (RFC 7692)."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from os import urandom

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from raw_station import frame
from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, Ping

from stationkeeper.transports.handshake.deflate import Inflation, agree
from stationkeeper.transports.websocket.inflation import Inflater

LIMIT = 65_536
NEITHER_KEEPS = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def deflated(data: bytes, *, level: int = 6, wbits: int = -15) -> bytes:
    """Compress a message as RFC 7692, 7.2.1, says."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, wbits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def bomb(size: int) -> bytes:
    """Return so many zeros, compressed a thousandfold, without ever holding them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = b"\0" * (1 << 20)
    return b"".join(compressor.compress(piece) for _ in range(size >> 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)


# --- what is agreed on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ("permessage-deflate", NEITHER_KEEPS),
        ("x-foreign, permessage-deflate", NEITHER_KEEPS),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", NEITHER_KEEPS),
        ("permessage-deflate; client_max_window_bits", f"{NEITHER_KEEPS}; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=15", f"{NEITHER_KEEPS}; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=9", f"{NEITHER_KEEPS}; client_max_window_bits=9"),
        ('permessage-deflate; client_max_window_bits="10"', f"{NEITHER_KEEPS}; client_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=10", f"{NEITHER_KEEPS}; server_max_window_bits=10"),
        ("permessage-deflate; unheard_of, permessage-deflate", NEITHER_KEEPS),
        ("permessage-deflate, permessage-deflate; client_max_window_bits", NEITHER_KEEPS),
    ],
)
def test_what_can_be_met_is_accepted_once_and_without_context(offered: str, agreed: str) -> None:
    assert agree(offered) == agreed


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; unheard_of",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate;;",
        "permessage-deflate; =",
        "\xe9",
    ],
)
def test_what_is_malformed_or_cannot_be_met_is_declined(offered: str) -> None:
    assert agree(offered) is None


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["permessage-deflate", ";", ",", " ", "=", '"', "client_max_window_bits", "server_max_window_bits", "10"]
        ),
        max_size=12,
    ).map("".join)
)
def test_no_offer_is_an_error(offered: str) -> None:
    assert agree(offered) is None or offered


@given(
    st.builds(
        ClientPerMessageDeflateFactory,
        server_no_context_takeover=st.booleans(),
        client_no_context_takeover=st.booleans(),
        server_max_window_bits=st.none() | st.integers(9, 15),
        client_max_window_bits=st.none() | st.just(True) | st.integers(9, 15),
    )
)
def test_the_librarys_client_takes_whatever_is_answered_to_it(factory: ClientPerMessageDeflateFactory) -> None:
    offer = "; ".join(
        [
            "permessage-deflate",
            *(name if value is None else f"{name}={value}" for name, value in factory.get_request_params()),
        ]
    )
    answer = agree(offer)
    assert answer is not None
    ((_, agreed),) = parse_extension(answer)
    try:
        extension = factory.process_response_params(agreed, [])
    except NegotiationError as error:
        raise AssertionError(f"{offer} was answered with {answer}") from error

    assert extension.local_no_context_takeover
    assert extension.remote_no_context_takeover


# --- what is inflated -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        "f248cdc9c90700",  # 7.2.3.1, one block
        "000500faff48656c6c6f00",  # 7.2.3.3, no compression
        "f348cdc9c9070000",  # 7.2.3.4, a final block
        "f248050000 00ffffcac9c90700",  # 7.2.3.5, two blocks
    ],
)
def test_the_examples_of_the_rfc(payload: str) -> None:
    compressed = Frame(Opcode.TEXT, bytes.fromhex(payload), True, True)

    assert bytes(Inflation().decode(compressed, max_size=5).data) == b"Hello"


def test_a_final_block_may_end_each_fragment() -> None:
    inflation = Inflation()

    def finished(data: bytes) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        return compressor.compress(data) + compressor.flush()

    parts = [
        Frame(Opcode.TEXT, finished(b"one, "), False, True),
        Frame(Opcode.CONT, finished(b"two, "), False),
        Frame(Opcode.CONT, finished(b"three") + b"\0", True),
    ]

    assert b"".join(bytes(inflation.decode(part, max_size=100).data) for part in parts) == b"one, two, three"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06", bytes.fromhex("03000300030003000300")])
def test_what_is_no_compressed_data_is_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="compressed data is corrupt"):
        Inflation().decode(Frame(Opcode.TEXT, data, True, True), max_size=LIMIT)


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_inflated_or_refused(data: bytes, fin: bool) -> None:
    with suppress(ProtocolError, PayloadTooBig):
        assert len(Inflation().decode(Frame(Opcode.BINARY, data, fin, True), max_size=1000).data) <= 1000


def test_a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    inflater = Inflater(LIMIT)
    passed = inflater.feed(frame(deflated(b"x" * LIMIT), rsv=4))
    stopped = inflater.feed(frame(deflated(b"x" * LIMIT + b"x"), rsv=4))

    assert (passed.count(b"x"), stopped) == (LIMIT, b"")
    assert inflater.fault is not None
    assert (inflater.fault.cause, inflater.fault.code) == ("message_too_big", 1009)


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_bomb_costs_no_more_than_the_message_it_would_be(fragments: int) -> None:
    data = bomb(1 << 30)
    assert len(data) < 1.1 * (1 << 20)
    size = len(data) // fragments + 1
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    frames = [
        Frame(Opcode.CONT if place else Opcode.TEXT, part, part is parts[-1], not place)
        for place, part in enumerate(parts)
    ]
    inflation = Inflation()
    tracemalloc.start()
    try:
        for part in frames[:-1]:
            with suppress(PayloadTooBig):
                inflation.decode(part, max_size=LIMIT)
        with pytest.raises(PayloadTooBig):
            inflation.decode(frames[-1], max_size=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < len(data) * 3 + 4 * LIMIT


# --- any conversation -------------------------------------------------------------------------------------------------


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes], int]:
    """Return a client's bytes, the messages in them, and how many pings: compressed or not, whole or in fragments."""
    data, messages, pings = b"", list[bytes](), 0
    for _ in range(draw(st.integers(1, 4))):
        message = draw(st.binary(max_size=200)) * draw(st.sampled_from([1, 1, 400]))
        compressed = draw(st.booleans())
        payload = message
        if compressed:
            payload = deflated(message, level=draw(st.integers(0, 9)), wbits=-draw(st.integers(9, 15)))
        cuts = sorted(cut % (len(payload) + 1) for cut in draw(st.lists(st.integers(0, 100_000), max_size=3)))
        for place, (begin, end) in enumerate(pairwise([0, *cuts, len(payload)])):
            if draw(st.booleans()):
                data += frame(b"ping", opcode=9)
                pings += 1
            rsv = 4 if compressed and not place else 0
            data += frame(payload[begin:end], opcode=0 if place else 2, fin=place == len(cuts), rsv=rsv)
        messages.append(message)
    return data, messages, pings


@given(conversations(), st.lists(st.integers(0, 200_000), max_size=8))
@example((frame(b"", rsv=4, opcode=2), [b""], 0), [])
def test_however_messages_are_compressed_fragmented_and_cut_they_arrive_as_sent(
    conversation: tuple[bytes, list[bytes], int], cuts: Sequence[int]
) -> None:
    data, messages, pings = conversation
    inflater, library = Inflater(2 * LIMIT), Connection(ConnectionType.SERVER)
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    arrived, part, heard = list[bytes](), b"", 0
    for begin, end in pairwise(places):
        if plain := inflater.feed(data[begin:end]):
            library.receive_data(plain)
        for event in library.events():
            if isinstance(event, BytesMessage):
                part += bytes(event.data)
                if event.message_finished:
                    arrived.append(part)
                    part = b""
            heard += isinstance(event, Ping)

    assert inflater.fault is None
    assert (arrived, heard) == (messages, pings)


@pytest.mark.parametrize(
    "data",
    [
        frame(b"x", opcode=9, rsv=4),
        frame(b"x", rsv=2),
        frame(deflated(b"x"), rsv=6),
        frame(deflated(b"xx")[:1], fin=False, rsv=4) + frame(deflated(b"xx")[1:], opcode=0, rsv=4),
        frame(b"x", fin=False) + frame(b"x", opcode=0, rsv=4),
        frame(b"x", masked=False),
        frame(b"x", opcode=3),
    ],
)
def test_marks_that_mean_nothing_are_errors_and_what_came_before_is_handed_on(data: bytes) -> None:
    inflater = Inflater(LIMIT)
    plain = inflater.feed(frame(deflated(b"before"), rsv=4) + data)

    assert b"before" in plain
    assert inflater.fault is not None
    assert (inflater.fault.cause, inflater.fault.code) == ("protocol_error", 1002)


def test_fragments_count_together_inflated() -> None:
    data, more = deflated(b"x" * (LIMIT - 10)), deflated(b"y" * 20)
    whole, rest = data + b"\x00\x00\xff\xff", more
    inflater = Inflater(LIMIT)
    inflater.feed(frame(whole, fin=False, rsv=4) + frame(rest, opcode=0))

    assert inflater.fault is not None
    assert inflater.fault.cause == "message_too_big"


def test_a_ping_has_room_beside_a_message_of_the_limit() -> None:
    inflater = Inflater(LIMIT)
    inflater.feed(frame(b"x" * LIMIT, fin=False) + frame(b"p" * 125, opcode=9) + frame(b"", opcode=0))

    assert inflater.fault is None


def test_between_messages_nothing_is_kept() -> None:
    inflater = Inflater(LIMIT)
    data = frame(deflated(urandom(30_000).hex().encode()), rsv=4)
    inflater.feed(data)
    tracemalloc.start()
    try:
        for _ in range(5):
            inflater.feed(data)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < 1000

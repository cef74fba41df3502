"""Frames: what we write, and the meter that follows what comes in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_station import frame
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Message, Ping

from stationkeeper.transports.frames import PING, Meter, close_frame, is_close

LIMIT = 65_536

messages = st.lists(st.integers(0, 400).map(lambda size: b"m" * size), min_size=1, max_size=3)
"""A message as the payloads of its frames."""
controls = st.sampled_from([frame(b"", opcode=9), frame(b"here", opcode=10)])


def in_pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """Return a client's bytes, and how many frames and messages they hold. Control frames come between fragments."""
    data, frames, count = b"", 0, 0
    for payloads in draw(st.lists(messages, max_size=5)):
        for place, payload in enumerate(payloads):
            if draw(st.booleans()):
                data += draw(controls)
                frames += 1
            last = place == len(payloads) - 1
            data += frame(payload, opcode=0 if place else 1, fin=last)
            frames += 1
        count += 1
    return data, frames, count


@given(conversations(), st.lists(st.integers(0, 10_000), max_size=12))
def test_however_bytes_are_cut_the_same_frames_and_messages_are_counted(
    conversation: tuple[bytes, int, int], cuts: list[int]
) -> None:
    data, frames, count = conversation
    meter = Meter()

    assert all(meter.feed(piece, LIMIT) for piece in in_pieces(data, cuts))
    assert (meter.frames, meter.messages) == (frames, count)
    assert not meter.in_frame
    assert not meter.in_message


@given(conversations(), st.integers(1, 10_000))
def test_the_meter_agrees_with_the_library_wherever_the_stream_stops(
    conversation: tuple[bytes, int, int], cut: int
) -> None:
    data = conversation[0][:cut]
    meter, library = Meter(), Connection(ConnectionType.SERVER)
    meter.feed(data, LIMIT)
    library.receive_data(data)
    finished = [event for event in library.events() if isinstance(event, Message) and event.message_finished]

    assert meter.messages == len(finished)


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_message_is_refused_by_the_header_that_declares_it_too_long(cut: int) -> None:
    header = frame(b"x" * (LIMIT + 1))[:14]
    meter = Meter()

    assert meter.feed(header[:cut], LIMIT) is True
    assert meter.in_frame
    assert meter.feed(header[cut:], LIMIT) is False


def test_a_length_of_2_to_the_62_is_refused() -> None:
    assert Meter().feed(b"\x81\xff" + (2**62).to_bytes(8, "big"), LIMIT) is True
    assert Meter().feed(b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask", LIMIT) is False


def test_fragments_count_together() -> None:
    meter = Meter()

    assert meter.feed(frame(b"x" * 40_000, fin=False), LIMIT) is True
    assert meter.in_message
    assert not meter.in_frame
    assert meter.feed(frame(b"", opcode=9) + frame(b"x" * 25_536, opcode=0, fin=False), LIMIT) is True
    assert meter.feed(frame(b"x", opcode=0), LIMIT) is False


def test_a_message_of_exactly_the_limit_passes() -> None:
    meter = Meter()

    assert meter.feed(frame(b"x" * LIMIT) + frame(b"y" * LIMIT), LIMIT) is True
    assert meter.messages == 2


@given(st.sampled_from([1000, 1001, 1002, 1007, 1008, 1009, 1011]) | st.integers(3000, 4999), st.text(max_size=300))
def test_a_close_frame_is_read_back_as_it_was_meant(code: int, reason: str) -> None:
    data = close_frame(code, reason)
    station = Connection(ConnectionType.CLIENT)
    station.receive_data(data)
    (event,) = station.events()

    assert isinstance(event, CloseConnection)
    assert is_close(data)
    assert event.code == code
    assert reason.startswith(event.reason or "")
    assert len(data) <= 127


def test_a_ping_is_a_ping() -> None:
    station = Connection(ConnectionType.CLIENT)
    station.receive_data(PING)

    assert list(station.events()) == [Ping(payload=b"")]

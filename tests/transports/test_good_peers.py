"""Good stations, in whatever pieces their bytes come: each is heard, answered, and its end is told as what it was."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
import trio
from attrs import field, frozen
from effort import examples
from fronted import TRANSPORTS, Complaints, Frame, Peer, fronted
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_station import frame
from trio.testing import MockClock

from stationkeeper.engine.events import ConnectionClosed

IDLE = 0.002
"""Seconds without anything on any socket, after which virtual time jumps."""
CODES = (1000, 1001, 1008, 1011, 3000, 4999)


@frozen
class Talk:
    """What a good station says, and how it leaves."""

    messages: Sequence[Sequence[str]]
    """Each in its fragments."""
    pings: Sequence[tuple[int, bytes]]
    """Pings, and before which of all the fragments each comes."""
    pieces: Sequence[int]
    """Sizes of the first pieces in which all that is said."""
    waits: bool
    """Whether it hears every answer before it leaves."""
    leaves: tuple[int, str] | None
    """With a Close of this code and reason; None: its socket ends."""
    texts: list[str] = field(init=False)

    @texts.default
    def _texts(self) -> list[str]:
        return ["".join(fragments) for fragments in self.messages]

    def spoken(self) -> bytes:
        frames: list[bytes] = []
        for fragments in self.messages:
            for number, fragment in enumerate(fragments):
                last = number == len(fragments) - 1
                frames.append(frame(fragment.encode(), opcode=0 if number else 1, fin=last))
        end = len(frames)
        for place, payload in reversed(self.pings):
            frames.insert(min(place, end), frame(payload, opcode=9))
        return b"".join(frames)


words = st.text(max_size=20)
talks = st.builds(
    Talk,
    st.lists(st.lists(words, min_size=1, max_size=4), max_size=6),
    st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=20)), max_size=4).map(sorted),
    st.lists(st.integers(1, 30), max_size=12),
    st.booleans(),
    st.none() | st.tuples(st.sampled_from(CODES), words),
)


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(talk=talks, order=st.random_module())
@settings(max_examples=examples(60))
def test_a_good_station_is_heard_and_its_end_is_told_as_what_it_was(transport: str, talk: Talk, order: object) -> None:
    """*order*: also of trio's tasks."""

    async def world() -> tuple[list[Frame], ConnectionClosed]:
        async with fronted(transport, virtual=True) as front:
            peer = await Peer.open(f"{front.url}/CP-1")
            async with peer.stream:
                answers = await converse(peer, talk)
                return answers, await front.closed("CP-1")

    with Complaints() as complaints:
        answers, closed = trio.run(world, clock=MockClock(autojump_threshold=IDLE))

    assert complaints.said == []
    assert closed.received == len(talk.texts)
    texts = [answer.payload.decode() for answer in answers if answer.opcode == 1]
    pongs = [answer.payload for answer in answers if answer.opcode == 10]
    wanted = [payload for _, payload in talk.pings]
    # Once a Close has come nothing needs to be answered (RFC 6455, 5.5.1 and 5.5.2).
    assert texts == talk.texts[: None if talk.waits else len(texts)]
    assert pongs == wanted[: None if talk.waits else len(pongs)]
    if talk.leaves is None:
        assert (closed.side, closed.cause, closed.code) == ("network", "network_lost", None)
        assert all(answer.opcode != 8 for answer in answers)
    else:
        code, reason = talk.leaves
        assert (closed.side, closed.cause, closed.code, closed.reason) == ("station", "station_closed", code, reason)
        assert [answer.opcode for answer in answers].index(8) == len(answers) - 1
        assert answers[-1].payload[:2] == struct.pack("!H", code)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_close_right_behind_messages_is_the_stations_while_they_are_answered(transport: str) -> None:
    # The library has its reason before it has answered the Close; meanwhile sending fails as after an error of its own.
    async with fronted(transport) as front:
        for number in range(20):
            peer = await Peer.open(f"{front.url}/CP-{number}")
            async with peer.stream:
                await peer.send(b"".join(frame(b"{}") for _ in range(4)) + frame(struct.pack("!H", 4001), opcode=8))
                closed = await front.closed(f"CP-{number}")

            assert (closed.side, closed.cause, closed.code) == ("station", "station_closed", 4001)
            assert closed.received == 4


async def converse(peer: Peer, talk: Talk) -> list[Frame]:
    """Say it all, and return all that is answered."""
    said, at = talk.spoken(), 0
    last = b"" if talk.leaves is None else frame(struct.pack("!H", talk.leaves[0]) + talk.leaves[1].encode(), opcode=8)
    if not talk.waits:
        said += last
    for size in talk.pieces:
        await peer.send(said[at : at + size])
        await trio.lowlevel.checkpoint()
        at += size
    await peer.send(said[at:])
    answers: list[Frame] = []
    if talk.waits:
        for _ in range(len(talk.texts) + len(talk.pings)):
            answer = await peer.receive()
            assert answer is not None
            answers.append(answer)
        await peer.send(last)
    if talk.leaves is None:
        await peer.stream.send_eof()
    while (answer := await peer.receive()) is not None:
        answers.append(answer)
    return answers

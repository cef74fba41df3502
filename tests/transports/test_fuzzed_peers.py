"""Peers that say anything at all, to each transport: nobody else notices, and nothing of them is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from random import Random

import pytest
import trio
from effort import examples
from fronted import PATIENCE, TRANSPORTS, Complaints, fronted
from hostility import HANDSHAKE, MESSAGE, SHORT, Visit, draw_visit, endure
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tally import counted
from trio.testing import MockClock

IDLE = 0.002
"""Seconds without anything on any socket, after which virtual time jumps."""
ROUND = 100
"""Groups of peers that come to the same gateway."""


def come(transport: str, groups: Iterable[Sequence[Visit]]) -> int:
    """Let peers come to one gateway, group by group, under virtual time; return how many were let in."""

    async def world() -> int:
        async with fronted(
            transport,
            bounds=SHORT,
            max_message=MESSAGE,
            handshake_timeout=HANDSHAKE,
            virtual=True,
            patience=PATIENCE * ROUND,
        ) as front:
            return sum([await endure(front, visits) for visits in groups])

    with Complaints() as complaints:
        let_in = trio.run(world, clock=MockClock(autojump_threshold=IDLE))
    assert complaints.said == []
    return let_in


def draw_group(draw: Random, name: str = "CP") -> list[Visit]:
    return [draw_visit(draw, f"{name}-{number}") for number in range(draw.randrange(1, 4))]


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(draw=st.randoms(use_true_random=False))
@settings(max_examples=examples(60))
def test_whatever_peers_say_the_gateway_lives(transport: str, draw: Random) -> None:
    visits = draw_group(draw)
    note(str(visits))
    come(transport, [visits])


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(said=st.binary(max_size=200), early=st.booleans())
@settings(max_examples=examples(40))
def test_any_bytes_are_borne_before_and_after_the_101(transport: str, said: bytes, early: bool) -> None:
    good = draw_visit(Random(0), "CP-1").head
    visits = [
        Visit(head=said, after=b"", early=early, pieces=(), leave="end"),
        Visit(head=good, after=said, early=early, pieces=(), leave="end"),
    ]
    come(transport, [visits])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_siege_leaves_nothing_behind(transport: str) -> None:
    """The same peers without Hypothesis, thus more of them: SIEGE says how many groups, SEED where to begin."""
    groups, seed = int(os.environ.get("SIEGE", ROUND)), int(os.environ.get("SEED", "0"))
    for begin in range(seed, seed + groups, ROUND):
        numbers = range(begin, min(begin + ROUND, seed + groups))
        drawn = [draw_group(Random(number), f"CP-{number}") for number in numbers]
        try:
            let_in = come(transport, drawn)
        except BaseException as error:
            error.add_note(f"to repeat it: SEED={begin} SIEGE={len(drawn)}")
            raise
        assert let_in or len(drawn) < ROUND, "none of them got as far as to be a station"
        counted("peers", sum(map(len, drawn)))
        counted("stations", let_in)

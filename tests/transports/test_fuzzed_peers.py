"""Peers that say anything at all, to each transport: nobody else notices, and nothing of them is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from random import Random

import pytest
import trio
from effort import examples
from fronted import PATIENCE, TRANSPORTS, Complaints, fronted
from hostility import HANDSHAKE, MESSAGE, SHORT, Visit, draw_visit, draw_visit_over_tls, endure
from hypothesis import given, note, settings
from hypothesis import strategies as st
from raw_station import request
from tally import counted
from trio.testing import MockClock

IDLE = 0.002
"""Seconds without anything on any socket, after which virtual time jumps."""
ROUND = 100
"""Groups of peers that come to the same gateway."""


def come(transport: str, groups: Iterable[Sequence[Visit]], *, secure: bool = False) -> int:
    """Let peers come to one gateway, group by group, under virtual time; return how many were let in."""

    async def world() -> int:
        async with fronted(
            transport,
            bounds=SHORT,
            max_message=MESSAGE,
            handshake_timeout=HANDSHAKE,
            virtual=True,
            secure=secure,
            patience=PATIENCE * ROUND,
        ) as front:
            return sum([await endure(front, visits) for visits in groups])

    with Complaints() as complaints:
        let_in = trio.run(world, clock=MockClock(autojump_threshold=IDLE))
    assert complaints.said == []
    return let_in


def draw_group(draw: Random, name: str = "CP", *, secure: bool = False) -> list[Visit]:
    one = draw_visit_over_tls if secure else draw_visit
    return [one(draw, f"{name}-{number}") for number in range(draw.randrange(1, 4))]


each_transport = pytest.mark.parametrize("transport", TRANSPORTS)
with_tls_or_without = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


@each_transport
@with_tls_or_without
@given(draw=st.randoms(use_true_random=False))
@settings(max_examples=examples(40))
def test_whatever_peers_say_the_gateway_lives(transport: str, secure: bool, draw: Random) -> None:
    visits = draw_group(draw, secure=secure)
    note(str(visits))
    come(transport, [visits], secure=secure)


@each_transport
@with_tls_or_without
@given(said=st.binary(max_size=200), early=st.booleans())
@settings(max_examples=examples(20))
def test_any_bytes_are_borne_before_and_after_the_101(transport: str, secure: bool, said: bytes, early: bool) -> None:
    visits = [
        Visit(head=said, after=b"", early=early, pieces=(), leave="end"),
        Visit(head=request("/ocpp/CP-1"), after=said, early=early, pieces=(), leave="close", secure=secure),
    ]

    assert come(transport, [visits], secure=secure) == 1


@each_transport
@with_tls_or_without
def test_a_siege_leaves_nothing_behind(transport: str, secure: bool) -> None:
    """The same peers without Hypothesis, thus more of them: SIEGE says how many groups, SEED where to begin."""
    groups, seed = int(os.environ.get("SIEGE", ROUND)), int(os.environ.get("SEED", "0"))
    for begin in range(seed, seed + groups, ROUND):
        numbers = range(begin, min(begin + ROUND, seed + groups))
        drawn = [draw_group(Random(number), f"CP-{number}", secure=secure) for number in numbers]
        try:
            let_in = come(transport, drawn, secure=secure)
        except BaseException as error:
            error.add_note(f"to repeat it: SEED={begin} SIEGE={len(drawn)}")
            raise
        assert let_in or len(drawn) < ROUND, "none of them got as far as to be a station"
        counted("peers", sum(map(len, drawn)))
        counted("stations", let_in)

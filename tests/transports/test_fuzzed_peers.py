"""Peers that say anything at all, to each transport: nobody else notices, and nothing of them is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from random import Random
from typing import get_args

import pytest
import trio
from attrs import frozen
from effort import examples
from fronted import PATIENCE, PROXIED, TRANSPORTS, Complaints, Way, fronted
from hostility import (
    HANDSHAKE,
    MESSAGE,
    SHORT,
    WATCHED,
    Visit,
    draw_visit,
    draw_visit_by_proxy,
    draw_visit_over_tls,
    endure,
)
from hypothesis import given, note, settings
from hypothesis import strategies as st
from raw_station import request
from tally import counted
from trio.testing import MockClock

IDLE = 0.002
"""Seconds without anything on any socket, after which virtual time jumps."""
ROUND = 100
"""Groups of peers that come to the same gateway."""


@frozen
class Group:
    """Peers that come at the same time, and the seed of what the gateway does meanwhile."""

    visits: Sequence[Visit]
    meddler: int


def come(transport: str, groups: Iterable[Group], way: Way) -> int:
    """Let peers come to one gateway, group by group, under virtual time; return how many were let in."""

    async def world() -> int:
        async with fronted(
            transport,
            way=way,
            bounds=SHORT,
            watched=WATCHED,
            max_message=MESSAGE,
            handshake_timeout=HANDSHAKE,
            virtual=True,
            patience=PATIENCE * ROUND,
        ) as front:
            return sum([await endure(front, group.visits, Random(group.meddler)) for group in groups])

    with Complaints() as complaints:
        let_in = trio.run(world, clock=MockClock(autojump_threshold=IDLE))
    assert complaints.said == []
    return let_in


DRAWN = {"plain": draw_visit, "tls": draw_visit_over_tls, "proxied": draw_visit_by_proxy}


def draw_group(draw: Random, name: str, way: Way) -> Group:
    """Draw peers; now and then some of them claim to be the same station."""
    names = [name if draw.random() < 0.1 else f"{name}-{number}" for number in range(draw.randrange(1, 4))]
    return Group([DRAWN[way](draw, name) for name in names], draw.randrange(2**32))


each_transport = pytest.mark.parametrize("transport", TRANSPORTS)
each_way = pytest.mark.parametrize("way", get_args(Way))


@each_transport
@each_way
@given(draw=st.randoms(use_true_random=False))
@settings(max_examples=examples(40))
def test_whatever_peers_say_the_gateway_lives(transport: str, way: Way, draw: Random) -> None:
    group = draw_group(draw, "CP", way)
    note(str(group))
    come(transport, [group], way)


@each_transport
@each_way
@given(said=st.binary(max_size=200), early=st.booleans())
@settings(max_examples=examples(20))
def test_any_bytes_are_borne_before_and_after_the_101(transport: str, way: Way, said: bytes, early: bool) -> None:
    good = request("/ocpp/CP-1")
    visits = [
        Visit(head=said, after=b"", early=early, pieces=(), leave="end"),
        Visit(
            head=PROXIED + good if way == "proxied" else good,
            after=said,
            early=early,
            pieces=(),
            leave="close",
            secure=way == "tls",
        ),
    ]

    assert come(transport, [Group(visits, 0)], way) == 1


@each_transport
@each_way
def test_a_siege_leaves_nothing_behind(transport: str, way: Way) -> None:
    """The same peers without Hypothesis, thus more of them: SIEGE says how many groups, SEED where to begin."""
    groups, seed = int(os.environ.get("SIEGE", ROUND)), int(os.environ.get("SEED", "0"))
    for begin in range(seed, seed + groups, ROUND):
        numbers = range(begin, min(begin + ROUND, seed + groups))
        drawn = [draw_group(Random(number), f"CP-{number}", way) for number in numbers]
        try:
            let_in = come(transport, drawn, way)
        except BaseException as error:
            error.add_note(f"to repeat it: SEED={begin} SIEGE={len(drawn)}")
            raise
        assert let_in or len(drawn) < ROUND, "none of them got as far as to be a station"
        counted("peers", sum(len(group.visits) for group in drawn))
        counted("stations", let_in)

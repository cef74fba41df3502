"""Who was turned away of late: told by id and reason, bounded, and no stranger pushes out a station that is known."""

from __future__ import annotations

from collections import Counter

import pytest
from histories import SECOND, START, record
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import HandshakeRefused, Micros
from stationkeeper.engine.fold import fold
from stationkeeper.projections import refusals
from stationkeeper.projections.refusals import LATE, MOST, Refusals


def refused(
    claimed: str, at: Micros = START, *, reason: str = "unknown_station", hint: str = "", count: int = 1
) -> HandshakeRefused:
    return HandshakeRefused(
        claimed=claimed,
        reason=reason,
        status=404,
        hint=hint,
        count=count,
        first_at=at - SECOND * (count > 1),
        last_at=at,
    )


def log_of(events: list[HandshakeRefused]) -> list[Recorded]:
    return [record(event, position, at=event.last_at) for position, event in enumerate(events, start=1)]


def state_of(*events: HandshakeRefused) -> Refusals:
    return fold(refusals, log_of(list(events)))


def test_an_unregistered_station_that_tries_again_and_again_is_one_row() -> None:
    """steve#33: an unregistered station tries to connect, and nobody is told."""
    state = state_of(
        refused("CP-7", START, hint="did you mean CP-007?"),
        refused("CP-7", START + 60 * SECOND, count=11),
        refused("x"),
    )

    (row,) = state.of("CP-7")
    assert (row.claimed, row.reason, row.status, row.hint, row.count) == (
        "CP-7", "unknown_station", 404, "did you mean CP-007?", 12,
    )  # fmt: skip
    assert (row.first, row.last) == (START, START + 60 * SECOND)
    assert [row.claimed for row in state.rows()] == ["CP-7", "x"]


def test_each_reason_is_a_row_of_its_own_and_the_newest_hint_stands() -> None:
    state = state_of(
        refused("CP-7", START, reason="wrong_credentials", hint="no password"),
        refused("CP-7", START + SECOND, reason="wrong_credentials", hint="not the registered one"),
        refused("CP-7", START + 2 * SECOND, reason="no_subprotocol"),
    )

    assert [(row.reason, row.hint, row.count) for row in state.of("CP-7")] == [
        ("no_subprotocol", "", 1),
        ("wrong_credentials", "not the registered one", 2),
    ]


def test_what_was_long_ago_is_counted_no_more() -> None:
    again = state_of(refused("CP-7", START), refused("CP-7", START + LATE + 1)).of("CP-7")
    other = state_of(refused("CP-7", START), refused("CP-8", START + LATE + 1)).rows()

    assert [row.count for row in again] == [1]
    assert [row.claimed for row in other] == ["CP-8"]
    assert state_of(refused("CP-7", START)).rows(since=START + 1) == []


@pytest.mark.parametrize("reason", ["unknown_station", "too_often", "overloaded"])
def test_a_flood_of_names_pushes_out_no_station_that_is_known(reason: str) -> None:
    flood = [refused(f"x{n}", START + n, reason=reason) for n in range(3 * MOST)]
    state = state_of(refused("CP-7", START, reason="wrong_credentials"), *flood)

    assert len(state) == MOST + 1
    assert [row.reason for row in state.of("CP-7")] == ["wrong_credentials"]
    assert state.of("x0") == []
    assert len(state.of(f"x{3 * MOST - 1}")) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("rst"), st.integers(1, 50)), max_size=60))
def test_every_refusal_is_counted_once(knocks: list[tuple[str, str, int]]) -> None:
    state = state_of(*(refused(claimed, START + n, reason=r, count=c) for n, (claimed, r, c) in enumerate(knocks)))
    expected = Counter[tuple[str, str]]()
    for claimed, reason, count in knocks:
        expected[claimed, reason] += count

    assert {(row.claimed, row.reason): row.count for row in state.rows()} == expected
    assert [row.last for row in state.rows()] == sorted((row.last for row in state.rows()), reverse=True)

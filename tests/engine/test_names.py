"""Ids: those that are computed say whose they are, those that are drawn sort by time."""

from __future__ import annotations

from base64 import b32hexencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine import names

moments = st.integers(0, 2**47 * 1000)


@given(moments)
def test_an_id_is_26_plain_characters(at: int) -> None:
    id = names.new_id(at)

    assert len(id) == 26
    assert set(id) <= set("0123456789abcdefghijklmnopqrstuv")


@given(moments, st.binary(min_size=10, max_size=10))
def test_an_id_is_what_the_library_would_write(at: int, drawn: bytes) -> None:
    written = b32hexencode((at // 1000).to_bytes(6, "big") + drawn)

    assert names.new_id(at, lambda _: drawn) == written.decode().rstrip("=").lower()


@given(moments, moments)
def test_ids_sort_by_millisecond(one: int, other: int) -> None:
    if one // 1000 < other // 1000:
        assert names.new_id(one) < names.new_id(other)


def test_ids_of_one_moment_differ() -> None:
    assert len({names.new_id(5) for _ in range(1000)}) == 1000


@given(run=st.text(), n=st.integers(1, 10**9))
def test_a_connection_says_its_run_and_number(run: str, n: int) -> None:
    connection = names.connection_name(run, n)

    assert names.run_and_number(connection) == (names.run_of(connection), n) == (run, n)


@pytest.mark.parametrize("odd", ["", "run", "run-", "run-x", "run-²", "run--", "-", "run-1.5", "run-٣"])
def test_what_is_no_connection_has_the_number_that_no_admission_bears(odd: str) -> None:
    assert names.run_and_number(odd)[1] == 0


def test_computed_ids_are_written_down_for_ever() -> None:
    assert [
        names.opened_id("r-1"), names.timed_out_id("r-1"), names.closed_id("r-1"), names.lost_id("r"),
        names.lapsed_id("r"), names.settled_id("CP-7", 12),
    ] == ["r-1:opened", "r-1:timed_out", "r-1:closed", "r:lost", "r:lapsed", "CP-7:12:settled"]  # fmt: skip


def test_what_is_random_in_an_id_can_come_from_a_seed() -> None:
    assert names.new_id(5, bytes) == names.new_id(5, bytes) != names.new_id(5)

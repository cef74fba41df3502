"""Durations and addresses: read as people write them, refused with a hint at what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.configuration.units import Address, parse_address, parse_duration, write_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("25s", 25), ("4m", 240), ("2h", 7200), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("1d", 86400), (7, 7)],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "wrong", ["", "25", "s", "-5s", "5 parsecs", "1s2", True, None, [], -1, float("nan"), float("inf")]
)
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(wrong)


@given(st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_written_duration_reads_back(seconds: float) -> None:
    assert parse_duration(write_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["127.0.0.1:9000", "[::1]:0", "localhost:80", "0.0.0.0:65535"])
def test_an_address_reads_back(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "wrong", ["", ":", ":80", "host", "host:", "host:x", "::1:80", "[::1]", "host:65536", "[h]:1", 9]
)
def test_what_is_no_address_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="an address with a port"):
        parse_address(wrong)


def test_an_address_of_version_6_is_bracketed() -> None:
    assert str(Address("::1", 9000)) == "[::1]:9000"

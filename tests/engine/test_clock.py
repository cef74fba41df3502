"""Event times follow a stepless clock, and the wall clock only by an event that says so."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.clock import EventClock, parse_time, rfc3339


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall_offset = 0.0

    def stepless(self) -> float:
        return self.seconds

    def wall(self) -> int:
        return 1_700_000_000_000_000 + round((self.seconds + self.wall_offset) * 1_000_000)


def test_a_step_of_the_wall_clock_is_believed_after_ten_seconds() -> None:
    clock = HandClock()
    times = EventClock(clock)
    before = times.now()
    clock.wall_offset = -3600.0

    assert times.take_step() is None
    assert times.now() == before
    clock.seconds += 9.0
    assert times.take_step() is None
    clock.seconds += 1.0
    assert times.take_step() == pytest.approx(-3600.0)
    assert times.now() == clock.wall()


def test_a_difference_that_goes_away_is_nobodys_business() -> None:
    clock = HandClock()
    times = EventClock(clock)
    for offset in (5.0, 0.5, 5.0):
        clock.wall_offset = offset
        clock.seconds += 9.0

        assert times.take_step() is None


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_is_written_and_read_to_the_microsecond(at: int) -> None:
    assert parse_time(rfc3339(at)) == at


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_a_time_is_written_as_the_library_would(at: int) -> None:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)

    assert rfc3339(at) == moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("at", [-62_135_596_800_000_001, 253_402_300_800_000_000])
def test_a_time_of_no_year_is_not_written(at: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        rfc3339(at)


def test_a_time_with_an_offset_is_understood() -> None:
    assert parse_time("2026-11-22T10:00:00+01:00") == parse_time("2026-11-22T09:00:00Z")


def test_what_is_no_time_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="write it as in RFC 3339"):
        parse_time("yesterday")

"""The liveness machine: an on-time answer is never a timeout, and silence is always found (truths 9 and 10)."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.watch.liveness import Due, Vigil

PINGED = Liveness(ping_interval=25, ping_timeout=20, silence=900)
NEVER_PINGED = Liveness(ping_interval=0, ping_timeout=20, silence=900)


def test_a_silent_station_is_pinged_after_the_interval() -> None:
    vigil = Vigil(PINGED, 100.0)

    assert vigil.expire(124.9) is None
    assert vigil.expire(125.0) is Due.PING


def test_a_talking_station_is_not_pinged() -> None:
    vigil = Vigil(PINGED, 0.0)
    for second in range(1, 1000, 20):
        vigil.heard(float(second))

        assert vigil.expire(second + 20.0) is None


def test_the_deadline_counts_from_when_the_ping_was_written_not_from_when_it_was_due() -> None:
    vigil = Vigil(PINGED, 0.0)
    vigil.pinged(60.0)  # our loop was 35 s late

    assert vigil.deadline() == 80.0
    assert vigil.expire(79.9) is None
    assert vigil.expire(80.0) is Due.LOOK


def test_any_byte_answers_a_ping() -> None:
    vigil = Vigil(PINGED, 0.0)
    vigil.pinged(25.0)
    vigil.heard(25.3)

    assert vigil.rtt == pytest.approx(0.3)
    assert vigil.expire(45.0) is None
    assert vigil.deadline() == 50.3


def test_a_station_that_is_never_pinged_is_looked_at_after_its_silence() -> None:
    vigil = Vigil(NEVER_PINGED, 0.0)

    assert vigil.expire(899.0) is None
    assert vigil.expire(900.0) is Due.LOOK


def test_never_pinged_without_a_bound_is_never_due() -> None:
    assert Vigil(Liveness(ping_interval=0, silence=0), 0.0).deadline() == inf


def test_an_interval_under_a_second_is_an_interval_too() -> None:
    assert Vigil(Liveness(ping_interval=0.5, ping_timeout=20, silence=900), 0.0).expire(0.5) is Due.PING


def test_the_whole_phase_is_a_quarter_of_the_interval_and_spreads_the_first_ping_alone() -> None:
    vigil = Vigil(PINGED, 0.0, early=1.0)
    assert vigil.deadline() == 18.75

    vigil.pinged(18.75)
    vigil.heard(19.0)

    assert vigil.deadline() == 44.0


@given(st.floats(0, 1))
def test_the_phase_brings_the_first_ping_forward_and_never_back(early: float) -> None:
    assert 18.75 <= Vigil(PINGED, 0.0, early=early).deadline() <= 25.0


@given(st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=50), st.floats(0, 1))
def test_silence_is_found_within_interval_and_timeout_and_our_own_lateness(
    steps: list[tuple[float, bool]], early: float
) -> None:
    """However late the loop, whatever was heard: looked at no sooner than the timeout, no later than the bound."""
    now, vigil = 0.0, Vigil(PINGED, 0.0, early=early)
    lateness = 0.0
    for wait, heard in steps:
        lateness += max(0.0, now + wait - max(now, vigil.deadline()))
        now += wait
        match vigil.expire(now):
            case Due.PING:
                vigil.pinged(now)
            case Due.LOOK:
                assert vigil.pinged_at is not None
                assert now >= vigil.pinged_at + PINGED.ping_timeout
                return
            case None:
                pass
        assert now - vigil.alive <= PINGED.ping_interval + PINGED.ping_timeout + lateness + 1e-9  # for rounding
        if heard:
            vigil.heard(now)
            lateness = 0.0

"""Token buckets by key, against a bucket that is poured drop by drop."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.gate.rates import Rate, Rates

# Eighths of a second, and rates of whole tokens: no rounding tells a bucket that is just full from one that is not.
steps = st.lists(st.integers(0, 24), min_size=1, max_size=80)
rates = st.builds(Rate, st.integers(1, 5), st.sampled_from([0.5, 1.0, 2.0, 4.0]))


class Poured:
    """A bucket as one would pour it."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = Fraction(rate.burst)
        self.at = Fraction(0)

    def has_one(self, now: float) -> bool:
        more = (Fraction(now) - self.at) * Fraction(self.rate.per_second)
        self.tokens, self.at = min(self.tokens + more, Fraction(self.rate.burst)), Fraction(now)
        return self.tokens >= 1


@given(rates, steps)
def test_it_lets_through_what_a_poured_bucket_does(rate: Rate, waits: list[int]) -> None:
    rates, poured, now = Rates(rate, most=10), Poured(rate), 0.0
    for wait in waits:
        now += wait / 8
        assert (rates.wait("a", now) == 0) == poured.has_one(now)
        if poured.tokens >= 1:
            rates.spend("a", now)
            poured.tokens -= 1


@given(rates, steps)
def test_who_waits_as_long_as_it_is_told_has_a_token_and_not_before(rate: Rate, waits: list[int]) -> None:
    rates, now = Rates(rate, most=10), 0.0
    for wait in waits:
        now += wait / 8
        left = rates.wait("a", now)
        if left:
            assert rates.wait("a", now + left - 0.01) > 0
            assert rates.wait("a", now + left) == 0
        rates.spend("a", now)  # also without a token: an empty bucket does not go below nothing
        assert rates.wait("a", now) <= 1 / rate.per_second


@given(rates, st.lists(st.tuples(st.integers(0, 8), st.sampled_from("abcdef")), max_size=80))
def test_no_key_touches_another_and_they_are_bounded(rate: Rate, uses: list[tuple[int, str]]) -> None:
    together, apart, few, now = (
        Rates(rate, most=6),
        {key: Rates(rate, most=1) for key in "abcdef"},
        Rates(rate, most=3),
        0.0,
    )
    for wait, key in uses:
        now += wait / 8
        assert together.wait(key, now) == apart[key].wait(key, now)
        for some in (together, apart[key], few):
            some.spend(key, now)
        assert len(few) <= 3


def test_who_behaves_is_not_remembered() -> None:
    rates = Rates(Rate(2, 1.0), most=1000)
    for number in range(500):
        rates.spend(f"station {number}", 0.0)
    for number in range(500):
        rates.spend("another", 10.0 + number)

    assert rates.wait("never seen", 0.0) == 0
    assert len(rates) == 1

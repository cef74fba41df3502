"""The study of ping settings agrees with closed forms where there are some, so one may believe the rest of it."""

from __future__ import annotations

from math import exp
from pathlib import Path
from random import Random

import pytest
import tradeoff
from tradeoff import YEAR, Rate, false_offlines, times_to_find, two_digits, watch
from tradeoff_links import RTT, Clean, Forgetful, Link, Loss, Outages, Spikes, fatal_losses, transmitted

from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.watch.liveness import Vigil

DEFAULT = Liveness()


def rate(settings: Liveness, link: Link, years: float) -> Rate:
    return false_offlines(settings, link, years=years, random=Random(1), enough=10**9)


def pings(settings: Liveness, link: Link) -> float:
    """How many a station-year, of a station that says nothing of its own."""
    return YEAR / (settings.ping_interval + link.usual)


@pytest.mark.parametrize("interval", tradeoff.INTERVALS)
@pytest.mark.parametrize("timeout", tradeoff.TIMEOUTS)
def test_on_a_clean_link_nobody_is_called_dead_who_lives(interval: float, timeout: float) -> None:
    settings = Liveness(ping_interval=interval, ping_timeout=timeout)

    assert rate(settings, Clean(), years=1e6).count == 0


@pytest.mark.parametrize(("interval", "timeout"), [(25, 20), (10, 40), (240, 5)])
def test_a_death_is_found_evenly_spread_from_the_timeout_to_interval_and_timeout(
    interval: float, timeout: float
) -> None:
    settings = Liveness(ping_interval=interval, ping_timeout=timeout)

    found = sorted(times_to_find(settings, Clean, deaths=4000, random=Random(1)))

    # An answer that is under way when its station dies comes still: hence the RTT.
    low, high = timeout - RTT, interval + timeout
    assert low <= found[0]
    assert found[-1] <= high
    # Kolmogorov's distance from the even spread; its limit at 1 % for so many is 1.63 / sqrt(4000) = 0.026.
    assert max(abs((time - low) / (high - low) - n / 4000) for n, time in enumerate(found)) < 0.026


def test_a_machine_that_holds_its_own_lateness_against_stations_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study drives the real machine: one that says something else than it should stops the study."""
    monkeypatch.setattr(Vigil, "expire", lambda vigil, now: None)

    with pytest.raises(RuntimeError, match="the liveness machine says None"):
        rate(DEFAULT, Loss(0.1, timeout=20, random=Random(1)), years=1)


@pytest.mark.parametrize(("loss", "timeout"), [(0.02, 5), (0.02, 10), (0.1, 20), (0.1, 40)])
def test_under_independent_loss_the_rate_is_that_of_losses_in_a_row(loss: float, timeout: float) -> None:
    settings = Liveness(ping_interval=25, ping_timeout=timeout)
    link = Loss(loss, timeout=timeout, random=Random(2))

    found = rate(settings, link, years=4000 / (pings(settings, link) * 2 * loss ** fatal_losses(timeout)))

    # Late is: so many losses on one way (two ways), or fewer on both that add up, which is rarer by another loss.
    assert found.value == pytest.approx(pings(settings, link) * late(loss, timeout), rel=0.08)


def late(loss: float, timeout: float) -> float:
    """The chance that an answer is late, summed over the losses of ping and pong."""
    return sum(
        loss ** (a + b) * (1 - loss) ** 2 for a in range(40) for b in range(40) if 2**a - 1 + 2**b - 1 + RTT > timeout
    )


def test_spikes_come_late_as_often_as_their_tail_says() -> None:
    settings = Liveness(ping_interval=25, ping_timeout=10)
    link = Spikes(random=Random(3))

    # A ping wakes the radio in 1 s to 3 s, evenly spread; what is left of the timeout, an exponential wait must exceed.
    tail = sum(exp(-(10 - RTT - 1 - (n + 0.5) / 500) / link.mean) for n in range(1000)) / 1000

    assert rate(settings, link, years=10).value == pytest.approx(pings(settings, link) * link.share * tail, rel=0.05)


def test_a_ping_that_meets_an_outage_is_late_if_no_retransmission_comes_after_its_end() -> None:
    settings = Liveness(ping_interval=25, ping_timeout=10)
    link = Outages(every=100_000, lasting=4, random=Random(4))

    # Pings go out at 0, 1, 3 and 7 s: the outage must last for 7 s from the first one. It meets one if that falls into
    # it, or its answer does: the chance of 4 s and an RTT's worth in 25 s.
    hit = YEAR / 100_000 * (4 * exp(-7 / 4) + RTT / 2 * exp(-7 / 4)) / (25 + RTT)

    assert rate(settings, link, years=300).value == pytest.approx(hit, rel=0.08)


def test_a_nat_that_forgets_breaks_every_connection_that_is_pinged_too_seldom() -> None:
    seldom = Liveness(ping_interval=60, ping_timeout=20)

    assert rate(DEFAULT, Forgetful(forgets=30), years=1000).count == 0
    # Each connection lives for an interval (the first ping comes up to a quarter earlier) and a timeout, then redials.
    lives = 60 * 7 / 8 + 20 + tradeoff.REDIAL
    assert rate(seldom, Forgetful(forgets=30), years=0.05).value == pytest.approx(YEAR / lives, rel=0.01)


def test_what_is_lost_is_sent_again_at_doubling_distances() -> None:
    tried: list[float] = []

    def down(at: float) -> bool:
        tried.append(at)
        return at < 20

    assert transmitted(0, 60, down) == 31
    assert tried == [0, 1, 3, 7, 15, 31]
    assert transmitted(0, 30, lambda at: at < 20) == float("inf")


def test_an_answer_that_meets_an_outage_on_its_way_is_not_passed_over() -> None:
    link = Outages(every=600, lasting=2, random=Random(1))
    link._begin, link._end = 100.05, 103.0  # between the ping of 100 and its answer

    assert link.calm(50.0, 25.0) == 2
    assert link.answer(100.0, 120.0) == pytest.approx(100 + RTT / 2 + 3 + RTT / 2)


def test_passing_over_calm_pings_changes_nothing() -> None:
    """A link that is asked about each ping comes to the same end at the same time as one that is passed over."""
    hasty, patient = (Outages(every=3000, lasting=20, random=Random(5)) for _ in range(2))

    class EachPing(Outages):
        def calm(self, due: float, cycle: float) -> float:
            return 0

        def answer(self, at: float, deadline: float) -> float:
            return patient.answer(at, deadline)

    each = EachPing(every=1, lasting=0.5, random=Random(0))

    ends = [watch(Vigil(DEFAULT, 0.0), link, YEAR) for link in (hasty, each)]

    assert ends[0] == pytest.approx(ends[1])
    assert ends[0] < YEAR


def test_rates_say_how_sure_they_are() -> None:
    assert str(Rate(count=0, years=1000)) == "< 0.0030"
    assert str(Rate(count=10, years=1000)) == "0.010 (0.0048 to 0.018)"  # Poisson's own limits: 4.80 and 18.39
    assert str(Rate(count=400, years=2)) == "200"
    assert [two_digits(number) for number in (123456, 45.6, 4.56, 0.456)] == [
        "120\N{NO-BREAK SPACE}000",
        "46",
        "4.6",
        "0.46",
    ]


def test_the_page_has_the_table_of_this_study_and_its_picture() -> None:
    page = tradeoff.PAGE.read_text()
    found = page.split(tradeoff.BEGIN)[1].split(tradeoff.END)[0]

    assert tradeoff.PICTURE.exists()
    assert f"../pictures/{tradeoff.PICTURE.name}" in page
    for interval in tradeoff.INTERVALS:
        for timeout in tradeoff.TIMEOUTS:
            assert f"| {interval} s | {timeout} s |" in found
    assert Path(tradeoff.__file__).name in page

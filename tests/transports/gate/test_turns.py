"""Turns under load: nobody starves, nothing is wasted, and whoever obeys comes twice."""

from __future__ import annotations

import heapq
from collections import Counter
from math import ceil
from random import Random

import pytest
from attrs import define, field
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.transports.gate.turns import Turns


@define
class Fleet:
    """Stations that come *load* times as fast as they can be let in, for a while, and come back until they are in.

    They come back when they were told, in whole seconds and up to *late* seconds after; those that do not *obey* when
    it suits them. While the network is *away*, from one moment to another, nobody comes, and then all at once.
    """

    per_second: float
    load: float
    seconds: float
    late: float = 2.0
    obey: float = 1.0
    seed: int = 0
    away: tuple[float, float] = (0.0, 0.0)
    tries: Counter[str] = field(factory=Counter[str])
    waited: dict[str, float] = field(factory=dict[str, float])
    ended: float = 0.0

    def run(self) -> Fleet:
        random = Random(self.seed)
        turns = Turns(self.per_second, most=100_000, chance=random.random)
        number = max(1, int(self.per_second * self.load * self.seconds))
        began = {f"CP-{n}": random.random() * self.seconds for n in range(number)}
        obedient = {station: random.random() < self.obey for station in began}
        coming = [(at, station) for station, at in began.items()]
        heapq.heapify(coming)
        while coming:
            now, station = heapq.heappop(coming)
            if self.away[0] < now < self.away[1]:
                heapq.heappush(coming, (self.away[1] + random.random() * self.late, station))
                continue
            self.tries[station] += 1
            wait = turns.take(station, now)
            if not wait:
                self.waited[station] = now - began[station]
                self.ended = now
            elif obedient[station]:
                heapq.heappush(coming, (now + ceil(wait) + random.random() * self.late, station))
            else:
                heapq.heappush(coming, (now + random.uniform(0.5, 5), station))
        return self


fleets = st.builds(
    Fleet,
    per_second=st.sampled_from([1.0, 5.0, 50.0]),
    load=st.sampled_from([0.5, 1.5, 3.0, 10.0]),
    seconds=st.floats(1, 20),
    late=st.sampled_from([0.0, 2.0, 30.0]),
    obey=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=examples(40))
@given(fleets)
def test_no_station_starves(fleet: Fleet) -> None:
    fleet.run()
    backlog = len(fleet.tries) / fleet.per_second

    assert len(fleet.waited) == len(fleet.tries)
    assert max(fleet.waited.values()) <= 1.3 * backlog + 2 * fleet.late + 15


@settings(max_examples=examples(40))
@given(fleets)
def test_no_more_are_let_in_than_there_are_tokens(fleet: Fleet) -> None:
    fleet.run()

    # What gathers while nobody comes is bounded, in both pots.
    most = fleet.per_second * fleet.ended + 2 * max(fleet.per_second, 5)
    assert len(fleet.waited) <= most


@pytest.mark.parametrize("per_second", [1.0, 20.0, 200.0])
@pytest.mark.parametrize("obey", [1.0, 0.5, 0.0])
def test_at_three_times_the_rate_nothing_is_wasted(per_second: float, obey: float) -> None:
    fleet = Fleet(per_second, load=3.0, seconds=30.0, obey=obey).run()

    assert len(fleet.waited) / fleet.ended > 0.8 * per_second


@pytest.mark.parametrize("per_second", [1.0, 20.0, 200.0])
@pytest.mark.parametrize("load", [3.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_who_comes_back_when_it_was_told_to_comes_twice(per_second: float, load: float, seed: int) -> None:
    fleet = Fleet(per_second, load=load, seconds=10.0, seed=seed).run()

    assert max(fleet.tries.values()) <= 4
    assert fleet.tries.total() / len(fleet.tries) <= 2.2


def test_those_who_do_not_obey_do_not_keep_out_those_who_do() -> None:
    random = Random(1)
    turns = Turns(10.0, most=1000, chance=random.random)
    good: dict[str, float] = {f"good {n}": 0.0 for n in range(50)}
    tries = Counter[str]()
    for tenth in range(600):
        now = tenth / 10
        for _ in range(20):  # two hundred a second, whatever they are told
            bad = f"bad {random.randrange(500)}"
            turns.take(bad, now)
        for station in [station for station, due in good.items() if due <= now]:
            tries[station] += 1
            wait = turns.take(station, now)
            if wait:
                good[station] = now + wait
            else:
                del good[station]

    assert not good
    assert max(tries.values()) <= 3


def test_one_that_hammers_holds_up_nobody() -> None:
    turns = Turns(1.0, most=1000, chance=lambda: 0.0)
    turns.take("first", 0.0)
    turns.take("hammer", 0.0)
    told = turns.take("CP-1", 0.0)
    hammered = [turns.take("hammer", hundredth / 100) for hundredth in range(int(told * 100))]

    assert hammered.count(0) == 1
    assert turns.take("CP-1", told + 0.01) == 0


def test_numbers_are_bounded_and_forgotten() -> None:
    turns = Turns(1.0, most=10, chance=lambda: 0.0)
    for number in range(100):
        turns.take(f"CP-{number}", 0.0)
    most = len(turns)
    turns.take("CP-1", 10_000.0)

    assert most == 10
    assert len(turns) == 0


def test_those_turned_away_in_one_moment_are_told_different_times() -> None:
    turns = Turns(1000.0, most=1000, chance=Random(1).random)
    turns.take("first", 0.0)
    told = [turns.take(f"CP-{number}", 0.0) for number in range(500)]

    assert 0.9 < max(told) - min(told) < 2


@pytest.mark.parametrize("seed", range(3))
def test_where_a_whole_network_comes_late_and_at_once_its_stations_still_find_their_turn(seed: int) -> None:
    fleet = Fleet(50.0, load=3.0, seconds=30.0, seed=seed, away=(10.0, 40.0)).run()

    assert max(fleet.tries.values()) <= 6
    assert len(fleet.waited) / (fleet.ended - 30) > 0.8 * 50


def test_the_burst_after_a_quiet_hour_is_bounded() -> None:
    turns = Turns(10.0, most=1000, chance=lambda: 0.0)
    turns.take("first", 0.0)
    let_in = [turns.take(f"CP-{number}", 3600.0) for number in range(100)].count(0)

    assert 10 <= let_in <= 20


def test_what_nobody_came_back_for_goes_to_whoever_is_there() -> None:
    turns = Turns(10.0, most=1000, chance=lambda: 0.0)
    for number in range(200):
        turns.take(f"gone {number}", 0.0)
    let_in = [turns.take(f"CP-{tenth}", tenth / 10) for tenth in range(1, 600)].count(0)

    assert let_in > 0.9 * 599


def test_one_that_hammers_when_its_turn_has_come_holds_up_nobody_else() -> None:
    turns = Turns(1.0, most=1000, chance=lambda: 0.0)
    late = [f"late {number}" for number in range(20)]
    for station in ["first", *late]:
        turns.take(station, 0.0)
    left = [station for station in late if turns.take(station, 60.0)]  # all at once: there are not tokens for all
    for _ in range(1000):
        turns.take(left[-1], 60.0)

    assert len(left) > 5
    assert turns.take("CP-1", 60.0) < 30

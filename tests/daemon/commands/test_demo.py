"""The demo's cast and its pace; the demo as a whole is run in tests/system."""

from __future__ import annotations

from itertools import islice

from rich.console import Console

from stationkeeper.daemon.commands.demo import MIX, PACE, cast
from stationkeeper.daemon.commands.simulate import table_of
from stationkeeper.daemon.simulation.behaviours import BEHAVIOURS
from stationkeeper.daemon.simulation.fleet import Fleet, Member
from stationkeeper.daemon.simulation.gateway import Terms
from stationkeeper.daemon.simulation.line import Caller
from stationkeeper.daemon.simulation.report import SENTENCES
from stationkeeper.daemon.simulation.verdict import TRUTHS


def test_every_behaviour_plays_from_twelve_stations_on() -> None:
    assert {recruit.behaviour for recruit in cast(12)} == set(BEHAVIOURS)


def test_a_station_behaves_the_same_in_a_demo_of_any_size() -> None:
    assert list(islice(cast(50), len(MIX))) == list(cast(len(MIX)))


def test_even_a_second_attempt_is_within_the_grace() -> None:
    # Else killing the daemon would rightly make stations offline, and the demo would show nothing.
    first_two = PACE.backoff.minimum + PACE.backoff.spread + 2 * (PACE.backoff.minimum + PACE.backoff.spread)

    assert first_two + PACE.backoff.spread < Terms().grace


def test_every_truth_has_its_sentence() -> None:
    assert set(SENTENCES) == set(TRUTHS)


def test_the_table_of_stations_fits_into_80_columns() -> None:
    members = [Member(caller=Caller(station=recruit.id), behaviour=recruit.behaviour) for recruit in cast(50)]
    console = Console(width=80, record=True)
    console.print(table_of(Fleet("ws://gateway", members, seed=0)))

    assert "…" not in console.export_text()

"""The demo's cast and its pace; the demo as a whole is run in tests/system."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from calling import Call
from rich.console import Console

from stationkeeper.daemon.commands.demo import MIX, PACE, ForeignLog, cast, check_ours
from stationkeeper.daemon.commands.simulate import table_of
from stationkeeper.daemon.simulation.behaviours import BEHAVIOURS
from stationkeeper.daemon.simulation.fleet import Fleet, Member
from stationkeeper.daemon.simulation.gateway import NAME, Gateway, Terms, free_port
from stationkeeper.daemon.simulation.line import Caller
from stationkeeper.daemon.simulation.report import SENTENCES
from stationkeeper.daemon.simulation.verdict import TRUTHS
from stationkeeper.engine import open_engine
from stationkeeper.engine.events import StationRegistered


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


async def run_of(gateway: str) -> None:
    async with open_engine("stationkeeper.db", gateway=gateway, inline=True) as engine:
        await engine.record(StationRegistered(), subject="CP-1")


async def test_a_log_on_which_only_demos_ran_may_be_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_ours(Path("stationkeeper.db"))
    await run_of(NAME)
    check_ours(Path("stationkeeper.db"))
    await run_of("depot")

    with pytest.raises(ForeignLog):
        check_ours(Path("stationkeeper.db"))


def test_the_gateway_of_the_demo_bears_the_name_by_which_its_log_is_known(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "x.db", Terms(), stations_port=free_port(), http_port=free_port())

    assert f'name = "{NAME}"' in gateway.config.read_text()


def test_the_demo_leaves_a_log_alone_that_others_made(call: Call, tmp_path: Path) -> None:
    call("station", "add", "CP-1", "--generate", "--log", "stationkeeper.db")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    told = call("demo", "--seconds", "1")

    assert told.code == 2
    assert "another folder" in told.err
    assert len(told.err.splitlines()) == 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

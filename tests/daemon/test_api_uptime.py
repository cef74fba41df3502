"""Availability over the API: read from the log as it is now, by whoever may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import example_log
import pytest
from office import open_office

from stationkeeper.daemon.api import shapes
from stationkeeper.daemon.api import uptime as route
from stationkeeper.daemon.api.uptime import measured
from stationkeeper.engine.clock import parse_time, rfc3339
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.sqlite import open_log

TIMES = ("onlineSeconds", "offlineSeconds", "notObservedSeconds", "unknownSeconds")


def day(station: str, since: str, until: str) -> dict[str, Any]:
    """Return what the API would answer of the made-up day of the documentation."""
    log = MemoryLog()
    example_log.write(log)
    return measured(log, log.position, station, example_log.time(since), example_log.time(until), {})


async def test_a_station_that_came_and_went_has_its_uptime_up_to_now() -> None:
    async with open_office() as office:
        link = await office.stations.connect("CP-7")
        await link.close()
        await office.until_offline("CP-7")
        answer = await office.ask("GET", "/chargestations/CP-7/uptime")
        ended = office.engine.now()

    shapes.Uptime.model_validate(answer.json)
    assert answer.json["id"] == "CP-7"
    assert answer.json["outageCount"] == len(answer.json["outages"]) == 1
    assert answer.json["outages"][0]["to"] is None
    assert answer.json["notObservedSeconds"] == 0
    assert window_of(answer.json) == pytest.approx(sum(answer.json[time] for time in TIMES), abs=1e-5)
    assert answer.json["to"] <= rfc3339(ended)


def window_of(shown: dict[str, Any]) -> float:
    return (parse_time(shown["to"]) - parse_time(shown["from"])) / 1_000_000


async def test_what_lies_ahead_is_not_observed() -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        now = rfc3339(office.engine.now())
        shown = (await office.ask("GET", f"/chargestations/CP-7/uptime?from={now}&to=2125-01-01T00:00:00%2B00:00")).json

    assert shown["availability"] == 100
    assert shown["onlineSeconds"] < 60
    assert shown["notObservedSeconds"] > 10**8


async def test_one_that_never_came_is_unknown() -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "generate": True})
        shown = (await office.ask("GET", "/chargestations/CP-7/uptime")).json

    assert (shown["availability"], shown["outages"]) == (None, [])
    assert shown["unknownSeconds"] == pytest.approx(window_of(shown))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/chargestations/CP-8/uptime", 404),
        ("/chargestations/CP-7/uptime?from=noon", 422),
        ("/chargestations/CP-7/uptime?to=1", 422),
        ("/chargestations/CP-7/uptime?from=2025-01-02&to=2025-01-01", 422),
    ],
)
async def test_what_makes_no_sense_is_refused(path: str, status: int) -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        answer = await office.ask("GET", path)

    assert answer.status == status
    shapes.Problem.model_validate(answer.json)


def test_it_says_what_the_command_says() -> None:
    shown = day("Market-2", "00:00", "24:00")

    assert [shown[time] for time in TIMES] == [76_705, 6_960, 2_675, 60]
    assert shown["availability"] == 91.6811
    assert [outage["cause"] for outage in shown["outages"]] == ["station_closed", "lapsed"]
    assert shown["outages"][1]["notObservedSeconds"] == 34 * 60 + 55


def test_only_the_newest_outages_are_listed_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "OUTAGES", 3)
    shown = day("Station-Road", "00:00", "24:00")

    assert shown["outageCount"] == 11
    assert [outage["from"][11:16] for outage in shown["outages"]] == ["13:19", "14:19", "15:19"]


def test_an_empty_log_and_one_in_a_file_are_measured_alike(tmp_path: Path) -> None:
    log = open_log(tmp_path / "x.db")
    empty = measured(log, 0, "CP-7", None, 0, {})
    example_log.write(log)
    shown = measured(log, log.position, "Market-2", None, example_log.time("24:00"), {})
    log.close()

    assert empty["unknownSeconds"] == 0
    assert shown == day("Market-2", "00:00", "24:00")

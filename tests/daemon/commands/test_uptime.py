"""`uptime`: what it prints of the made-up day of the documentation, and when it fails."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import example_log
import pytest
from calling import Call

from stationkeeper.daemon.availability import percent
from stationkeeper.daemon.commands import uptime_picture
from stationkeeper.daemon.commands.uptime import lasting
from stationkeeper.daemon.commands.uptime_picture import Picture
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections.uptime import Uptime, Window

NIGHT = ("--from", "2025-11-20", "--to", "2025-11-20T03:00:00Z")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def log(call: Call) -> Path:
    """The made-up day, in the working folder."""
    path = Path("x.db")
    opened = open_log(path)
    example_log.write(opened)
    opened.close()
    return path


def rows(call: Call, *words: str) -> list[dict[str, Any]]:
    outcome = call("uptime", "x.db", "--format", "json", *words)
    assert (outcome.code, outcome.err) == (0, "")
    printed: list[dict[str, Any]] = json.loads(outcome.out)
    return printed


@pytest.mark.usefixtures("log")
def test_each_stations_times_add_up_to_the_window(call: Call) -> None:
    printed = rows(call)

    assert [row["station"] for row in printed] == [
        "Harbour-1", "Harbour-2", "Market-1", "Market-2", "Market-3", "Station-Road",
    ]  # fmt: skip
    for row in printed:
        assert (row["from"], row["to"]) == ("2025-11-20T00:00:00.000000Z", "2025-11-21T00:00:00.000000Z")
        assert sum(value for key, value in row.items() if key.endswith("Seconds")) == 86_400
    assert printed[0]["availability"] == 94.7148
    assert [row["outageCount"] for row in printed] == [1, 2, 0, 2, 0, 11]


@pytest.mark.usefixtures("log")
def test_one_station_read_from_its_own_life_is_as_in_the_fleet(call: Call) -> None:
    everybody = {row["station"]: row for row in rows(call)}

    for station, row in everybody.items():
        assert rows(call, "--station", station) == [row]
    two = rows(call, "--station", "Market-3", "--station", "Harbour-1")
    assert two == [everybody["Market-3"], everybody["Harbour-1"]]


@pytest.mark.usefixtures("log")
def test_a_window_is_what_was_asked_for_and_leaves_out_who_was_not_known_yet(call: Call) -> None:
    printed = rows(call, *NIGHT)

    assert "Market-3" not in {row["station"] for row in printed}
    assert rows(call, *NIGHT, "--station", "Market-3")[0]["unknownSeconds"] == 3 * 3600
    assert {row["station"]: row["offlineSeconds"] for row in printed}["Market-2"] == 22 * 60


@pytest.mark.usefixtures("log")
def test_the_table_is_for_people(call: Call) -> None:
    printed = call("uptime", "x.db", "--station", "Market-2").out.split()

    assert printed[:4] == ["From", "2025-11-20T00:00:00Z", "to", "2025-11-21T00:00:00Z,"]
    assert printed[-8:] == ["Market-2", "91.6811", "%", "21h18m25s", "1h56m", "44m35s", "1m", "2"]


@pytest.mark.usefixtures("log")
def test_outages_are_intervals_with_what_nobody_saw_apart(call: Call) -> None:
    lapsed = rows(call, "--outages", "--station", "Market-2")[1]
    assert lapsed == {
        "station": "Market-2",
        "from": "2025-11-20T16:31:05.000000Z",
        "to": "2025-11-20T18:40:00.000000Z",
        "offlineSeconds": 94 * 60,
        "notObservedSeconds": 34 * 60 + 55,
        "cause": "lapsed",
        "code": None,
        "detectedAt": "2025-11-20T17:06:00.000000Z",
    }
    two = rows(call, "--outages", "--station", "Market-2", "--station", "Market-3")
    assert {outage["station"] for outage in two} == {"Market-2"}
    table = call("uptime", "x.db", "--outages").out.splitlines()
    comma = list(csv.DictReader(io.StringIO(call("uptime", "x.db", "--outages", "--format", "csv").out)))
    lines = [json.loads(line) for line in call("uptime", "x.db", "--outages", "--format", "jsonl").out.splitlines()]

    assert len(table) == len(comma) == len(lines) == len(rows(call, "--outages")) == 16
    assert "still offline" in table[-1]
    assert (comma[-1]["station"], comma[-1]["to"]) == ("Harbour-2", "")


@pytest.mark.usefixtures("log")
def test_who_is_below_the_bar_is_named_and_the_code_is_1(call: Call) -> None:
    missed = call("uptime", "x.db", "--at-least", "94.7")
    reached = call("uptime", "x.db", "--at-least", "88.9")

    assert (missed.code, reached.code) == (1, 0)
    assert missed.err == "below 94.7 %: Harbour-2 (91.7945 %), Market-2 (91.6811 %), Station-Road (88.9459 %)\n"
    assert call("uptime", "x.db", "--station", "Market-1", "--at-least", "100").code == 0
    assert call("uptime", "x.db", "--outages", "--format", "csv", "--at-least", "99").code == 1


@pytest.mark.usefixtures("log")
def test_the_looked_at_log_stays_as_it_was(call: Call, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    call("uptime", "x.db", "--outages")

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "noon"), "noon"),
        (("--from", "2025-11-20", "--to", "2025-11-19"), "after"),
        (("--at-least", "101"), "percentage"),
        (("--at-least", "NaN"), "percentage"),
        (("--format", "svg", "--outages"), "leave out"),
        (("--format", "svg", "--from", "2025-11-20", "--to", "2025-11-20"), "empty"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(call: Call, words: tuple[str, ...], told: str) -> None:
    outcome = call("uptime", "x.db", *words)

    assert outcome.code == 2
    assert told in outcome.err


def test_no_log_ends_with_3_and_no_such_station_with_1(call: Call) -> None:
    assert call("uptime", "x.db").code == 3
    open_log(Path("x.db")).close()

    assert call("uptime", "x.db", "--format", "json").out == "[]\n"
    assert call("uptime", "x.db", "--station", "CP-7").code == 1


@pytest.mark.usefixtures("log")
def test_a_long_log_shows_how_far_it_is_where_somebody_watches(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("stationkeeper.daemon.commands.progress.LONG", 1)
    monkeypatch.setattr("stationkeeper.daemon.commands.progress._STEP", 1)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    assert call("uptime", "x.db", "--format", "json").code == 0
    assert "uptime" in terminal.getvalue()


# --- the picture -----------------------------------------------------------------------------------------------------


def drawn(call: Call, *words: str) -> ElementTree.Element:
    outcome = call("uptime", "x.db", "--format", "svg", *words)
    assert outcome.code == 0
    return ElementTree.fromstring(outcome.out)


@pytest.mark.usefixtures("log")
def test_a_picture_has_a_row_for_each_station_and_says_in_words_what_it_shows(call: Call) -> None:
    svg = drawn(call)
    stations = [title.text for title in svg.iterfind(f"{SVG}g/{SVG}title")]

    assert len(stations) == 6
    assert stations[3] == "Market-2: 91.6811 % available, 2 outages"
    assert svg.attrib["role"] == "img"
    assert (svg.findtext(f"{SVG}title") or "").startswith("Stations from 2025-11-20 00:00 to 2025-11-21 00:00")
    assert (svg.findtext(f"{SVG}desc") or "").count("available") == 6


@pytest.mark.usefixtures("log")
def test_the_bars_of_a_row_fill_the_window_in_order(call: Call) -> None:
    (row,) = drawn(call, "--station", "Market-2").iterfind(f"{SVG}g")
    bars = [(bar.attrib["class"], int(bar.attrib["x"]), int(bar.attrib["width"])) for bar in row.iterfind(f"{SVG}rect")]

    assert [kind for kind, *_ in bars] == [
        "online", "offline", "online", "not-observed", "online", "not-observed", "online", "not-observed", "offline",
        "online",
    ]  # fmt: skip
    ends = [x + width for _, x, width in bars]
    assert [x for _, x, _ in bars[1:]] == ends[:-1]
    assert sum(width for *_, width in bars) == 720


def test_an_outage_of_a_moment_is_seen() -> None:
    picture = Picture(Window(0, 10**12))
    picture.draw("CP-7", "online", (0, 10**12))
    picture.draw("CP-7", "offline", (5 * 10**11, 5 * 10**11 + 1))
    svg = "\n".join(picture.svg([Uptime("CP-7", 10**12 - 1, 1, 0, 0, 1)]))

    assert '<rect class="offline" x="510" y="77" width="1"' in svg


def test_what_a_station_calls_itself_is_no_markup() -> None:
    picture = Picture(Window(0, 10**9))
    svg = "\n".join(picture.svg([Uptime("<script>\x1b&" + "x" * 99, 0, 0, 10**9, 0, 0)]))

    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).findtext(f"{SVG}g/{SVG}text") == "<script>\\x1b&xxxxx…"


@pytest.mark.usefixtures("log")
def test_of_too_many_stations_the_worst_are_drawn(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeeper.daemon.commands.uptime.ROWS", 2)
    outcome = call("uptime", "x.db", "--format", "svg")
    names = [text.text for text in ElementTree.fromstring(outcome.out).iterfind(f"{SVG}g/{SVG}text[1]")]

    assert names == ["Station-Road", "Market-2"]
    assert outcome.err == "6 stations; the picture shows the 2 with the lowest availability\n"


def test_the_axis_has_eight_marks_at_most_however_long_the_window() -> None:
    for length in (1, 10**6, 10**9, 10**12, 10**14, 10**16):
        ticks = list(uptime_picture._ticks(Window(example_log.MIDNIGHT, example_log.MIDNIGHT + length)))
        assert 1 <= len(ticks) <= 9


def test_numbers_for_people() -> None:
    assert [lasting(n) for n in (0, 400, 1_500_000, 59_999_900, 3_661_400_000)] == [
        "0s",
        "0s",
        "1s500ms",
        "1m",
        "1h1m1s",
    ]
    assert percent(Uptime("CP-7", 999_999, 1, 0, 0, 1)) == "99.9999 %"
    assert percent(Uptime("CP-7", 1, 0, 0, 0, 0)) == "100.0 %"
    assert percent(Uptime("CP-7", 0, 0, 5, 0, 0)) == "-"


# --- the page of the documentation -----------------------------------------------------------------------------------

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "how-to/report-availability.md").read_text()
SHOWN = re.findall(r"^```console\n\$ stationkeeper (uptime example\.db.*)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("words", "printed"), SHOWN, ids=[words for words, _ in SHOWN])
def test_the_page_shows_what_the_commands_print(call: Call, log: Path, words: str, printed: str) -> None:
    log.rename("example.db")
    command, _, file = words.partition(" > ")
    outcome = call(*shlex.split(command))
    said = outcome.err if file else outcome.out

    assert [line.rstrip() for line in said.splitlines()] == printed.splitlines()


@pytest.mark.usefixtures("log")
def test_the_picture_of_the_page_is_as_the_command_draws_it(call: Call) -> None:
    drawn = call("uptime", "x.db", "--format", "svg").out

    assert (DOCS / "pictures/uptime.svg").read_text() == drawn, "draw it again, as the page says"


@pytest.mark.usefixtures("log")
def test_a_time_that_nobody_knows_reaches_no_bar(call: Call) -> None:
    nothing = call("uptime", "x.db", "--from", "2020-01-01", "--to", "2020-01-02", "--at-least", "99")

    assert nothing.code == 1
    assert "no station is known in that time" in nothing.err

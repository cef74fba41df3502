"""`replay` and `events`: what happened, and what followed from it, of a log that is left as it is."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calling import Call
from msgspec.structs import replace

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import (
    Event,
    GatewayStalled,
    GatewayStarted,
    HandshakeRefused,
    StationRegistered,
    WebhookRecovered,
)
from stationkeeper.engine.log.sqlite import SqliteLog

AT = 1_795_000_000_000_000
"""2026-11-18T11:06:40Z."""


def write(events: list[Event], subjects: list[str] | None = None) -> None:
    """Write a log with these events, a second apart."""
    log = SqliteLog.open(Path("x.db"))
    subjects = subjects or [""] * len(events)
    entries: list[Entry] = [
        seal(event, id=f"e{n}", at=AT + n * 1_000_000, subject=subject)
        for n, (event, subject) in enumerate(zip(events, subjects, strict=True), 1)
    ]
    log.append(entries)
    log.close()


def registered(*ids: str) -> None:
    write([StationRegistered(name=f"the station {id}") for id in ids], list(ids))


def test_replay_prints_the_state_as_of_then(call: Call) -> None:
    registered("CP-7", "CP-8", "CP-9")
    now = json.loads(call("replay", "x.db").out)
    then = json.loads(call("replay", "x.db", "--at", "2").out)
    at = json.loads(call("replay", "x.db", "--at", "2026-11-18T11:06:42.5Z").out)

    assert [station["id"] for station in now["chargestations"]] == ["CP-7", "CP-8", "CP-9"]
    assert [station["id"] for station in then["chargestations"]] == ["CP-7", "CP-8"]
    assert (now["position"], then["position"]) == (3, 2)
    assert then["at"] == "2026-11-18T11:06:42.000000Z"
    assert at == then


def test_replay_of_one_station_and_of_none(call: Call) -> None:
    registered("CP-7", "CP-8")
    one = json.loads(call("replay", "x.db", "--station", "CP-8").out)

    assert [station["name"] for station in one["chargestations"]] == ["the station CP-8"]
    assert call("replay", "x.db", "--station", "CP-9").code == 1
    assert call("replay", "x.db", "--station", "CP-8", "--at", "1").code == 1


@pytest.mark.parametrize("command", ["replay", "events"])
def test_looking_changes_nothing(call: Call, command: str, tmp_path: Path) -> None:
    registered("CP-7")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    call(command, "x.db")

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("command", ["replay", "events"])
@pytest.mark.parametrize(("content", "told"), [(None, "no log"), (b"not a database" * 100, "x.db")])
def test_no_log_or_something_else_ends_with_3(call: Call, command: str, content: bytes | None, told: str) -> None:
    if content is not None:
        Path("x.db").write_bytes(content)
    outcome = call(command, "x.db")

    assert outcome.code == 3
    assert told in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "x.db", "--at", "9"),
        ("replay", "x.db", "--at", "noon"),
        ("events", "x.db", "--kind", "connection.opend"),
        ("events", "x.db", "--follow", "--until", "1"),
        ("events", "x.db", "--follow", "--format", "json"),
    ],
)
def test_wrong_usage_ends_with_2(call: Call, words: tuple[str, ...]) -> None:
    registered("CP-7")

    assert call(*words).code == 2


def refused(claimed: str) -> HandshakeRefused:
    return HandshakeRefused(claimed=claimed, reason="unknown_station", status=404, first_at=AT, last_at=AT)


@pytest.mark.parametrize(
    ("words", "positions"),
    [
        ((), [1, 2, 3, 4]),
        (("--station", "CP-7"), [1, 4]),
        (("--kind", "station.registered"), [1, 2]),
        (("--kind", "station.registered", "--kind", "handshake.refused"), [1, 2, 3, 4]),
        (("--station", "CP-7", "--kind", "station.registered"), [1]),
        (("--since", "2", "--until", "3"), [2, 3]),
        (("--since", "2026-11-18T11:06:42Z"), [2, 3, 4]),
        (("--until", "2026-11-18T11:06:42Z"), [1, 2]),
        (("--since", "2030-01-01T00:00:00Z"), []),
    ],
)
def test_events_prints_what_was_asked_for(call: Call, words: tuple[str, ...], positions: list[int]) -> None:
    write(
        [StationRegistered(), StationRegistered(), refused("CP-8"), refused("CP-7")],
        ["CP-7", "CP-8", "", ""],
    )  # fmt: skip
    printed = [json.loads(line) for line in call("events", "x.db", *words, "--format", "jsonl").out.splitlines()]

    assert [row["position"] for row in printed] == positions


def test_what_would_move_a_terminals_cursor_is_written_out(call: Call) -> None:
    write([refused("\x1b[2J\x07")])
    line = call("events", "x.db").out

    assert "\x1b" not in line
    assert "\\x1b[2J" in line


def test_moments_in_bodies_are_times_for_people_and_numbers_for_programs(call: Call) -> None:
    write([GatewayStalled(since=AT, until=AT + 1_500_000), WebhookRecovered(since=1, until=2)], ["", "wh_1"])
    stalled, recovered = call("events", "x.db").out.splitlines()
    first = json.loads(call("events", "x.db", "--format", "jsonl").out.splitlines()[0])

    assert stalled.endswith("since=2026-11-18T11:06:40.000000Z until=2026-11-18T11:06:41.500000Z")
    assert recovered.endswith("since=1 until=2")
    assert first["body"] == {"since": AT, "until": AT + 1_500_000}


def test_events_as_csv_has_a_row_each(call: Call) -> None:
    registered("CP-7", "CP-8")
    rows = list(csv.DictReader(io.StringIO(call("events", "x.db", "--format", "csv").out)))

    assert [row["subject"] for row in rows] == ["CP-7", "CP-8"]
    assert json.loads(rows[0]["body"])["name"] == "the station CP-7"


def obey_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_follow_prints_what_is_appended_and_ends_in_order(
    told: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registered("CP-7")
    command = [sys.executable, "-m", "stationkeeper", "events", "x.db", "--follow", "--format", "jsonl"]
    # Who runs the tests may ignore SIGINT, and children would inherit that.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=obey_interrupts) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        log = SqliteLog.open(Path("x.db"))
        log.append([seal(StationRegistered(), id="late", at=AT + 9_000_000, subject="CP-8")])
        second = json.loads(following.stdout.readline())
        log.close()
        following.send_signal(told)

    assert following.returncode == 0
    assert (first["subject"], second["subject"], second["position"]) == ("CP-7", "CP-8", 2)


def test_a_newer_release_is_named(call: Call) -> None:
    started = GatewayStarted(
        public_url="", ping_interval=1, ping_timeout=1, silence=1, grace=1, settling=1, rules=1,
        software="stationkeeper 9.9", host="h",
    )  # fmt: skip
    log = SqliteLog.open(Path("x.db"))
    newer = replace(seal(StationRegistered(), id="n", at=AT, subject="CP-7", run="r"), schema=99)
    log.append([seal(started, id="r", at=AT, run="r"), newer])
    log.close()
    outcome = call("replay", "x.db")

    assert outcome.code == 3
    assert "stationkeeper 9.9" in outcome.err


def test_a_long_replay_shows_how_far_it_is_where_somebody_watches(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    registered("CP-7")
    monkeypatch.setattr("stationkeeper.daemon.commands.progress.LONG", 1)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    told = call("replay", "x.db")

    assert json.loads(told.out)["position"] == 1
    assert "replay" in terminal.getvalue()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registered(*(f"CP-{n}" for n in range(3000)))
    shell = f"set -o pipefail; {sys.executable} -m stationkeeper events x.db | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert "CP-0" in done.stdout

"""The command line on a log that no daemon holds: what it prints, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import replace

from stationkeeper.daemon.cli import COMMANDS, cli, run
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import Event, GatewayStarted, HandshakeRefused, StationRegistered
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.sqlite import SqliteLog

AT = 1_795_000_000_000_000
"""2026-11-18T11:06:40Z."""


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Call = Callable[..., Outcome]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Run a command in a folder of its own; `{log}` among its words stands for a log there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATIONKEEPER_URL", raising=False)

    def run_command(*words: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(lambda: cli.main([*words], prog_name="stationkeeper", standalone_mode=False))
        said = capsysbinary.readouterr()
        return Outcome(code, said.out.decode(), said.err.decode())

    return run_command


def on_log(call: Call, *words: str, **more: Any) -> Outcome:
    return call(*words, "--log", "x.db", **more)


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


# --- help ------------------------------------------------------------------------------------------------------------


def all_commands() -> list[list[str]]:
    found: list[list[str]] = []

    def visit(command: click.Command, words: list[str]) -> None:
        found.append(words)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                visit(child, [*words, name])

    visit(cli, [])
    return found


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(call: Call, words: list[str]) -> None:
    told = call(*words, "--help")

    assert told.code == 0
    assert "Example: stationkeeper" in told.out


def test_the_overview_imports_no_command() -> None:
    script = "import sys; from stationkeeper.daemon.cli import cli; cli.main(['--help'], standalone_mode=False);"
    script += "print({'trio', 'fastapi', 'rich', 'structlog', 'sqlite_utils'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_overview_looks_for_it(name: str) -> None:
    module, line = COMMANDS[name]

    assert isinstance(getattr(import_module(f"stationkeeper.daemon{module}"), name), click.Command)
    assert line.endswith(".")


def test_an_unknown_command_is_wrong_usage(call: Call) -> None:
    assert call("serv").code == 2


# --- stations and webhooks -------------------------------------------------------------------------------------------


def test_a_generated_password_is_printed_once_and_stored_nowhere(call: Call, tmp_path: Path) -> None:
    made = on_log(call, "station", "add", "CP-7", "--generate")
    password = made.out.split()[-1]
    shown = on_log(call, "station", "show", "CP-7", "--format", "json")

    assert len(bytes.fromhex(password)) == 20
    assert json.loads(shown.out)["id"] == "CP-7"
    for file in tmp_path.iterdir():
        assert password.encode() not in file.read_bytes()
        assert bytes.fromhex(password) not in file.read_bytes()


def test_the_actor_of_the_command_line_is_named(call: Call) -> None:
    on_log(call, "station", "add", "CP-7", "--generate")
    (recorded,) = read_log("x.db")

    assert (recorded.actor, recorded.run, recorded.gateway) == ("cli", "", "")


@pytest.mark.parametrize("stdin", [b"a password of some length\n", b"\x00\xff" * 10 + b"\n"])
def test_a_password_is_read_from_standard_input(call: Call, stdin: bytes) -> None:
    made = on_log(call, "station", "add", "CP-7", "--password-stdin", stdin=stdin)

    assert made.code == 0
    assert "password" not in made.out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("station", "add", "CP-8"), 2, "--generate"),
        (("station", "add", "CP-8", "--generate", "--password-stdin"), 2, "not both"),
        (("station", "add", "CP-7", "--generate"), 1, "update it instead"),
        (("station", "add", "x" * 300, "--generate"), 2, "255"),
        (("station", "add", "CP-8", "--generate", "--ping-interval", "soon"), 2, "a duration"),
        (("station", "update", "CP-7"), 2, "say what to change"),
        (("station", "update", "CP-7", "--overlap", "1h"), 2, "goes with a new password"),
        (("station", "show", "CP-8"), 1, "no station 'CP-8'"),
        (("station", "remove", "CP-8"), 1, "no station 'CP-8'"),
        (("webhook", "add", "http://example.com"), 2, "allow_http"),
        (("webhook", "add", "https://example.com", "--event", "chargestation.onlin"), 2, "did you mean"),
        (("webhook", "recover", "wh_x", "--since", "yesterday"), 2, "RFC 3339"),
        (("webhook", "pause", "wh_x"), 1, "no webhook 'wh_x'"),
        (("station", "list", "--url", "http://127.0.0.1:1"), 2, "one of them"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    call: Call, words: tuple[str, ...], code: int, told: str
) -> None:
    on_log(call, "station", "add", "CP-7", "--generate")
    outcome = on_log(call, *words)

    assert (outcome.code, outcome.out) == (code, "")
    assert told in outcome.err
    assert len(list(read_log("x.db"))) == 1


def test_a_daemon_that_is_not_there_is_told_in_one_line(call: Call) -> None:
    outcome = call("station", "list", "--url", "http://127.0.0.1:1")

    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "no daemon answers at http://127.0.0.1:1" in outcome.err


def test_a_log_that_is_held_is_refused(call: Call) -> None:
    held = SqliteLog.open(Path("x.db"))
    outcome = on_log(call, "station", "list")
    held.close()

    assert outcome.code == 3
    assert "being written by process" in outcome.err


@pytest.mark.parametrize("words", [("station", "list"), ("station", "remove", "CP-7"), ("webhook", "list")])
def test_only_an_addition_makes_a_log(call: Call, words: tuple[str, ...], tmp_path: Path) -> None:
    assert on_log(call, *words).code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_printed_for_people_and_for_programs(call: Call) -> None:
    for id in ("CP-7", "CP-8"):
        on_log(call, "station", "add", id, "--generate", "--name", "Bay, 7")
    shown = {form: on_log(call, "station", "list", "--format", form).out for form in ("table", "json", "jsonl", "csv")}

    assert [row["id"] for row in json.loads(shown["json"])] == ["CP-7", "CP-8"]
    assert [json.loads(line)["id"] for line in shown["jsonl"].splitlines()] == ["CP-7", "CP-8"]
    assert [row["name"] for row in csv.DictReader(io.StringIO(shown["csv"]))] == ["Bay, 7", "Bay, 7"]
    assert [line.split()[0] for line in shown["table"].splitlines()[2:]] == ["CP-7", "CP-8"]


def test_a_webhook_lives_from_add_to_remove(call: Call) -> None:
    made = json.loads(on_log(call, "webhook", "add", "https://example.com/hook", "--format", "json").out)
    id = made["id"]
    on_log(call, "webhook", "update", id, "--to", "https://example.com/new")
    for action in ("pause", "test", "enable"):
        assert on_log(call, "webhook", action, id).code == 0
    rotated = on_log(call, "webhook", "rotate-secret", id)
    shown = json.loads(on_log(call, "webhook", "show", id, "--format", "json").out)
    on_log(call, "webhook", "recover", id, "--since", "1")
    on_log(call, "webhook", "remove", id)

    assert made["secret"].startswith("whsec_")
    assert rotated.out.split()[-1].startswith("whsec_")
    assert rotated.out.split()[-1] != made["secret"]
    assert shown["url"] == "https://example.com/new"
    assert "secret" not in shown
    assert json.loads(on_log(call, "webhook", "list", "--format", "json").out) == []


# --- replay and events -----------------------------------------------------------------------------------------------


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


def test_events_as_csv_has_a_row_each(call: Call) -> None:
    registered("CP-7", "CP-8")
    rows = list(csv.DictReader(io.StringIO(call("events", "x.db", "--format", "csv").out)))

    assert [row["subject"] for row in rows] == ["CP-7", "CP-8"]
    assert json.loads(rows[0]["body"])["name"] == "the station CP-7"


def test_follow_prints_what_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registered("CP-7")
    command = [sys.executable, "-m", "stationkeeper", "events", "x.db", "--follow", "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        log = SqliteLog.open(Path("x.db"))
        log.append([seal(StationRegistered(), id="late", at=AT + 9_000_000, subject="CP-8")])
        second = json.loads(following.stdout.readline())
        log.close()
        following.send_signal(signal.SIGINT)

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

"""The command line: its help, its errors, and the stations and webhooks of a log that no daemon holds."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tomllib
from importlib import import_module
from keyword import iskeyword
from pathlib import Path

import click
import pytest
from calling import Call, on_log

from stationkeeper.daemon.cli import COMMANDS, cli
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.sqlite import SqliteLog


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

    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command is getattr(import_module(f"stationkeeper.daemon{module}"), f"{name}_" if iskeyword(name) else name)
    assert command.name == name
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
        (("station", "add", "CP-8", "--profile", "2"), 2, "--security mtls"),
        (("station", "add", "CP-8", "--security", "mtls", "--generate"), 2, "takes the password's place"),
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


def test_the_environment_names_the_daemon_unless_a_flag_says_otherwise(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATIONKEEPER_URL", "http://127.0.0.1:1")

    assert "no daemon answers at http://127.0.0.1:1" in call("station", "list").err
    assert "no daemon answers at http://127.0.0.1:2" in call("station", "list", "--url", "http://127.0.0.1:2").err
    assert on_log(call, "station", "add", "CP-7", "--generate").code == 0


def test_a_log_that_had_to_be_made_is_told(call: Call) -> None:
    assert "x.db was not there: created" in on_log(call, "station", "add", "CP-7", "--generate").err
    assert on_log(call, "station", "add", "CP-8", "--generate").err == ""


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
    recovered = on_log(call, "webhook", "recover", id, "--since", "1")
    on_log(call, "webhook", "remove", id)

    assert made["secret"].startswith("whsec_")
    assert rotated.out.split()[-1].startswith("whsec_")
    assert rotated.out.split()[-1] != made["secret"]
    assert shown["url"] == "https://example.com/new"
    assert f"now owed {shown['owed']['pending']} in all" in recovered.out
    assert "secret" not in shown
    assert json.loads(on_log(call, "webhook", "list", "--format", "json").out) == []


def test_a_station_is_changed(call: Call) -> None:
    on_log(call, "station", "add", "CP-7", "--generate")
    words = ("--generate", "--overlap", "24h", "--name", "Bay 7", "--ping-interval", "0", "--silence", "15m")
    changed = on_log(call, "station", "update", "CP-7", *words)
    (_, recorded) = read_log("x.db")
    body = json.loads(recorded.body)

    assert len(changed.out.split()[-1]) == 40
    assert (body["name"], len(body["credentials"])) == ("Bay 7", 2)
    assert (body["liveness"]["ping_interval"], body["liveness"]["silence"]) == (0, 900)


def test_a_station_with_a_certificate_is_registered_and_brought_back_to_a_password(call: Call) -> None:
    made = on_log(call, "station", "add", "CP-7", "--profile", "3", "--serial", "SN-7", "--lenient", "upgrade")
    back = on_log(call, "station", "update", "CP-7", "--profile", "2", "--generate", "--serial", "", "--strict")
    free = on_log(call, "station", "update", "CP-7", "--profile", "any", "--lenient", "origin", "--lenient", "username")
    both = on_log(call, "station", "update", "CP-7", "--lenient", "origin", "--strict")
    told = [json.loads(recorded.body) for recorded in read_log("x.db")]
    terms = [[body[name] for name in ("security", "profile", "serial", "lenient")] for body in told]

    assert [outcome.code for outcome in (made, back, free, both)] == [0, 0, 0, 2]
    assert terms == [
        ["mtls", 3, "SN-7", ["upgrade"]],
        ["basic", 2, None, []],
        ["basic", None, None, ["origin", "username"]],
    ]


def test_a_file_is_imported_and_what_was_generated_is_printed_as_csv(call: Call, tmp_path: Path) -> None:
    (tmp_path / "fleet.csv").write_text("id,password\nCP-1,\nCP-2,long enough\n")
    dry = call("station", "import", "fleet.csv", "--generate", "--dry-run", "--log", "y.db")
    done = on_log(call, "station", "import", "fleet.csv", "--generate")
    again = on_log(call, "station", "import", "fleet.csv", "--generate")

    assert (dry.code, (tmp_path / "y.db").exists()) == (0, False), "a dry run makes no log"
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["id"], len(row["password"])) == ("CP-1", 40)
    assert "2 stations registered" in done.err
    assert (again.code, again.err.count("is registered already")) == (2, 2)


def test_a_copy_without_its_secrets_is_not_changed(call: Call, tmp_path: Path) -> None:
    on_log(call, "station", "add", "CP-7", "--generate")
    (tmp_path / "x.db.secrets").unlink()
    outcome = on_log(call, "station", "add", "CP-8", "--generate")

    assert outcome.code == 1
    assert "--adopt" in outcome.err


@pytest.mark.parametrize("form", ["toml", "json"])
def test_the_settings_in_force_are_printed_with_their_source(
    call: Call, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATIONKEEPER_LIVENESS_PING_INTERVAL", "30s")
    told = call("config", "--http", "127.0.0.1:1", "--format", form)

    assert told.code == 0
    assert "environment STATIONKEEPER_LIVENESS_PING_INTERVAL" in told.out
    assert "flag --http" in told.out
    assert (tomllib.loads if form == "toml" else json.loads)(told.out)


def test_a_wrong_setting_is_told_in_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATIONKEEPER_LIVENESS_PING_INTERVL", "30s")
    told = call("config")

    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert "did you mean ping_interval?" in told.err

"""The commands that copy a log and take one up again: what they say, their exit codes, and a daemon at work beside."""

from __future__ import annotations

import json
import signal
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from calling import Call
from copybook import CHANGED, REMOTE, events_of, files, make, tamper
from served import PATIENCE, kinds, register, serving, until

from stationkeeper.engine.ledger import outside


def test_each_command_says_what_it_did(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db", 10, unprotected=2)

    backup = call("backup", "x.db", "b.db", "--with-secrets")
    export = call("export", "x.db", "x.jsonl")
    made = call("import", "x.jsonl", "i.db")
    redact = call("redact", "x.db", "CP-1")
    again = call("redact", "x.db", "CP-1")
    restore = call("restore", "b.db", "x.db")

    assert (backup.code, backup.out) == (0, "b.db holds 10 events; its checkpoint vouches for 8\n")
    assert (export.code, export.out) == (0, "x.jsonl holds 10 events\n")
    assert (made.code, made.out) == (0, "i.db holds 10 events\n")
    assert (redact.code, redact.out) == (0, "10 events blanked\n")
    assert "Backups, exports and logs set aside before still hold it" in redact.err
    assert again.out == "nothing private is kept about CP-1\n"
    assert (restore.code, restore.out) == (0, "x.db ends at position 11, which says that it was restored\n")
    assert "set aside: x.db.replaced-" in restore.err
    assert "it sends no webhooks until it is served with --adopt" in restore.err
    assert [event.leaf for event in events_of(tmp_path / "i.db")] == [
        event.leaf for event in events_of(tmp_path / "b.db")
    ]


def test_every_copy_stands_up_to_the_audit_commands(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db", 10, unprotected=2)
    for words in (
        ("backup", "x.db", "backup.db"),
        ("export", "x.db", "x.jsonl", "--redacted"),
        ("import", "x.jsonl", "import.db"),
        ("restore", "x.jsonl", "restore.db"),
        ("redact", "x.db", "CP-1"),
        ("backup", "x.db", "redacted.db"),
        ("restore", "x.db", "x.db"),
    ):
        assert call(*words).code == 0

    for log in sorted(tmp_path.glob("*.db")):
        for command in ("verify", "replay", "events", "export"):
            done = call(command, log.name, *(["-"] if command == "export" else []))
            assert done.code == 0, (log.name, command, done)


def test_an_export_goes_to_standard_output_too(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db")
    call("export", "x.db", "x.jsonl")

    piped = call("export", "x.db", "-", "--redacted")

    assert piped.code == 0
    assert [json.loads(line).get("position") for line in piped.out.splitlines()] == [None, *range(1, 11), None]
    assert "private" not in piped.out
    assert b64encode(REMOTE).decode() in (tmp_path / "x.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("backup", "no.db", "b.db"), 3, "there is no log at no.db"),
        (("backup", "x.db", "x.db"), 3, "x.db is there already"),
        (("backup", "x.db", "nowhere/b.db"), 3, "the folder nowhere does not exist"),
        (("export", "x.db", "x.db"), 3, "x.db is there already"),
        (("export", "no.db", "-"), 3, "there is no log at no.db"),
        (("import", "x.db", "i.db"), 3, "cannot be imported"),
        (("import", "no.jsonl", "i.db"), 3, "there is no file no.jsonl"),
        (("restore", "no.db", "x.db"), 3, "there is no log at no.db"),
        (("restore", "x.txt", "x.db"), 3, "x.txt"),
        (("redact", "no.db", "CP-1"), 3, "there is no log at no.db"),
        (("redact", "x.db", ""), 2, "ID is empty"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    call: Call, tmp_path: Path, words: tuple[str, ...], code: int, why: str
) -> None:
    make(tmp_path / "x.db")
    (tmp_path / "x.txt").write_text("no log\n")
    before = files(tmp_path)

    done = call(*words)

    assert (done.code, why in done.err) == (code, True), done.err
    assert files(tmp_path) == before


def test_what_stands_although_it_was_changed_is_said(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db")
    tamper(tmp_path / "x.db", *CHANGED)
    (tmp_path / "x.db.secrets").unlink()

    done = call("restore", "x.db", "x.db")

    assert "position 3 is not what was written, and stands as it is now" in done.err
    assert "stations need new passwords, webhooks new signing secrets" in done.err


def test_beside_a_daemon_copies_are_made_and_nothing_is_changed(call: Call, tmp_path: Path) -> None:
    password = register(tmp_path, "CP-7")
    with serving(tmp_path) as served:
        with served.dial("CP-7", password.encode()):
            until(lambda: "connection.opened" in kinds(tmp_path), "it is let in")
            assert call("backup", "x.db", "b.db", "--with-secrets").code == 0
            assert call("export", "x.db", "x.jsonl").code == 0
            for words in (("redact", "x.db", "CP-7"), ("restore", "b.db", "x.db"), ("restore", "x.db", "x.db")):
                refused = call(*words)
                assert (refused.code, "is being written by process" in refused.err) == (3, True)
        until(lambda: "connection.closed" in kinds(tmp_path), "it is gone")
        assert served.stop() == 0
    assert "connection.opened" in [event.kind for event in events_of(tmp_path / "b.db")]
    assert stat.S_IMODE((tmp_path / "b.db.secrets").stat().st_mode) == 0o600


def test_after_a_loss_work_goes_on_from_the_backup_and_stations_come_back_by_their_passwords(
    call: Call, tmp_path: Path
) -> None:
    password = register(tmp_path, "CP-7")
    with serving(tmp_path) as served:
        with served.dial("CP-7", password.encode()):
            until(lambda: "connection.opened" in kinds(tmp_path), "it is let in")
            assert call("backup", "x.db", "b.db", "--with-secrets").code == 0
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(PATIENCE)
    key = (tmp_path / "x.db.key").read_bytes()
    for file in tmp_path.glob("x.db*"):
        file.unlink()

    before = files(tmp_path)
    refused = call("restore", "b.db", "x.db")
    assert refused.code == 3
    assert "b.db.secrets is sealed under the key" in refused.err
    assert "there is no x.db.key; bring that key back" in refused.err
    assert files(tmp_path) == before
    (tmp_path / "b.db.key").write_bytes(key)
    (tmp_path / "b.db.key").chmod(0o600)
    assert call("restore", "b.db", "x.db").code == 0
    assert (tmp_path / "x.db.key").read_bytes() != key

    for flags, mute in (((), True), (("--adopt",), False), ((), False)):
        with serving(tmp_path, *flags) as served, served.dial("CP-7", password.encode()):
            station = until(lambda served=served: served.get("/chargestations/CP-7")[1], "it is shown")  # type: ignore[misc]
            until(lambda served=served: served.get("/chargestations/CP-7")[1]["online"], "it is online")  # type: ignore[misc]
            assert station["version"] > 2**20
            assert served.get("/readyz")[1]["mute"] == mute
            served.stop()


def test_canary_secrets_are_in_no_export_backup_checkpoint_or_key(call: Call, tmp_path: Path) -> None:
    password = "canary-password-0123456789"
    assert call("station", "add", "CP-7", "--password-stdin", "--log", "x.db", stdin=password.encode()).code == 0
    said = call("webhook", "add", "https://hooks.example/", "--log", "x.db", "--format", "json")
    secret = json.loads(said.out)["secret"]
    raw = secret.removeprefix("whsec_").encode()

    call("backup", "x.db", "b.db", "--with-secrets")
    call("export", "x.db", "x.jsonl")
    call("import", "x.jsonl", "i.db")
    call("restore", "x.jsonl", "r.db")
    call("restore", "x.db", "x.db")

    assert outside.read_note(tmp_path / "b.db")
    found = files(tmp_path)
    assert {"b.db", "b.db.checkpoint", "b.db.secrets", "b.db.vkey", "i.db", "r.db", "x.db.secrets"} <= set(found)
    assert [name for name in found if name.endswith(".key")] == ["x.db.key"]
    for canary in (password.encode(), b64encode(password.encode()), password.encode().hex().encode(), raw):
        assert [name for name, content in found.items() if canary in content] == []

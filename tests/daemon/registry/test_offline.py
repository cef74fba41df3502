"""A log that is changed while no daemon serves it: compared with its checkpoint first, and vouched for at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import Call, on_log
from copybook import CHANGED, CUT, REMOTE, make, tamper, writing

from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.secrets import secrets_path


def protected(log: Path) -> int:
    note = outside.read_note(log)
    assert note is not None
    return Checkpoint.parse(note).size


def head(log: Path) -> int:
    reader = open_reader(log)
    try:
        return reader.position
    finally:
        reader.close()


CHANGES = [
    ["station", "add", "CP-7", "--generate"],
    ["webhook", "add", "https://hooks.example/"],
]
COMMANDS = [*(["--log", *words] for words in CHANGES), ["redact", "x.db", "CP-1"], ["restore", "x.db", "x.db"]]


def play(call: Call, words: list[str]) -> tuple[int, str]:
    done = on_log(call, *words[1:]) if words[0] == "--log" else call(*words)
    return done.code, done.err


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_every_change_ends_with_a_checkpoint_of_all_of_it(call: Call, tmp_path: Path, words: list[str]) -> None:
    log = tmp_path / "x.db"
    make(log, 10, unprotected=3)
    assert protected(log) == 7

    code, err = play(call, words)

    assert code == 0, err
    assert protected(log) == head(log) == (10 if words[0] == "redact" else 11)
    with writing(log) as (_, _, ledger):
        assert ledger.protected == ledger.size


@pytest.mark.parametrize("words", COMMANDS[:-1], ids=lambda words: " ".join(words[:3]))
@pytest.mark.parametrize("changes", [CUT, CHANGED], ids=["cut", "changed"])
def test_a_log_that_its_checkpoint_contradicts_is_not_changed(
    call: Call, tmp_path: Path, words: list[str], changes: tuple[str, ...]
) -> None:
    log = tmp_path / "x.db"
    make(log)
    tamper(log, *changes)
    before, at = log.read_bytes(), head(log)

    code, err = play(call, words)

    assert code == 3
    assert "restore" in err
    assert head(log) == at
    assert len(log.read_bytes()) == len(before)
    assert REMOTE in log.read_bytes()


def test_a_new_log_is_vouched_for_from_its_first_event(call: Call, tmp_path: Path) -> None:
    assert on_log(call, "station", "add", "CP-7", "--generate").code == 0

    assert protected(tmp_path / "x.db") == head(tmp_path / "x.db") == 1


def test_a_log_that_was_restored_takes_stations_before_it_is_adopted(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db")
    assert call("restore", "x.db", "x.db").code == 0

    assert on_log(call, "station", "add", "CP-7", "--generate").code == 0
    with writing(tmp_path / "x.db") as (_, secrets, _):
        assert secrets.held


@pytest.mark.parametrize("words", CHANGES, ids=lambda words: words[0])
def test_a_log_that_is_gone_is_not_begun_anew_beside_its_secrets(call: Call, tmp_path: Path, words: list[str]) -> None:
    log = tmp_path / "x.db"
    assert on_log(call, "webhook", "add", "https://hooks.example/1").code == 0
    log.rename(tmp_path / "moved.db")
    before = secrets_path(log).read_bytes()

    code, err = play(call, ["--log", *words])

    assert code == 3
    assert "x.db.secrets and x.db.checkpoint beside it are of another log" in err
    assert not log.exists()
    assert secrets_path(log).read_bytes() == before

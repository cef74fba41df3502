"""Secrets stand in a file of their own, nowhere else, and no longer than they should."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from stationkeeper.engine.errors import LogForeign, LogNewer, LogUnavailable, SecretsExposed
from stationkeeper.engine.events import StationRegistered, Validity
from stationkeeper.engine.log import Snapshot
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.secrets import MemorySecrets, Secrets, SecretsFile, open_secrets, secrets_path
from stationkeeper.engine.log.secrets_file import stored_under
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

CANARY = b"canary-7Hq2vX9sLw4pZ8tR"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def secrets(log: Path) -> Iterator[SecretsFile]:
    secrets = open_secrets(log, "log-1", create=True)
    assert secrets is not None
    yield secrets
    secrets.close()


@pytest.fixture(params=["file", "memory"])
def either(request: pytest.FixtureRequest, secrets: SecretsFile) -> Secrets:
    return secrets if request.param == "file" else MemorySecrets()


def everything_beneath(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_secret_is_kept_replaced_and_forgotten(either: Secrets) -> None:
    either.keep("a", b"\x00\xff")
    either.keep("b", b"old")
    either.keep("b", b"new")
    assert (either.get("a"), either.get("b"), either.get("c")) == (b"\x00\xff", b"new", None)

    either.forget("b")
    either.forget("b")
    assert either.get("b") is None
    assert set(either.ids()) == {"a"}


def test_secrets_are_there_when_they_are_opened_again(secrets: SecretsFile, log: Path) -> None:
    secrets.keep("a", CANARY)
    secrets.close()
    secrets.close()

    again = open_secrets(log, "log-1", create=False)
    assert again is not None
    assert again.get("a") == CANARY
    again.close()


def test_a_secret_is_read_while_another_is_being_written(secrets: SecretsFile) -> None:
    """Readers stand on the event loop: they wait neither for a slow disk nor for whoever holds the file."""
    secrets.keep("a", CANARY)
    other = connect(secrets.path, mode="rw")
    other.execute("BEGIN EXCLUSIVE")
    writer = Thread(target=secrets.keep, args=("b", b"second"))
    writer.start()
    try:
        read, there, writing = secrets.get("a"), secrets.ids(), writer.is_alive()
    finally:
        other.execute("ROLLBACK")
        writer.join()
        other.close()

    assert (read, set(there), writing) == (CANARY, {"a"}, True)
    assert secrets.get("b") == b"second"


def test_what_could_not_be_written_is_not_read(secrets: SecretsFile) -> None:
    """What is told to be kept must be there after a restart, and what is told to be gone must be gone."""
    secrets.keep("a", CANARY)
    other = connect(secrets.path, mode="rw")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable):
        secrets.keep("b", b"second")
    with pytest.raises(LogUnavailable):
        secrets.forget("a")
    other.close()

    assert secrets.ids() == {"a"}


def test_closed_secrets_tell_nothing(secrets: SecretsFile) -> None:
    secrets.close()

    with pytest.raises(LogUnavailable, match="is closed"):
        secrets.get("a")


def test_what_is_forgotten_or_replaced_is_overwritten(secrets: SecretsFile, log: Path) -> None:
    for n in range(200):
        secrets.keep(f"other-{n}", b"x" * 50)
    secrets.keep("a", CANARY)
    secrets.keep("long", CANARY * 1000)
    secrets.keep("b", CANARY)
    stored = [stored_under(secrets.path, id) or b"" for id in ("a", "b", "long")]
    assert all(value[:40] in everything_beneath(log.parent) for value in stored)
    secrets.forget("a")
    secrets.forget("long")
    secrets.keep("b", b"rotated")

    assert not any(value[:40] in everything_beneath(log.parent) for value in stored)
    assert sorted(os.listdir(log.parent)) == ["fleet.db.key", "fleet.db.secrets"]


def test_a_secret_is_in_no_log_wal_or_snapshot(secrets: SecretsFile, log: Path) -> None:
    kept = open_log(log)
    secrets.keep("credential-1", CANARY)
    record = StationRegistered(credentials=(Validity(id="credential-1"),))
    kept.append([some_entry("a", record)])
    kept.keep_snapshots([Snapshot("registry", 1, 1, b"leaf", b"credential-1")])

    files = [file for file in log.parent.iterdir() if file != secrets.path]
    assert log.with_name("fleet.db-wal") in files
    assert not any(CANARY in file.read_bytes() for file in files)
    assert any(b"credential-1" in file.read_bytes() for file in files)
    kept.close()


# --- who may read them ---------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_whatever_the_umask(log: Path) -> None:
    before = os.umask(0)
    try:
        secrets = open_secrets(log, "log-1", create=True)
    finally:
        os.umask(before)
    assert secrets is not None
    secrets.close()

    assert stat.S_IMODE(secrets.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_may_read_is_refused(secrets: SecretsFile, log: Path, suffix: str, mode: int) -> None:
    secrets.close()
    exposed = secrets.path.with_name(secrets.path.name + suffix)
    exposed.touch()
    exposed.chmod(mode)

    with pytest.raises(SecretsExposed, match=rf"mode {mode:04o}\); chmod 600 {exposed.name}"):
        open_secrets(log, "log-1", create=True)


def test_deleting_is_secure_and_commits_are_synced(secrets: SecretsFile) -> None:
    wanted = {"secure_delete": 1, "journal_mode": "delete", "synchronous": 3}

    assert {name: secrets.pragma(name) for name in wanted} == wanted


# --- whose they are ------------------------------------------------------------------------------------------------


def test_a_log_without_its_secrets_is_a_copy(log: Path) -> None:
    assert open_secrets(log, "log-1", create=False) is None
    assert not secrets_path(log).exists()


def test_a_log_with_anothers_secrets_is_a_copy(secrets: SecretsFile, log: Path) -> None:
    secrets.keep("a", CANARY)
    secrets.close()
    before = secrets.path.read_bytes()

    assert open_secrets(log, "log-2", create=False) is None
    assert secrets.path.read_bytes() == before


def test_adopting_makes_the_secrets_this_logs_own_and_keeps_them(secrets: SecretsFile, log: Path) -> None:
    secrets.keep("a", CANARY)
    secrets.close()
    adopted = open_secrets(log, "log-2", create=True)
    assert adopted is not None
    adopted.close()

    again = open_secrets(log, "log-2", create=False)
    assert again is not None
    assert again.get("a") == CANARY
    again.close()


def test_a_file_that_a_crash_left_empty_is_filled(log: Path) -> None:
    secrets_path(log).touch(0o600)

    secrets = open_secrets(log, "log-1", create=True)
    assert secrets is not None
    secrets.close()


@pytest.mark.parametrize("content", [b"", b"hello " * 2000])
def test_something_else_is_left_as_it_is(log: Path, content: bytes) -> None:
    path = secrets_path(log)
    if content:
        path.write_bytes(content)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE secret (id TEXT)")
        other.close()
    path.chmod(0o600)
    before = path.read_bytes()

    with pytest.raises(LogForeign):
        open_secrets(log, "log-1", create=True)
    assert path.read_bytes() == before


def test_secrets_of_a_newer_release_are_not_touched(secrets: SecretsFile, log: Path) -> None:
    secrets.close()
    connection = connect(secrets.path, mode="rw")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(LogNewer):
        open_secrets(log, "log-1", create=True)

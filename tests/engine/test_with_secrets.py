"""A log that is gone leaves its secrets to nobody: no start takes them for a new, empty log, and none that is refused
changes anything."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stationkeeper.engine import open_engine
from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.errors import LogContradicted, LogError, LogMissing
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.log.driver import log_path
from stationkeeper.engine.log.secrets import secrets_path
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry
from stationkeeper.engine.with_secrets import open_with_secrets


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """A log that ran once, with a secret."""
    path = tmp_path / "fleet.db"
    async with open_engine(path, inline=True) as engine:
        engine.secrets.keep("canary", b"canary")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    # Of the lock only who held it last is new.
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(".lock")}


async def start(path: Path, *, adopt: bool = False) -> bytes | None:
    """Start, and return the secret, if it is there."""
    async with open_engine(path, inline=True, adopt=adopt) as engine:
        return engine.secrets.get("canary")


def gone(log: Path) -> None:
    log.rename(log.with_name("moved"))


def emptied(log: Path) -> None:
    gone(log)
    log.touch()


def another(log: Path) -> None:
    gone(log)
    open_log(log).close()


@pytest.mark.parametrize("lose", [gone, emptied, another])
@pytest.mark.parametrize("left", ["secrets and checkpoint", "secrets", "checkpoint"])
async def test_a_new_log_beside_what_another_left_is_refused_and_nothing_is_written(
    log: Path, lose: Callable[[Path], None], left: str
) -> None:
    if left == "secrets":
        outside.checkpoint_path(log).unlink()
        outside.keys_path(log).unlink()
    if left == "checkpoint":
        secrets_path(log).unlink()
    lose(log)
    before = contents(log.parent)

    with pytest.raises(LogMissing) as refused:
        await start(log)

    assert contents(log.parent) == before
    for name in (secrets_path(log).name, outside.checkpoint_path(log).name):
        assert (name in str(refused.value)) == (name in before)
    assert ("--adopt" in str(refused.value)) == (left == "secrets")


@pytest.mark.parametrize("lose", [gone, emptied, another])
async def test_the_right_log_that_is_brought_back_has_its_secrets(log: Path, lose: Callable[[Path], None]) -> None:
    lose(log)
    with pytest.raises(LogMissing):
        await start(log)
    log.with_name("moved").replace(log)

    assert await start(log) == b"canary"


async def test_a_backup_that_is_restored_where_the_log_is_gone_goes_on_with_its_secrets(log: Path) -> None:
    back_up(log, log.with_name("backup.db"))
    gone(log)
    with pytest.raises(LogMissing):
        await start(log)

    assert restore(log.with_name("backup.db"), log).secrets
    assert await start(log, adopt=True) == b"canary"


@pytest.mark.parametrize("lose", [gone, another])
async def test_who_says_so_lets_a_new_log_take_secrets_over(log: Path, lose: Callable[[Path], None]) -> None:
    outside.checkpoint_path(log).unlink()
    lose(log)

    assert await start(log, adopt=True) == b"canary"
    assert await start(log) == b"canary"


@pytest.mark.parametrize("lose", [gone, another])
async def test_a_checkpoint_of_another_log_is_refused_whoever_says_what(
    log: Path, lose: Callable[[Path], None]
) -> None:
    lose(log)
    before = contents(log.parent)

    with pytest.raises(LogMissing, match=r"fleet\.db\.checkpoint beside it is of another log"):
        await start(log, adopt=True)
    assert contents(log.parent) == before


async def test_a_log_with_events_is_not_given_secrets_that_it_cannot_be_served_with(log: Path) -> None:
    gone(log)
    with closing(open_log(log)) as other:
        other.append([some_entry("e1")])
    secrets, keys = secrets_path(log).read_bytes(), outside.keys_path(log).read_bytes()

    with pytest.raises(LogContradicted, match="checkpoint of another log"):
        await start(log, adopt=True)
    assert (secrets_path(log).read_bytes(), outside.keys_path(log).read_bytes()) == (secrets, keys)


async def test_a_checkpoint_that_is_none_is_no_leave_to_begin_anew(log: Path) -> None:
    gone(log)
    outside.checkpoint_path(log).write_bytes(b"what is this")

    with pytest.raises(LogMissing):
        await start(log)


def test_a_log_that_is_as_new_as_its_secrets_is_taken_up(tmp_path: Path) -> None:
    path = log_path(tmp_path / "fleet.db")
    for _ in range(2):
        kept, secrets = open_with_secrets(path)
        assert secrets is not None
        secrets.close()
        kept.close()


def test_what_a_crash_left_empty_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    secrets_path(path).touch(0o600)

    kept, secrets = open_with_secrets(path)
    assert secrets is not None
    secrets.close()
    kept.close()


def test_secrets_that_cannot_be_read_are_no_leave_to_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with closing(sqlite3.connect(secrets_path(path))) as other:
        other.execute("CREATE TABLE a (b)")
    os.chmod(secrets_path(path), 0o600)

    with pytest.raises(LogError):
        open_with_secrets(path)
    assert not path.exists()

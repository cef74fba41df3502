"""The SQLite log: how it is opened, and what it does on a bad day."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stationkeeper.engine.errors import (
    LogDamaged,
    LogUnavailable,
)
from stationkeeper.engine.events import GatewayStopped, StationRegistered
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.driver import (
    APPLICATION_ID,
    LAYOUT,
    SqliteConnection,
    connect,
    wal_of,
    warn_of_wal_reset,
)
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.snapshots import fold_of, take
from stationkeeper.engine.testing.logs import some_entry
from stationkeeper.projections import registry

Unprivileged = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    log = open_log(path)
    yield log
    log.close()


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    """Look at a closed log with a connection of our own."""
    connection = connect(path, mode="rw")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_file_says_what_it_is(log: SqliteLog, path: Path) -> None:
    log.close()

    header = path.read_bytes()[:100]
    assert header[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"STKP"
    assert ask(path, "PRAGMA user_version") == [(LAYOUT,)]


def test_the_table_has_a_column_for_each_part_of_the_envelope(log: SqliteLog, path: Path) -> None:
    log.close()

    columns = [row[1] for row in ask(path, "PRAGMA table_info(event)")]
    envelope = "position id at kind schema subject gateway run actor body private salt leaf digest"
    assert columns == envelope.split()
    strict = ask(path, "SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE '%sqlite%'")
    assert strict == []


def test_every_log_has_an_id_of_its_own(log: SqliteLog, path: Path, tmp_path: Path) -> None:
    other = open_log(tmp_path / "other.db")
    other.close()
    first = log.log_id
    log.close()

    again = open_log(f"sqlite:///{path}")
    again.close()
    assert again.log_id == first
    assert other.log_id != first


def test_nothing_but_the_log_and_its_lock_is_left_behind(log: SqliteLog, path: Path) -> None:
    log.append([some_entry("a")])
    log.close()

    assert sorted(os.listdir(path.parent)) == ["fleet.db", "fleet.db.lock"]


def test_commits_are_synced_and_checkpoints_our_own(log: SqliteLog) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "cell_size_check": 1}

    assert {name: log.fetch(f"PRAGMA {name}", ())[0][0] for name in wanted} == wanted


def test_the_wal_is_moved_into_the_file_now_and_then(
    log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeeper.engine.log.sqlite.CHECKPOINT_PAGES", 50)
    for n in range(300):
        log.append([some_entry(str(n))])

    assert log.wal_left == 0
    assert wal_of(path).stat().st_size < 100 * 3 * 4120


def test_a_reader_in_the_way_of_a_checkpoint_is_noticed(
    log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeeper.engine.log.sqlite.CHECKPOINT_PAGES", 20)
    log.append([some_entry("a")])
    slow = connect(path, mode="ro")
    slow.execute("BEGIN")
    slow.execute("SELECT * FROM head").fetchall()
    for n in range(10):
        log.append([some_entry(str(n))])

    assert log.wal_left > 0
    slow.close()
    log.append([some_entry(str(n)) for n in range(10, 40)])
    assert log.wal_left == 0


# --- after a failed fsync ------------------------------------------------------------------------------------------


def test_the_wal_is_written_again_and_synced_before_sqlite_opens_it(
    log: SqliteLog, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([some_entry(str(n), private=bytes(9_000)) for n in range(300)])
    crashed = tmp_path / "crashed" / "fleet.db"
    crashed.parent.mkdir()
    for file in (path, wal_of(path)):
        shutil.copy(file, crashed.parent)
    wal = wal_of(crashed).read_bytes()
    seen = Calls(monkeypatch)

    open_log(crashed).close()
    assert len(wal) > 2 << 20
    assert seen.written[wal_of(crashed)] == wal
    assert seen.order[:3] == [("sync", wal_of(crashed)), ("sync", crashed.parent), ("open", crashed)]


def test_recovering_writes_the_wal_again_before_sqlite_lets_go_of_it(
    log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([some_entry("a")])
    wal = wal_of(path).read_bytes()
    seen = Calls(monkeypatch)

    log.recover()
    assert seen.written[wal_of(path)] == wal
    assert seen.order[:2] == [("sync", wal_of(path)), ("sync", path.parent)]


def test_a_wal_that_cannot_be_synced_is_not_trusted(
    log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([some_entry("a")])

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(LogUnavailable, match="cannot be synced to the disk"):
            log.recover()
    log.recover()
    assert log.append([some_entry("a")]) == [1]


class Calls:
    """Watches which files this process writes and syncs, and when SQLite opens one for writing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: dict[Path, bytes] = {}
        self.order: list[tuple[str, Path]] = []
        pwrite, fsync = os.pwrite, os.fsync

        def watched_pwrite(descriptor: int, chunk: bytes, offset: int) -> int:
            file = self.path(descriptor)
            self.written[file] = self.written.get(file, b"")[:offset] + chunk
            return pwrite(descriptor, chunk, offset)

        def watched_fsync(descriptor: int) -> None:
            self.order.append(("sync", self.path(descriptor)))
            fsync(descriptor)

        def watched_connect(path: Path, **options: str) -> SqliteConnection:
            if options.get("mode") == "rw":
                self.order.append(("open", path))
            return connect(path, **options)

        monkeypatch.setattr(os, "pwrite", watched_pwrite)
        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr("stationkeeper.engine.log.sqlite.connect", watched_connect)

    @staticmethod
    def path(descriptor: int) -> Path:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


# --- somebody else writes --------------------------------------------------------------------------------------------


def test_a_log_cut_back_beneath_a_running_writer_is_noticed(log: SqliteLog, path: Path) -> None:
    log.append([some_entry("a")])
    ask(path, "DELETE FROM event")
    ask(path, "UPDATE head SET position = 0")

    with pytest.raises(LogDamaged, match="lost what was acknowledged: position 1"):
        log.recover()


def test_a_writer_that_ignores_the_lock_is_noticed(log: SqliteLog, path: Path) -> None:
    ask(path, "UPDATE head SET position = 7")

    with pytest.raises(LogDamaged, match="written by another program"):
        log.append([some_entry("a")])


# --- not for now ---------------------------------------------------------------------------------------------------


def test_a_locked_file_loses_nothing(log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.fetch("PRAGMA busy_timeout = 1", ())
    tool = connect(path, mode="rw")
    tool.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable, match="another program holds a lock"):
        log.append([some_entry("a")])
    with pytest.raises(LogUnavailable, match="another program holds a lock"):
        log.append([some_entry("b")])
    tool.close()

    # The outcome of the first is unknown: nothing is written before the log was opened anew.
    with pytest.raises(LogUnavailable):
        log.append([some_entry("a")])
    log.recover()
    assert log.append([some_entry("a")]) == [1]


def test_a_full_disk_loses_nothing_and_recovers(log: SqliteLog) -> None:
    log.append([some_entry("first")])
    pages = log.fetch("PRAGMA page_count", ())[0][0]
    log.fetch(f"PRAGMA max_page_count = {pages}", ())
    batch = [some_entry(str(n)) for n in range(1_000)]
    with pytest.raises(LogUnavailable, match="the disk is full"):
        log.append(batch)

    log.recover()
    assert log.position == 1
    assert log.append(batch) == list(range(2, 1_002))


def test_the_fence_and_the_ids_hold_after_recovery(log: SqliteLog) -> None:
    log.append([some_entry("a"), some_entry("end", GatewayStopped(listened=1.0))])
    log.recover()

    assert log.append([some_entry("a")]) == [1]


def test_a_log_that_may_not_be_written_says_so(public_folder: Path, without_root: Unprivileged) -> None:
    path = public_folder / "fleet.db"
    open_log(path).close()
    path.chmod(0o444)
    public_folder.chmod(0o777)
    (public_folder / "fleet.db.lock").chmod(0o666)

    with without_root(), pytest.raises(LogUnavailable, match=r"check the rights of the file"):
        open_log(path)


def test_a_folder_that_may_not_be_written_says_so(public_folder: Path, without_root: Unprivileged) -> None:
    public_folder.chmod(0o555)

    with without_root(), pytest.raises(LogUnavailable, match=r"check the rights of the folder"):
        open_log(public_folder / "fleet.db")


def test_a_library_with_the_wal_reset_bug_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert warn_of_wal_reset((3, 40, 1))
    assert "SQLite 3.40.1 has the WAL-reset bug" in caplog.text


@pytest.mark.parametrize("version", [(3, 51, 3), (3, 53, 0), (3, 50, 7), (3, 44, 6)])
def test_a_library_without_that_bug_is_not(version: tuple[int, ...]) -> None:
    assert not warn_of_wal_reset(version)


# --- snapshots -----------------------------------------------------------------------------------------------------


def test_a_snapshot_whose_state_was_changed_is_not_used(log: SqliteLog, path: Path) -> None:
    for station in ("CP-1", "CP-2"):
        log.append([some_entry(station, StationRegistered(), subject=station)])
    fold = Fold([registry])
    for recorded in log.read():
        fold.advance(recorded)
    log.keep_snapshots(take(fold))
    log.close()

    log = open_log(path)
    assert fold_of(log, [registry]).position == 2
    log.close()

    ask(path, "UPDATE snapshot SET state = CAST(replace(CAST(state AS TEXT), 'CP-2', 'CP-9') AS BLOB)")
    log = open_log(path)
    assert log.snapshot("registry") is None
    assert fold_of(log, [registry]).position == 0
    log.close()

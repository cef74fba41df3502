"""Reading alone: it sees everything that was acknowledged, and leaves no trace in the log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

import pytest

from stationkeeper.engine.errors import LogDamaged, LogForeign, LogMissing, LogNewer, LogUnavailable
from stationkeeper.engine.log import Snapshot
from stationkeeper.engine.log.driver import LAYOUT, connect, wal_of
from stationkeeper.engine.log.reading import open_reader, read_log
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

Unprivileged = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def path(public_folder: Path) -> Path:
    return public_folder / "fleet.db"


@pytest.fixture
def daemon(path: Path) -> Iterator[SqliteLog]:
    """A writer that lives on while others read."""
    log = open_log(path)
    log.append([some_entry(str(n), at=n, subject=f"CP-{n % 2}") for n in range(1, 11)])
    yield log
    log.close()


@pytest.fixture
def crashed(daemon: SqliteLog, path: Path) -> Path:
    """The files that a crash leaves behind: the log, and a `-wal` that holds what was acknowledged last."""
    left = path.parent / "left"
    left.mkdir()
    shutil.copy(path, left)
    shutil.copy(wal_of(path), left)
    return left / "fleet.db"


def traces(path: Path) -> list[bytes | None]:
    return [file.read_bytes() if file.exists() else None for file in (path, wal_of(path))]


def ids(path: Path | str, **options: object) -> list[str]:
    return [event.id for event in read_log(path, **options)]  # type: ignore[arg-type]


# --- every way to find a log ---------------------------------------------------------------------------------------


def test_beside_a_live_daemon(daemon: SqliteLog, path: Path) -> None:
    before = traces(path)
    assert len(ids(path)) == 10
    assert traces(path) == before

    daemon.append([some_entry("11")])
    assert ids(path)[-1] == "11"


def test_after_an_orderly_stop(daemon: SqliteLog, path: Path) -> None:
    daemon.close()
    before = traces(path)

    assert len(ids(path)) == 10
    assert traces(path) == before
    assert sorted(os.listdir(path.parent)) == ["fleet.db", "fleet.db.lock"]


def test_after_a_crash(crashed: Path) -> None:
    before = traces(crashed)

    assert len(ids(crashed)) == 10
    assert traces(crashed) == before


@pytest.mark.parametrize("index", ["no index", "an index"])
def test_after_a_crash_in_a_folder_that_cannot_be_written(
    crashed: Path, without_root: Unprivileged, index: str
) -> None:
    if index == "an index":
        ids(crashed)  # Leaves a `-shm`.
    before = traces(crashed)
    for file in crashed.parent.iterdir():
        file.chmod(0o444)
    crashed.parent.chmod(0o555)

    with without_root():
        assert len(ids(crashed)) == 10
    assert traces(crashed) == before
    crashed.parent.chmod(0o755)


def test_after_an_orderly_stop_in_a_folder_that_cannot_be_written(
    daemon: SqliteLog, path: Path, without_root: Unprivileged
) -> None:
    daemon.close()
    path.chmod(0o444)
    path.parent.chmod(0o555)

    with without_root():
        assert len(ids(path)) == 10


def test_a_live_daemon_of_another_user(daemon: SqliteLog, path: Path, without_root: Unprivileged) -> None:
    path.parent.chmod(0o755)

    with without_root():
        assert len(ids(path)) == 10


# --- while writers come and go -------------------------------------------------------------------------------------


def test_a_daemon_that_starts_meanwhile_is_noticed(daemon: SqliteLog, path: Path) -> None:
    daemon.close()
    with closing(open_reader(path)) as reader:
        assert reader.way == "still"
        with closing(open_log(path)) as starting:
            starting.append([some_entry("11")])

            assert [event.id for event in reader.read(9)] == ["10", "11"]
            assert reader.way == "live"


def test_a_daemon_that_came_and_went_meanwhile_is_noticed(daemon: SqliteLog, path: Path) -> None:
    daemon.close()
    with closing(open_reader(path)) as reader:
        with closing(open_log(path)) as passing:
            passing.append([some_entry(str(n)) for n in range(11, 2_000)])

        assert [event.id for event in reader.read()] == [str(n) for n in range(1, 2_000)]


def test_a_read_goes_on_where_it_was_while_the_daemon_stops(daemon: SqliteLog, path: Path) -> None:
    daemon.append([some_entry(str(n)) for n in range(11, 5_001)])
    reading = read_log(path)
    first = [next(reading).id for _ in range(100)]
    daemon.close()

    assert first + [event.id for event in reading] == [str(n) for n in range(1, 5_001)]


def test_a_slow_reader_holds_no_checkpoint_back(daemon: SqliteLog, path: Path) -> None:
    daemon.append([some_entry(str(n)) for n in range(11, 5_001)])
    reading = read_log(path)
    next(reading)

    busy, written, moved = daemon.fetch("PRAGMA wal_checkpoint(TRUNCATE)", ())[0]
    assert (busy, written, moved) == (0, 0, 0)
    assert sum(1 for _ in reading) == 4_999


# --- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "last"),
    [(3, "3"), ("1970-01-01T00:00:00.000004Z", "4"), ("1970-01-01T01:00:00.000004+01:00", "4"), (None, "10")],
)
def test_a_read_ends_with_a_position_or_a_time(
    daemon: SqliteLog, path: Path, until: int | str | None, last: str
) -> None:
    assert ids(f"sqlite:///{path}", until=until)[-1] == last


def test_a_time_before_everything_means_nothing(daemon: SqliteLog, path: Path) -> None:
    assert ids(path, until="1969-12-31T23:59:59Z") == []


def test_a_time_that_is_none_is_refused_at_once(daemon: SqliteLog, path: Path) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        read_log(path, until="yesterday")


def test_a_read_can_be_narrowed(daemon: SqliteLog, path: Path) -> None:
    assert ids(path, after=2, until=7, subject="CP-1", kinds=["station.removed"]) == ["3", "5", "7"]


@pytest.mark.parametrize("read", [0, 1, 10])
def test_the_log_is_closed_once_it_was_read_or_given_up(crashed: Path, read: int) -> None:
    reading = read_log(crashed)
    for _ in range(read):
        next(reading)
    if read == 10:
        assert next(reading, None) is None
    else:
        del reading

    assert [file for file in open_files() if file.startswith(str(crashed))] == []


def open_files() -> list[str]:
    files: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            files.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return files


def test_a_reader_sees_what_stands_beside_the_events(daemon: SqliteLog, path: Path) -> None:
    snapshot = Snapshot("presence", 1, 10, b"leaf", b"state")
    daemon.keep_snapshots([snapshot])

    with closing(open_reader(path)) as reader:
        assert (reader.position, reader.latest_at, reader.position_at(5)) == (10, 10, 5)
        assert reader.snapshot("presence") == snapshot
        assert (dict(reader.beats()), dict(reader.attempts())) == ({}, {})
        assert reader.log_id == daemon.log_id


def test_a_reader_writes_nothing(daemon: SqliteLog, path: Path) -> None:
    with closing(open_reader(path)) as reader:
        for write in (
            lambda: reader.append([some_entry("x")]),
            lambda: reader.keep_snapshots([Snapshot("p", 1, 1, b"", b"")]),
            reader.recover,
        ):
            with pytest.raises(LogUnavailable, match="opened for reading alone"):
                write()


def test_an_audit_imports_no_trio() -> None:
    code = (
        "import sys, stationkeeper.engine as e; e.read_log, e.fold; print({'trio', 'sqlite_utils'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_a_missing_log_is_named_and_not_made(tmp_path: Path) -> None:
    for nothing in (tmp_path / "no.db", tmp_path / "empty.db"):
        if nothing.name == "empty.db":
            nothing.touch()
        with pytest.raises(LogMissing, match=f"there is no log at .*{nothing.name}"):
            read_log(nothing)
    assert os.listdir(tmp_path) == ["empty.db"]


def test_something_else_is_named(tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    diary.write_text("Dear diary, " * 1000)

    with pytest.raises(LogForeign, match="is not a SQLite database"):
        read_log(diary)
    with pytest.raises(LogForeign, match="is a folder"):
        read_log(tmp_path)


def test_a_newer_log_is_not_guessed_at(daemon: SqliteLog, path: Path) -> None:
    daemon.fetch(f"PRAGMA user_version = {LAYOUT + 1}", ())

    with pytest.raises(LogNewer):
        read_log(path)


@pytest.mark.parametrize("damage", ["DELETE FROM meta", "DROP TABLE head"])
def test_a_damaged_log_is_called_damaged(daemon: SqliteLog, path: Path, damage: str) -> None:
    daemon.close()
    connection = connect(path, mode="rw")
    connection.execute(damage)
    connection.close()

    with pytest.raises(LogDamaged):
        read_log(path)


def test_a_log_that_may_not_be_read_says_so(daemon: SqliteLog, path: Path, without_root: Unprivileged) -> None:
    path.chmod(0o600)

    with without_root(), pytest.raises(LogUnavailable, match="check the rights"):
        read_log(path)

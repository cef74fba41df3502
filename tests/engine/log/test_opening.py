"""Opening a SQLite log: whose it is, whether it is one, and whether it is whole."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from stationkeeper.engine.errors import (
    LogDamaged,
    LogForeign,
    LogLocked,
    LogMissing,
    LogNewer,
)
from stationkeeper.engine.log.driver import (
    LAYOUT,
    connect,
    wal_of,
)
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

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


# --- somebody else, something else ---------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_holds_the_log(log: SqliteLog, path: Path) -> None:
    with pytest.raises(LogLocked, match=rf"is being written by process {os.getpid()} \(.+\) on .+ since 2") as caught:
        open_log(path)
    assert str(path) in str(caught.value)


def test_the_lock_names_no_arguments(log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.close()
    monkeypatch.setattr("sys.argv", ["/usr/bin/stationkeeper", "--token", "hunter2"])
    open_log(path).close()

    assert json.loads((path.parent / "fleet.db.lock").read_text())["command"] == "stationkeeper"


def test_the_lock_ends_with_the_log(log: SqliteLog, path: Path) -> None:
    log.close()

    open_log(path).close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogMissing, match=r"the folder .*nowhere does not exist"):
        open_log(tmp_path / "nowhere" / "fleet.db")


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogForeign, match="is no file"):
        open_log(tmp_path)


def test_another_kind_of_url_is_refused() -> None:
    with pytest.raises(LogForeign, match="write a path or sqlite:///path"):
        open_log("postgresql://db/fleet")


def test_a_file_of_another_kind_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)

    with pytest.raises(LogForeign, match="is not a SQLite database"):
        open_log(path)
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_a_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = wal")
    other.execute("CREATE TABLE event (position INTEGER)")
    other.commit()
    before = path.read_bytes(), wal_of(path).read_bytes()

    with pytest.raises(LogForeign, match="of another program"):
        open_log(path)
    assert (path.read_bytes(), wal_of(path).read_bytes()) == before
    other.close()


def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()

    log = open_log(path)
    assert log.append([some_entry("a")]) == [1]
    log.close()


def test_a_wal_without_its_log_is_not_thrown_away(log: SqliteLog, path: Path) -> None:
    log.append([some_entry("a")])
    wal = wal_of(path).read_bytes()
    log.close()
    path.unlink()
    wal_of(path).write_bytes(wal)

    with pytest.raises(LogDamaged, match=r"is gone, but fleet\.db-wal beside it may hold events"):
        open_log(path)
    assert wal_of(path).read_bytes() == wal


def test_a_log_of_a_newer_release_is_not_touched(log: SqliteLog, path: Path) -> None:
    log.close()
    ask(path, f"PRAGMA user_version = {LAYOUT + 1}")

    with pytest.raises(LogNewer, match="upgrade Stationkeeper"):
        open_log(path)


def test_a_half_made_log_is_made_again(path: Path) -> None:
    path.with_name("fleet.db.new").write_bytes(b"half")

    log = open_log(path)
    assert log.position == 0
    log.close()


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event WHERE position = 3",
        "DELETE FROM event WHERE position = 1",
        "UPDATE head SET position = 2",
        "DELETE FROM head",
        "DELETE FROM meta",
        "DROP TABLE head",
    ],
)
def test_a_log_that_contradicts_itself_is_refused(log: SqliteLog, path: Path, damage: str) -> None:
    log.append([some_entry(str(n)) for n in range(3)])
    log.close()
    ask(path, damage)

    with pytest.raises(LogDamaged, match="damaged"):
        open_log(path)


EATS = "CREATE TRIGGER eats AFTER INSERT ON event BEGIN DELETE FROM event WHERE position = NEW.position; END"
PLANTED = [
    (EATS, "trigger 'eats'"),
    ("CREATE TRIGGER other AFTER INSERT ON beat BEGIN SELECT 1; END", "trigger 'other'"),
    ("CREATE VIEW seen AS SELECT * FROM event", "view 'seen'"),
    ("CREATE UNIQUE INDEX refuses ON event (run)", "index 'refuses'"),
    ("DROP INDEX event_id", "lost its index 'event_id'"),
    ("ALTER TABLE beat ADD COLUMN more TEXT", "table 'beat'"),
    ("DROP TABLE attempt", "lost its index 'attempt_at', index 'sqlite_autoindex_attempt_1', table 'attempt'"),
    (f"INSERT INTO sqlite_schema VALUES ('table', 'harmless', 'harmless', 0, '{EATS}')", "harmless"),
    (f"INSERT INTO sqlite_schema VALUES ('table', 'beat', 'beat', 0, '{EATS}')", "beat"),
]


@pytest.mark.parametrize(("statement", "named"), PLANTED)
def test_what_was_planted_in_the_schema_is_named_before_it_acts(
    log: SqliteLog, path: Path, statement: str, named: str
) -> None:
    log.append([some_entry("a")])
    log.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(statement)
        connection.commit()

    with pytest.raises(LogDamaged, match=named):
        open_log(path)


def test_what_was_planted_in_a_log_of_an_older_layout_is_named_before_it_migrates(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "vectors" / "logs" / "0.1.0-stopped.db.gz"
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(kept.read_bytes()))
    ask(path, "CREATE TRIGGER eats AFTER INSERT ON attempt BEGIN DELETE FROM attempt; END")

    with pytest.raises(LogDamaged, match="trigger 'eats'"):
        open_log(path)
    assert ask(path, "PRAGMA user_version") == [(1,)]


def test_names_that_are_quoted_otherwise_and_tables_of_others_are_no_damage(log: SqliteLog, path: Path) -> None:
    log.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (note TEXT PRIMARY KEY)")
        connection.execute("CREATE INDEX by_note ON mine (note)")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, '\"', '`'), '   ', ' ')")
        connection.commit()

    open_log(path).close()


def test_a_torn_page_is_called_damage(log: SqliteLog, path: Path) -> None:
    log.append([some_entry(str(n)) for n in range(500)])
    log.close()
    content = bytearray(path.read_bytes())
    content[-4096 * 20 :] = b"\xff" * 4096 * 20
    path.write_bytes(content)

    with pytest.raises(LogDamaged):
        list(open_log(path).read())


def test_a_link_to_a_log_is_the_log(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "fleet.db", tmp_path / "link.db"
    link.symlink_to(real)
    writer = open_log(link)
    writer.append([some_entry("a")])

    with closing(open_reader(link)) as reader:
        assert reader.position == 1, "what is in the -wal was read"
    for way in (link, real, f"sqlite:///{link}"):
        with pytest.raises(LogLocked):
            open_log(way)
    writer.close()
    assert [file.name for file in tmp_path.iterdir() if file.name != "far"] == ["link.db"]
    with closing(open_log(real)) as log:
        assert log.position == 1

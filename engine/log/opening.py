"""How a SQLite log is made, looked at, and set before it is used."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ..errors import LogDamaged, LogUnavailable
from ..events import Micros
from . import queries, schema
from .driver import LAYOUT, SqliteConnection, SqliteError, connect, explain, wal_of
from .files import check_application, check_newer, sync_folder

PRAGMAS: Final[Mapping[str, str | int]] = {
    # Readers never wait for the writer, nor it for them; one sync a commit.
    "journal_mode": "wal",
    # FULL: the WAL is synced at each commit. NORMAL would lose acknowledged events with the power.
    "synchronous": 2,
    # macOS: an fsync that reaches the disk. Elsewhere without effect.
    "fullfsync": 1,
    # Automatic checkpoints swallow errors of fsync; ours are looked at.
    "wal_autocheckpoint": 0,
    # Check pages as they are read, so that damage is found before it is written on.
    "cell_size_check": 1,
    # Nothing that somebody put into the schema may call functions with side effects.
    "trusted_schema": 0,
    # KiB: the subject index of a large fleet is written at random; with the default of 2 MB it would be read again.
    "cache_size": -16_384,
    # Bytes: after an import or beside a slow reader the WAL shrinks again.
    "journal_size_limit": 64 << 20,
}


def make(path: Path) -> None:
    """Make an empty log under another name, and give it its own when it is whole.

    Raises:
        LogUnavailable: the folder cannot be written, or the disk is full.
    """
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        connection = connect(new, mode="rwc")
        try:
            schema.migrate(connection, at=time.time_ns() // 1000)
            connection.execute("PRAGMA journal_mode = wal")
        finally:
            connection.close()
        new.rename(path)
        sync_folder(path.parent)
    except SqliteError as error:
        raise explain(error, path) from error
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be made ({error.strerror}); check the rights of its folder") from error


def check_kind(path: Path) -> None:
    """Check that a file is a log, without a write to it: SQLite may change what it opens for writing.

    Where there is a `-wal` it is read along: a checkpoint that was cut off leaves a file that makes no sense alone.

    Raises:
        LogForeign: it is something else.
    """
    options = {"mode": "ro"} if wal_of(path).exists() else {"immutable": "1"}
    try:
        with closing(connect(path, **options)) as connection:
            ((found,),) = connection.execute("PRAGMA application_id").fetchall()
    except SqliteError as error:
        raise explain(error, path) from error
    check_application(found, path)


def check_layout(connection: SqliteConnection, path: Path) -> None:
    """Check that this release knows the log's layout, and all that is in its schema; bring an older one up to date."""

    def fetch(query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return connection.execute(query, values).fetchall()

    ((layout,),) = connection.execute("PRAGMA user_version").fetchall()
    check_newer(layout, path)
    # Before anything is written: what was planted could act on the first write.
    schema.check(fetch, layout, path)
    if layout < LAYOUT:
        schema.migrate(connection, at=time.time_ns() // 1000)
        schema.check(fetch, LAYOUT, path)


def set_pragmas(connection: SqliteConnection, pragmas: Mapping[str, str | int], path: Path) -> None:
    """Set pragmas, and read each back: SQLite ignores in silence what it does not know or cannot do."""
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}")
        ((found,),) = connection.execute(f"PRAGMA {name}").fetchall()
        if found != value:
            raise LogUnavailable(f"{path}: SQLite did not accept {name} = {value}, but says {found}")


def check_content(fetch: queries.Fetch, path: Path) -> tuple[int, Micros]:
    """Check in a moment what can be: that the head and the ends of the log agree. Return the head.

    Raises:
        LogDamaged: they do not.
    """
    heads = fetch("SELECT position, latest_at FROM head", ())
    ((first, last),) = fetch("SELECT min(position), max(position) FROM event", ())
    if len(heads) != 1 or (first or 1, last or 0) != (1, heads[0][0]):
        raise LogDamaged(
            f"{path} is damaged: its head says {heads}, its events go from {first} to {last}; restore from a backup"
        )
    head: tuple[int, Micros] = heads[0]
    return head

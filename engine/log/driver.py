"""The SQLite library, and what its errors mean for a log.

One SQLite library serves the whole process: two of them on one file would drop each other's POSIX locks. pysqlite3 is
taken where it is installed, as sqlite-utils takes it, because it brings its own, newer SQLite (ADR 3).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

from ..errors import LogDamaged, LogError, LogForeign, LogUnavailable

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3
    except ImportError:
        import sqlite3

__all__ = [
    "APPLICATION_ID",
    "BUSY_TIMEOUT",
    "LAYOUT",
    "VERSION",
    "IntegrityError",
    "SqliteConnection",
    "SqliteError",
    "connect",
    "damage_or",
    "explain",
    "log_path",
    "wal_of",
    "warn_of_wal_reset",
]

SqliteConnection: TypeAlias = sqlite3.Connection
SqliteError: TypeAlias = sqlite3.Error
IntegrityError: TypeAlias = sqlite3.IntegrityError

VERSION: Final[tuple[int, ...]] = sqlite3.sqlite_version_info
"""Of the SQLite in use."""
APPLICATION_ID: Final = 0x53544B50
"""`STKP`, in the header of every log: `file` and we can tell it from any other SQLite database."""
LAYOUT: Final = 2
"""The number of the newest migration in `schema`; a log with a higher `user_version` was written by a newer release."""
BUSY_TIMEOUT: Final = 1.0
"""Seconds to wait for another program's lock on the file. Only a stray tool holds one: our writers hold the flock."""

_log = logging.getLogger(__name__)

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 15, 26
_REMEDIES: Final = {
    _BUSY: "another program holds a lock on it; end that program",
    _LOCKED: "another program holds a lock on it; end that program",
    _PROTOCOL: "another program holds a lock on it; end that program",
    _READONLY: "it cannot be written; check the rights of the file and its folder, and how the file system is mounted",
    _IOERR: "the disk failed, or may hold no more; check the disk, its limits and the system's messages",
    _FULL: "the disk is full, or the file may not grow; free some space",
    _CANTOPEN: "it cannot be opened; check the rights of the file and its folder, and how many files may be open",
}


def wal_of(path: Path) -> Path:
    """Return the write-ahead log beside a database."""
    return path.with_name(path.name + "-wal")


def log_path(log: str | Path) -> Path:
    """Return the file that a path or a `sqlite:///path` means; of a symbolic link the file that it leads to.

    What stands beside a log (`-wal`, lock, secrets, checkpoint) stands beside the file: whoever came by the link would
    else look for it beside the link, and find nothing.

    Raises:
        LogForeign: it is a URL of another kind.
    """
    if isinstance(log, str):
        if "://" in log.removeprefix("sqlite:///"):
            raise LogForeign(f"{log!r} is no log that this release can open; write a path or sqlite:///path")
        log = Path(log.removeprefix("sqlite:///"))
    return log.resolve() if log.is_symlink() else log


def connect(path: Path, **options: str) -> SqliteConnection:
    """Open a connection with URI options (`mode`, `immutable`, `vfs`); transactions are ours to begin and end.

    Nothing is read from the file yet. It may be used in any thread, by one at a time.
    """
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{query}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=32,
    )


def explain(error: SqliteError, path: Path) -> LogError | SqliteError:
    """Return what a SQLite error means for the log, in words that say what to do; other errors as they are."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    name = getattr(error, "sqlite_errorname", "")
    if code == _CORRUPT:
        return LogDamaged(f"{path} is damaged ({name}: {error}); keep the file, and restore from a backup")
    if code == _NOTADB:
        return LogForeign(f"{path} is not a SQLite database, so no log of Stationkeeper; it was left as it is")
    remedy = _REMEDIES.get(code)
    if remedy is None:
        return error
    return LogUnavailable(f"{path} is not available ({name}: {error}): {remedy}")


def damage_or(meaning: LogError | SqliteError, path: Path) -> LogError:
    """Return an error met while opening a log; what no outside cause explains (a missing table) is damage."""
    if isinstance(meaning, LogError):
        return meaning
    return LogDamaged(f"{path} is damaged ({meaning}); keep the file, and restore from a backup")


def warn_of_wal_reset(version: tuple[int, ...] = VERSION) -> bool:
    """Say in the program's log whether this SQLite has the WAL-reset bug, and return it.

    https://sqlite.org/wal.html#walresetbug: in a rare race of a checkpoint with another connection's write a database
    may be damaged. One writer that checkpoints itself, as ours does, does not meet it, but another tool might.
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if not fixed:
        _log.warning(
            "SQLite %s has the WAL-reset bug, fixed in 3.51.3; a newer system brings one without, or pysqlite3 does",
            ".".join(map(str, version)),
        )
    return not fixed

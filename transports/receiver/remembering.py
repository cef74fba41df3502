"""Versions that outlive a restart, in a small SQLite file that several processes may share.

Servers fork after they opened it (sqlite.org/howtocorrupt.html, 2.6). SQLite's locks are the process's, and what it
knows of them is copied with the process, so:

* No write-ahead log: a child would believe that it holds the lock its parent took on it, and the parent, the last to
  close by the kernel's account, would delete the log that the child writes to. With a rollback journal a connection
  holds no lock between two statements.
* Nobody forks within a statement. One lock for all files sees to that, also in threads that would never let go of it.
* A child opens the file anew, and neither uses nor closes its parent's connection.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final
from weakref import WeakSet

_PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes; a write takes milliseconds."""
_LOCK: Final = Lock()
"""Held while a file is used, and while the process forks."""


class _Held:
    """What a process may hold open of a file."""

    connection: sqlite3.Connection | None = None


class SQLiteVersions:
    """Keeps versions in a file. Threads and processes may share it, also over a fork.

    What `put` returned True for is on the disk. Each method raises `sqlite3.Error` where the file cannot be read or
    written: answer 500 then, and the message comes again.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._held = _Held()
        _ALL_HELD.add(self._held)

    def get(self, station: str, type: str = "") -> int:
        """Return the version kept; 0 if there is none."""
        look = "SELECT version FROM version WHERE station = ? AND type = ?"
        with _LOCK:
            row = self._open().execute(look, (station, type)).fetchone()
        return 0 if row is None else int(row[0])

    def put(self, station: str, version: int, type: str = "") -> bool:
        """Keep a version if it is higher than the one kept, and return whether it was."""
        with _LOCK:
            # One statement, so that no other process comes between the look and the write.
            done = self._open().execute(
                "INSERT INTO version (station, type, version) SELECT ?, ?, ? WHERE ? > 0 ON CONFLICT (station, type) "
                "DO UPDATE SET version = excluded.version WHERE excluded.version > version.version",
                (station, type, version, version),
            )
        return done.rowcount > 0

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with _LOCK:
            if self._held.connection is not None:
                self._held.connection.close()
            self._held.connection = None

    def __enter__(self) -> SQLiteVersions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if self._held.connection is None:
            connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = DELETE")
            # FULL would not sync the folder: the journal could be back after a power cut, and undo what was kept.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS version (station TEXT, type TEXT, version INTEGER NOT NULL, "
                "PRIMARY KEY (station, type)) WITHOUT ROWID"
            )
            self._held.connection = connection
        return self._held.connection


_ALL_HELD: Final = WeakSet[_Held]()
_INHERITED: Final[list[sqlite3.Connection]] = []
"""Connections of our parents: kept, because one that is dropped is closed."""


def _begin_as_child() -> None:
    for held in _ALL_HELD:
        if held.connection is not None:
            _INHERITED.append(held.connection)
        held.connection = None
    # Whoever held it is the thread that forked, or is not there any more.
    if _LOCK.locked():
        _LOCK.release()


if sys.platform != "win32":
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_begin_as_child)

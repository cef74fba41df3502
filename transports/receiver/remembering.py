"""Versions that outlive a restart, in a small SQLite file that several processes may share."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final

_PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes; a write takes milliseconds."""


class SQLiteVersions:
    """Keeps versions in a file. Threads and processes may share it.

    What `put` returned True for is on the disk. Each method raises `sqlite3.Error` where the file cannot be read or
    written: answer 500 then, and the message comes again.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._lock = Lock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None

    def get(self, station: str) -> int:
        """Return the version kept; 0 if there is none."""
        with self._lock:
            row = self._open().execute("SELECT version FROM version WHERE station = ?", (station,)).fetchone()
        return 0 if row is None else int(row[0])

    def put(self, station: str, version: int) -> bool:
        """Keep a version if it is higher than the one kept, and return whether it was."""
        with self._lock:
            # One statement, so that no other process comes between the look and the write.
            done = self._open().execute(
                "INSERT INTO version (station, version) SELECT ?, ? WHERE ? > 0 ON CONFLICT (station) "
                "DO UPDATE SET version = excluded.version WHERE excluded.version > version.version",
                (station, version, version),
            )
        return done.rowcount > 0

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._lock:
            # A connection of the process that forked us is not ours to close (sqlite.org/howtocorrupt.html, 2.6).
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> SQLiteVersions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():
            connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS version (station TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._connection, self._process = connection, os.getpid()
        return self._connection

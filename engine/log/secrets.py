"""Secrets beside a log, in a file of their own: `<log>.secrets`.

Station credentials and signing secrets stand here under random ids; the log holds the ids alone, so that it can be
kept for ever and handed to auditors. What is forgotten is overwritten. The file names the log that it belongs to: a
log beside another's secrets, or beside none, is a copy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

from ..errors import LogForeign, LogNewer, LogUnavailable, SecretsExposed
from .driver import SqliteConnection, SqliteError, connect, explain
from .opening import set_pragmas

_APPLICATION_ID: Final = 0x53544B53
"""`STKS`, in the header of every secrets file."""
_LAYOUT: Final = 1

_PRAGMAS: Final[dict[str, str | int]] = {
    # The journal is gone after each commit, and there is no WAL to keep old pages.
    "journal_mode": "delete",
    # What is deleted is overwritten with zeros.
    "secure_delete": 1,
    # EXTRA: the folder is synced after each commit, too. With less the journal that a commit removed may come back with
    # the power, and SQLite would take the commit back: a password that was printed would be gone, a forgotten one here.
    "synchronous": 3,
    "fullfsync": 1,
    "trusted_schema": 0,
    # Nothing spills into files elsewhere.
    "temp_store": 2,
}


class Secrets(Protocol):
    """Secrets by id. Every change is durable when the call returns."""

    @property
    def held(self) -> bool:
        """Whether they came out of a backup, and nobody has adopted the log since: nothing is to be sent with them."""
        ...

    def keep(self, id: str, secret: bytes) -> None:
        """Keep a secret under an id, in place of an older one."""
        ...

    def get(self, id: str) -> bytes | None:
        """Return a secret; none if there is none of that id."""
        ...

    def forget(self, id: str) -> None:
        """Forget a secret for good: its bytes are overwritten. Twice is harmless."""
        ...

    def ids(self) -> frozenset[str]:
        """Return the ids of all secrets."""
        ...

    def close(self) -> None:
        """Close. Twice is harmless."""
        ...


class MemorySecrets:
    """Secrets that are gone with the process, for tests, examples and logs in memory."""

    def __init__(self) -> None:
        self.held = False
        self._secrets: dict[str, bytes] = {}

    def keep(self, id: str, secret: bytes) -> None:
        self._secrets[id] = secret

    def get(self, id: str) -> bytes | None:
        return self._secrets.get(id)

    def forget(self, id: str) -> None:
        self._secrets.pop(id, None)

    def ids(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def close(self) -> None:
        self._secrets.clear()


class SecretsFile:
    """Secrets in a SQLite file that nobody but its owner may read. `open_secrets` opens one. Any thread may use it.

    They are read from memory, where those who sign and compare need them anyway: `get` and `ids` wait for no disk, nor
    for a change that another thread is writing.
    """

    def __init__(self, path: Path, connection: SqliteConnection) -> None:
        self.path = path
        self._turn = Lock()
        self._connection: SqliteConnection | None = connection
        self._secrets: dict[str, bytes] = dict(self._run("SELECT id, secret FROM secret"))
        self.held = bool(self._run("SELECT 1 FROM meta WHERE key = 'held'"))
        """Whether they came out of a backup, and nobody has adopted the log since."""

    def keep(self, id: str, secret: bytes) -> None:
        with self._turn:
            self._run("INSERT OR REPLACE INTO secret (id, secret) VALUES (?, ?)", id, secret)
            self._secrets[id] = secret

    def get(self, id: str) -> bytes | None:
        self._check_open()
        return self._secrets.get(id)

    def forget(self, id: str) -> None:
        with self._turn:
            self._run("DELETE FROM secret WHERE id = ?", id)
            self._secrets.pop(id, None)

    def ids(self) -> frozenset[str]:
        self._check_open()
        # One step of the interpreter, so that no thread changes the dictionary half way.
        return frozenset(self._secrets.copy())

    def hold(self) -> None:
        """Let nothing be sent with these secrets until somebody adopts the log."""
        with self._turn:
            self._run("INSERT OR REPLACE INTO meta (key, value) VALUES ('held', '')")
            self.held = True

    def pragma(self, name: str) -> str | int:
        """Return how SQLite is set for this file."""
        with self._turn:
            found: str | int = self._run(f"PRAGMA {name}")[0][0]
        return found

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                connection.close()
                self._secrets = {}

    def _check_open(self) -> SqliteConnection:
        if self._connection is None:
            raise LogUnavailable(f"{self.path} is closed")
        return self._connection

    def _run(self, query: str, *values: str | bytes) -> Sequence[tuple[Any, ...]]:
        connection = self._check_open()
        try:
            return connection.execute(query, values).fetchall()
        except SqliteError as error:
            raise explain(error, self.path) from error


def secrets_path(log: Path) -> Path:
    """Return where a log's secrets stand."""
    return log.with_name(log.name + ".secrets")


def open_secrets(log: Path, log_id: str, *, create: bool) -> SecretsFile | None:
    """Open the secrets of a log; whoever calls this holds the log's lock.

    With *create* a missing file is made, one that belonged to another log is taken over, and one that was held speaks
    again: for a new log, or for a copy that is to speak from now on. Without it, None tells that the log is a copy: it
    must send nothing.

    Raises:
        SecretsExposed: others than the owner may read the file.
        LogForeign: it is something else; it is left as it is.
        LogNewer: a newer release wrote it.
        LogUnavailable: it cannot be read or written.
    """
    path = secrets_path(log)
    if not path.exists():
        if not create:
            return None
        make_private(path)
    check_private(path)
    try:
        connection = connect(path, mode="rw")
        try:
            owner = _prepare(connection, path, log_id, create=create)
        except BaseException:
            connection.close()
            raise
    except SqliteError as error:
        raise explain(error, path) from error
    if owner != log_id:
        connection.close()
        return None
    try:
        return SecretsFile(path, connection)
    except BaseException:
        connection.close()
        raise


def check_private(path: Path) -> None:
    """Check that nobody but its owner may read a secrets file, or a journal that a crash left beside it.

    Raises:
        SecretsExposed: somebody else may; the message says how to mend it.
    """
    for file in (path, path.with_name(path.name + "-journal"), path.with_name(path.name + "-wal")):
        if file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
            raise SecretsExposed(
                f"{file} holds secrets, but others may read or write it (mode {mode:04o}); "
                f"chmod 600 {file.name}, and rotate the secrets if somebody may have read them"
            )


def make_private(path: Path) -> None:
    """Make an empty file that nobody but its owner may read.

    Raises:
        LogUnavailable: it cannot be made, or is there already.
    """
    # With its mode from the first moment: a chmod afterwards would leave a gap.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be made ({error.strerror}); check the rights of its folder") from error


def _prepare(connection: SqliteConnection, path: Path, log_id: str, *, create: bool) -> str:
    """Check the file, set the pragmas, fill an empty file; return the id of the log that it belongs to."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if application != _APPLICATION_ID and (application or tables):
        raise LogForeign(f"{path} is not a secrets file of Stationkeeper; it was left as it is")
    ((layout,),) = connection.execute("PRAGMA user_version").fetchall()
    if layout > _LAYOUT:
        raise LogNewer(f"{path} has layout {layout}, written by a newer release: upgrade Stationkeeper")
    set_pragmas(connection, _PRAGMAS, path)
    if not tables:
        if not create:
            return ""
        _fill(connection)
    if create:
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('log', ?)", (log_id,))
        connection.execute("DELETE FROM meta WHERE key = 'held'")
    rows = connection.execute("SELECT value FROM meta WHERE key = 'log'").fetchall()
    return rows[0][0] if rows else ""


def _fill(connection: SqliteConnection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE secret (id TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID")
    connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_LAYOUT}")
    connection.execute("COMMIT")

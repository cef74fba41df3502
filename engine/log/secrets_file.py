"""The file that secrets stand in: a small SQLite database, whole or not there, that its owner alone may read.

    secret   id, and what is stored under it: sealed since layout 2 (`sealing`), the secret itself in layout 1
    meta     'log': whose they are; 'key': the id of the key that opens them; 'held': they came out of a backup

What has to change in every row (another key, another log, an older layout) is written into a new file, which then
takes the old one's place: a crash leaves one or the other, and no journal ever holds what stood there before.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from ..errors import LogForeign, LogNewer, LogUnavailable, SecretsExposed
from .driver import SqliteConnection, SqliteError, connect, explain
from .files import erasing, keep_names, make_like, publish, remove
from .opening import set_pragmas
from .sealing import Seal

LAYOUT: Final = 2
_APPLICATION_ID: Final = 0x53544B53
"""`STKS`, in the header of every secrets file."""

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
_PUT: Final = "INSERT OR REPLACE INTO secret (id, secret) VALUES (?, ?)"

Opener = Callable[[str, bytes], bytes]
"""Returns the secret that is stored under an id."""


class Head(msgspec.Struct, frozen=True):
    """What a secrets file says of itself, without a key."""

    layout: int = 0
    """0: it is empty."""
    log: str = ""
    """The id of the log that it belongs to."""
    key: str = ""
    """The id of the key that its secrets are sealed under; empty in layout 1."""
    held: bool = False


def open_file(path: Path) -> SqliteConnection:
    """Open a secrets file that is there.

    Raises:
        SecretsExposed: others than its owner may read it.
        LogUnavailable: it cannot be opened.
    """
    check_private(path)
    try:
        return connect(path, mode="rw")
    except SqliteError as error:
        raise explain(error, path) from error


def read_head(connection: SqliteConnection, path: Path) -> Head:
    """Return what a secrets file says of itself, and set the pragmas.

    Raises:
        LogForeign: it is something else; it is left as it is.
        LogNewer: a newer release wrote it.
        LogUnavailable: it cannot be read.
    """
    try:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if application != _APPLICATION_ID and (application or tables):
            raise LogForeign(f"{path} is not a secrets file of Stationkeeper; it was left as it is")
        ((layout,),) = connection.execute("PRAGMA user_version").fetchall()
        if layout > LAYOUT:
            raise LogNewer(f"{path} has layout {layout}, written by a newer release: upgrade Stationkeeper")
        set_pragmas(connection, _PRAGMAS, path)
        if not tables:
            return Head()
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except SqliteError as error:
        raise explain(error, path) from error
    return Head(layout, meta.get("log", ""), meta.get("key", ""), "held" in meta)


def head_of(path: Path) -> Head:
    """Return what a secrets file that is there says of itself.

    Raises:
        LogError: as `open_file` and `read_head`.
    """
    with closing(open_file(path)) as connection:
        return read_head(connection, path)


def fill(
    connection: SqliteConnection, path: Path, log: str, key: str, *, held: bool = False,
    rows: Iterable[tuple[str, bytes]] = (),
) -> None:  # fmt: skip
    """Make a secrets file of an empty one.

    Raises:
        LogUnavailable: it cannot be written.
    """
    meta = [("log", log), ("key", key), *([("held", "")] if held else [])]
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE secret (id TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID")
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta)
        connection.executemany(_PUT, rows)
        connection.execute("COMMIT")
    except SqliteError as error:
        raise explain(error, path) from error
    finally:
        _roll_back(connection)


def put(connection: SqliteConnection, path: Path, rows: Iterable[tuple[str, bytes]]) -> None:
    """Store values under ids, in place of older ones; all of them or none. Durable on return.

    Raises:
        LogUnavailable: they cannot be written.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_PUT, rows)
        connection.execute("COMMIT")
    except SqliteError as error:
        raise explain(error, path) from error
    finally:
        _roll_back(connection)


def hold(path: Path, *, held: bool) -> None:
    """Let nothing be sent with the secrets in a file until somebody adopts the log; or let it.

    It takes no key, so that a backup needs none.

    Raises:
        LogError: as `open_file` and `read_head`; or it cannot be written.
    """
    with closing(open_file(path)) as connection:
        if read_head(connection, path).held == held:
            return
        try:
            if held:
                connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('held', '')")
            else:
                connection.execute("DELETE FROM meta WHERE key = 'held'")
        except SqliteError as error:
            raise explain(error, path) from error


def write_anew(path: Path, opened: Opener, seal: Seal) -> None:
    """Write all secrets of a file anew, under a seal; they and their key stay together through any crash.

    Raises:
        LogDamaged: a secret cannot be opened; nothing was changed.
        LogError: as `open_file` and `read_head`; or it cannot be written.
    """
    new = path.with_name(path.name + ".new")
    with closing(open_file(path)) as connection:
        held = read_head(connection, path).held
        try:
            # Nobody reads it meanwhile: whoever copies it would copy what is overwritten below.
            connection.execute("BEGIN EXCLUSIVE")
            rows = connection.execute("SELECT id, secret FROM secret").fetchall()
        except SqliteError as error:
            raise explain(error, path) from error
        sealed = [(id, seal.close(id, opened(id, stored))) for id, stored in rows]
        try:
            sweep(path)
            make_like(new, path)
            with closing(open_file(new)) as fresh:
                set_pragmas(fresh, _PRAGMAS, new)
                fill(fresh, new, seal.log_id, seal.key.id, held=held, rows=sealed)
            # A journal that a crash had left, and that was rolled back just now, must not come back beside the new one.
            keep_names(path)
            with erasing(path):
                publish(new, path)
        except BaseException:
            with suppress(LogUnavailable):  # the first error tells more; the next opening removes it
                sweep(path)
            raise


def sweep(path: Path) -> None:
    """Remove what is left of a file that was being written anew when the process died. The log's lock is held.

    Raises:
        LogUnavailable: it cannot be removed.
    """
    new = path.with_name(path.name + ".new")
    for left in (new, new.with_name(new.name + "-journal")):
        if left.exists():
            remove(left)


def drop(path: Path, id: str) -> None:
    """Remove what is stored under an id, whatever it is. It takes no key.

    Raises:
        LogError: as `open_file` and `read_head`; or it cannot be written.
    """
    with closing(open_file(path)) as connection:
        read_head(connection, path)
        try:
            connection.execute("DELETE FROM secret WHERE id = ?", (id,))
        except SqliteError as error:
            raise explain(error, path) from error


def stored_under(path: Path, id: str) -> bytes | None:
    """Return what is stored under an id, as it is; none if there is nothing.

    Raises:
        LogError: as `open_file` and `read_head`.
    """
    with closing(open_file(path)) as connection:
        read_head(connection, path)
        try:
            rows = connection.execute("SELECT secret FROM secret WHERE id = ?", (id,)).fetchall()
        except SqliteError as error:
            raise explain(error, path) from error
    return rows[0][0] if rows else None


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


def _roll_back(connection: SqliteConnection) -> None:
    """End a transaction that did not come to its end; closing ends it where that fails."""
    if connection.in_transaction:
        with suppress(SqliteError):
            connection.execute("ROLLBACK")

"""Copies of a log's files: the log itself, its secrets, and a new log that bears the id of another one.

A copy is made under a name of its own, and gets its real one when it is whole and on the disk.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from ..entry import Recorded
from ..errors import LogForeign, LogMissing, LogUnavailable
from .driver import SqliteConnection, SqliteError, connect, explain
from .files import remove
from .opening import make
from .reading import LogReader
from .secrets import belong, secrets_path
from .secrets_file import check_private, head_of, hold, make_private
from .sqlite import SqliteLog, open_log

_ENDS: Final = (
    *("", "-wal", "-shm", "-journal", ".lock", ".new", ".new-journal"),
    *(".scenes", ".scenes-wal", ".scenes-shm"),
    *(".secrets", ".secrets-journal", ".secrets.new", ".secrets.new-journal", ".vkey", ".vkey.new"),
)
"""What follows a log's name in the names of files that belong to it."""


def copy_log(log: LogReader, to: Path) -> None:
    """Write a log, as it is at one moment, to a file in place of what was there; `files.publish` makes it durable.

    A daemon may go on writing meanwhile; its `-wal` grows until the copy is done.

    Raises:
        LogDamaged: the log cannot be read.
        LogUnavailable: the file cannot be written.
    """
    with whole_or_absent(to):
        log.copy_into(to)


def copy_secrets(log: Path, log_id: str, to: Path) -> str:
    """Write the secrets of a log to be those of the log at *to*, held: nothing is sent with them until it is adopted.

    They are copied as they stand, and so take no key. Returns the id of the key that they are sealed under; empty where
    an earlier release left them unsealed.

    Raises:
        LogMissing: there are none.
        LogForeign: they belong to another log.
        SecretsExposed: others than their owner may read them.
        LogUnavailable: they cannot be read, or the file cannot be written.
    """
    source, file = secrets_path(log), secrets_path(to)
    if not source.exists():
        raise LogMissing(f"{log} has no secrets beside it ({source.name}), so it is a copy itself")
    check_private(source)
    with whole_or_absent(file):
        remove(file)
        make_private(file)
        try:
            # For writing, so that what a crash left half done is put right first.
            with closing(connect(source, mode="rw")) as connection:
                connection.execute("VACUUM INTO ?", (str(file),))
        except SqliteError as error:
            raise explain(error, file) from error
        if not belong(to, log_id):
            raise LogForeign(f"{source} belongs to another log than {log}; bring the right one, or leave the secrets")
        hold(file, held=True)
        return head_of(file).key


def make_log(path: Path, log_id: str) -> None:
    """Make an empty log of an id that another one was born with.

    Raises:
        LogUnavailable: it cannot be made.
    """
    make(path)
    _change(path, "UPDATE meta SET value = ? WHERE key = 'log'", [(log_id,)])


def wait_for_no_disk(log: SqliteLog) -> None:
    """Let appends to a log on which nobody relies yet be quick; whoever publishes the file has it synced."""

    def loosen(connection: SqliteConnection) -> None:
        connection.execute("PRAGMA synchronous = 0")

    log.rework(loosen)


def mend(path: Path, events: Sequence[Recorded]) -> None:
    """Let events of a log have these leaves and private parts, and forget all that was folded from them.

    Raises:
        LogUnavailable: it cannot be written.
    """
    open_log(path).close()  # brought to this release's layout, which has all of these columns
    _change(
        path,
        "UPDATE event SET private = ?, salt = ?, digest = ?, leaf = ? WHERE position = ?",
        [(event.private, event.salt, event.digest, event.leaf, event.position) for event in events],
        "DELETE FROM snapshot",
    )


def remove_log(path: Path) -> None:
    """Remove a log that never got its real name, with all that stands beside it."""
    for end in _ENDS:
        remove(path.with_name(path.name + end))


@contextmanager
def whole_or_absent(file: Path) -> Generator[None]:
    """Let a file be gone if the block that makes it fails."""
    try:
        yield
    except BaseException:
        for end in ("", "-journal"):
            with suppress(LogUnavailable):  # the first error tells more; the next try begins with removing
                remove(file.with_name(file.name + end))
        raise


def _change(path: Path, query: str, rows: list[tuple[object, ...]], *more: str) -> None:
    try:
        with closing(connect(path, mode="rw")) as connection:
            _in_one(connection, query, rows, *more)
    except SqliteError as error:
        raise explain(error, path) from error


def _in_one(connection: SqliteConnection, query: str, rows: list[tuple[object, ...]], *more: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(query, rows)
    for statement in more:
        connection.execute(statement)
    connection.execute("COMMIT")

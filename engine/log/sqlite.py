"""The embedded log: one SQLite file, one writer.

Theory of operation. Events are rows of the table `event`; the one row of `head` says the newest position, and is
moved in the transaction that writes the events, so positions have no gaps. SQLite's write-ahead log is synced at each
commit (`synchronous=FULL`), so what `append` returned survives `kill -9` and power loss.

1. The writer holds a lock beside the file (`lock`). A log is made under another name and renamed: whole or absent.
2. Before SQLite opens the file for writing, the bytes of its `-wal` are written again and synced (`files`), because
   after a failed fsync the kernel may believe pages clean that the disk never got.
3. A batch that holds nothing old is inserted at one go. When the database finds an id twice, or a run of the batch has
   ended, or the batch ends one, it is rolled back and done again with a look at each entry (`plan`).
4. Automatic checkpoints are off, since they swallow errors: the writer checkpoints, and looks at the result.
5. After an error of SQLite the outcome is unknown. The log refuses appends until `recover` has opened it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import astuple

from ..entry import Beat, Entry
from ..errors import LogDamaged, LogError, LogUnavailable
from ..events import Micros
from . import ATTEMPTS_KEPT, Attempted, Snapshot, queries
from .driver import (
    LAYOUT,
    IntegrityError,
    SqliteConnection,
    SqliteError,
    connect,
    damage_or,
    explain,
    log_path,
    wal_of,
    warn_of_wal_reset,
)
from .files import check_place, is_absent, keep_names, publish, rewrite_wal
from .lock import WriterLock
from .opening import PRAGMAS, check_content, check_kind, check_layout, make, set_pragmas
from .plan import ENDINGS, messages_settled, place, run_ended_by

__all__ = ["SqliteLog", "log_path", "open_log"]

CHECKPOINT_PAGES: Final = 4_000
"""Pages written to the WAL between checkpoints: about 16 MB, some 20 ms of copying."""

_INSERT: Final = f"INSERT INTO event ({queries.COLUMNS}) VALUES ({', '.join('?' * 14)})"
_SPAN: Final = (
    "INSERT INTO span (number, earliest) VALUES (?, ?) "
    "ON CONFLICT (number) DO UPDATE SET earliest = min(earliest, excluded.earliest)"
)


class SqliteLog(queries.Reads):
    """A log in a SQLite file. It implements `Log`; one thread at a time may use it."""

    layout = LAYOUT

    def __init__(self, path: Path, lock: WriterLock) -> None:
        """Made by `open`."""
        self.path = path
        self.log_id = ""
        """Random, drawn when the log was made: it tells a log from its copies beside another secrets file."""
        self.has_wal_reset_bug = warn_of_wal_reset()
        """Whether the SQLite in use has the bug that 3.51.3 fixed."""
        self.wal_left = 0
        """Pages that the last checkpoint could not move, because a reader still needs them."""
        self._lock = lock
        self._connection: SqliteConnection | None = None
        self._failed = ""
        self._pages = 0
        self._head: tuple[int, Micros] = (0, 0)
        self._acknowledged: tuple[int, bytes] = (0, b"")

    @classmethod
    def open(cls, log: str | Path, *, before_making: Callable[[], None] | None = None) -> SqliteLog:
        """Open a log for writing, and make it if there is none, unless *before_making* raises what speaks against it.

        Raises:
            LogLocked: another process writes it; the message says which.
            LogMissing: its folder does not exist.
            LogForeign: the file is something else; it is left byte for byte as it was.
            LogNewer: a newer release wrote it.
            LogDamaged: what it holds contradicts itself.
            LogUnavailable: it cannot be written (rights, full disk, I/O error).
        """
        path = log_path(log)
        check_place(path)
        opened = cls(path, WriterLock(path))
        try:
            if is_absent(path):
                if before_making is not None:
                    before_making()
                make(path)
            else:
                check_kind(path)
            opened._open()
        except BaseException:
            opened.close()
            raise
        return opened

    @property
    def position(self) -> int:
        return self._head[0]

    @property
    def latest_at(self) -> Micros:
        return self._head[1]

    # --- appending -----------------------------------------------------------------------------------------------

    def append(
        self, entries: Sequence[Entry], *, beat: Beat | None = None, attempts: Sequence[Attempted] = ()
    ) -> list[int]:
        connection = self._writable()
        if not entries and beat is None and not attempts:
            return []
        try:
            positions = self._append_new(connection, entries, beat, attempts)
            if positions is None:
                positions = self._append_mixed(connection, entries, beat, attempts)
            self._pages += 5 + len(entries)
            if self._pages >= CHECKPOINT_PAGES:
                self._checkpoint(connection, "PASSIVE")
        except SqliteError as error:
            raise self._failure(error) from error
        finally:
            if connection.in_transaction:
                self._roll_back(connection)
        return positions

    def _append_new(
        self, connection: SqliteConnection, entries: Sequence[Entry], beat: Beat | None, attempts: Sequence[Attempted]
    ) -> list[int] | None:
        """Insert a batch in which nothing is old and no run ends; None, and nothing written, if it is not such."""
        if any(entry.kind in ENDINGS for entry in entries):
            return None
        connection.execute("BEGIN IMMEDIATE")
        if _ended(connection, entries):
            connection.execute("ROLLBACK")
            return None
        first = self._head[0] + 1
        try:
            self._write(connection, entries, beat, attempts)
        except IntegrityError:
            connection.execute("ROLLBACK")
            return None
        self._commit(connection, entries)
        return list(range(first, first + len(entries)))

    def _append_mixed(
        self, connection: SqliteConnection, entries: Sequence[Entry], beat: Beat | None, attempts: Sequence[Attempted]
    ) -> list[int]:
        """Append a batch with a look at each entry."""
        connection.execute("BEGIN IMMEDIATE")

        def known(id: str) -> tuple[int, bytes] | None:
            row: tuple[int, bytes] | None = connection.execute(
                "SELECT position, leaf FROM event WHERE id = ?", (id,)
            ).fetchone()
            return row

        plan = place(entries, head=self._head[0], known=known, ended=_ended(connection, entries))
        self._write(connection, plan.fresh, beat, attempts)
        connection.executemany("INSERT INTO ended (run, position) VALUES (?, ?)", plan.ended)
        self._commit(connection, plan.fresh)
        return plan.positions

    def _write(
        self, connection: SqliteConnection, fresh: Sequence[Entry], beat: Beat | None, attempts: Sequence[Attempted]
    ) -> None:
        position, latest_at = connection.execute("SELECT position, latest_at FROM head WHERE one = 1").fetchone()
        if position != self._head[0]:
            raise LogDamaged(
                f"{self.path} was written by another program: its head is {position}, ours is {self._head[0]}"
            )
        if fresh:
            connection.executemany(_INSERT, [_row(entry, at) for at, entry in enumerate(fresh, position + 1)])
            newest = max(latest_at, max(entry.at for entry in fresh))
            connection.execute(
                "UPDATE head SET position = ?, latest_at = ? WHERE one = 1", (position + len(fresh), newest)
            )
            connection.executemany(_SPAN, _spans(fresh, position))
        if beat is not None:
            connection.execute("INSERT OR REPLACE INTO beat (run, at, listened) VALUES (?, ?, ?)", astuple(beat))
        if attempts:
            connection.executemany(
                "INSERT OR REPLACE INTO attempt (message, round, number, at, due, delay, status, error, settled) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                [astuple(attempt) for attempt in attempts],
            )
        settled = messages_settled(fresh)
        if settled:
            connection.executemany(
                "UPDATE attempt SET settled = 1 WHERE message = ?", [(message,) for message in settled]
            )

    def _commit(self, connection: SqliteConnection, fresh: Sequence[Entry]) -> None:
        connection.execute("COMMIT")
        if fresh:
            position, latest_at = self._head
            self._head = position + len(fresh), max(latest_at, max(entry.at for entry in fresh))
            self._acknowledged = self._head[0], fresh[-1].leaf

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        connection = self._writable()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                f"INSERT OR REPLACE INTO snapshot ({queries.SNAPSHOT}, digest) VALUES (?, ?, ?, ?, ?, ?)",
                [(*astuple(snapshot), queries.digest_of(snapshot)) for snapshot in snapshots],
            )
            self._prune(connection)
            connection.execute("COMMIT")
            self._pages += 5 + sum(len(snapshot.state) for snapshot in snapshots) // 4096
        except SqliteError as error:
            raise self._failure(error) from error
        finally:
            if connection.in_transaction:
                self._roll_back(connection)

    def rework(self, work: Callable[[SqliteConnection], None]) -> None:
        """Let something be done to the file that no append does; for this folder, where SQL is at home.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        connection = self._writable()
        try:
            work(connection)
        except SqliteError as error:
            raise self._failure(error) from error
        finally:
            if connection.in_transaction:
                self._roll_back(connection)

    def replace(self, new: Path) -> None:
        """Let a whole file, which holds what this log holds, take its place; for this folder.

        Raises:
            LogUnavailable: it cannot, or somebody reads the log, who would read on where nobody writes.
        """
        self._disconnect()
        try:
            # The last connection removes it as it closes, so this was not the last.
            if wal_of(self.path).exists():
                raise LogUnavailable(f"{self.path} cannot be written anew while somebody reads it; end that program")
            publish(new, self.path)
        finally:
            self._open()

    def _prune(self, connection: SqliteConnection) -> None:
        """Let telemetry go that nobody needs any more, so that it does not grow for ever."""
        connection.execute("DELETE FROM attempt WHERE at < ?", (self._head[1] - ATTEMPTS_KEPT,))
        connection.execute("DELETE FROM beat WHERE run IN (SELECT run FROM ended)")

    # --- reading -------------------------------------------------------------------------------------------------

    def fetch(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one reading query and return all its rows; for this folder, where SQL is at home."""
        if self._connection is None:
            raise LogUnavailable(f"{self.path} is closed")
        try:
            return self._connection.execute(query, values).fetchall()
        except SqliteError as error:
            raise explain(error, self.path) from error

    # --- opening, failing, recovering, closing -------------------------------------------------------------------

    def recover(self) -> None:
        # Before SQLite closes, too: closing may checkpoint, and a checkpoint relies on a synced WAL.
        rewrite_wal(self.path)
        self._disconnect()
        self._open()

    def close(self) -> None:
        if self._connection is not None and not self._failed:
            with contextlib.suppress(SqliteError):
                # What cannot be moved now stays in the WAL, durable as it is.
                self._checkpoint(self._connection, "TRUNCATE")
        self._disconnect()
        self._lock.release()

    def _open(self) -> None:
        rewrite_wal(self.path)
        try:
            connection = self._connection = connect(self.path, mode="rw")
            set_pragmas(connection, PRAGMAS, self.path)
            check_layout(connection, self.path)
            self.log_id = queries.log_id(self.fetch, self.path)
            self._head = check_content(self.fetch, self.path)
            self._check_acknowledged()
            # A file that may only be read is found now, not at the first event; BEGIN IMMEDIATE alone would pass.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE head SET position = position")
            connection.execute("ROLLBACK")
            keep_names(self.path)
            self._failed = ""
        except SqliteError as error:
            self._disconnect()
            raise damage_or(explain(error, self.path), self.path) from error
        except BaseException:
            self._disconnect()
            raise

    def _check_acknowledged(self) -> None:
        position, leaf = self._acknowledged
        if position and self.fetch("SELECT leaf FROM event WHERE position = ?", (position,)) != [(leaf,)]:
            raise LogDamaged(f"{self.path} lost what was acknowledged: position {position} is not what was written")

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(SqliteError):
                connection.close()

    def _writable(self) -> SqliteConnection:
        if self._failed or self._connection is None:
            raise LogUnavailable(self._failed or f"{self.path} is closed")
        return self._connection

    def _roll_back(self, connection: SqliteConnection) -> None:
        try:
            connection.execute("ROLLBACK")
        except SqliteError:
            # Closing ends the transaction for sure; `recover` opens anew.
            self._failed = self._failed or f"{self.path} could not be rolled back; recover it"
            self._disconnect()

    def _failure(self, error: SqliteError) -> LogError | SqliteError:
        meaning = explain(error, self.path)
        if isinstance(meaning, LogError):
            self._failed = str(meaning)
        return meaning

    def _checkpoint(self, connection: SqliteConnection, mode: str) -> None:
        """Move pages from the WAL into the file, as far as no reader still needs them where they are."""
        _, written, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._pages = self.wal_left = max(written - moved, 0)


open_log: Final = SqliteLog.open
"""Open a log for writing, and make it if there is none."""


def _row(entry: Entry, position: int) -> tuple[object, ...]:
    """Return an entry in the order of `queries.COLUMNS`.

    Its bytes go as `bytearray`, which the driver takes as it is. For each `bytes` it looks for an adapter first, and
    the two exceptions by which it finds none took half of an append.
    """
    return (
        entry.id,
        entry.at,
        entry.kind,
        entry.schema,
        entry.subject,
        entry.gateway,
        entry.run,
        entry.actor,
        bytearray(entry.body),
        bytearray(entry.private),
        bytearray(entry.salt),
        bytearray(entry.digest),
        bytearray(entry.leaf),
        position,
    )


def _spans(fresh: Sequence[Entry], head: int) -> list[tuple[int, Micros]]:
    """Return the spans of positions that new entries fall into, each with the earliest time among them."""
    spans: list[tuple[int, Micros]] = []
    begin = 0
    while begin < len(fresh):
        number = (head + begin) // queries.SPAN
        end = min((number + 1) * queries.SPAN - head, len(fresh))
        spans.append((number, min(entry.at for entry in fresh[begin:end])))
        begin = end
    return spans


def _ended(connection: SqliteConnection, entries: Sequence[Entry]) -> set[str]:
    """Return those runs of a batch that have ended."""
    runs = {entry.run for entry in entries} | {run_ended_by(entry) for entry in entries}
    marks = ", ".join("?" * len(runs))
    return {run for (run,) in connection.execute(f"SELECT run FROM ended WHERE run IN ({marks})", tuple(runs))}

"""Reading a SQLite log, beside a live daemon or without one, and changing nothing.

Theory of operation. How a file is opened depends on what stands beside it:

`live`   a `-wal` is there: a daemon runs, or did until it crashed. SQLite opens with `mode=ro` and shares the
         daemon's `-shm`, or makes one, which is no part of the log.
`still`  no `-wal`: all is in the file. `mode=ro` would make a `-wal`; `immutable=1` makes nothing and takes no locks.
`alone`  a `-wal` is there but no `-shm` may be made, as on read-only media. Through the VFS that takes no locks,
         SQLite keeps its index of the `-wal` in memory.

The last two rest on nobody writing meanwhile, so after each batch the files are looked at: if they changed, the batch
is thrown away and read again through a connection opened anew. No transaction is open between batches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from ..clock import parse_time
from ..entry import Beat, Entry, Recorded
from ..errors import LogDamaged, LogForeign, LogMissing, LogUnavailable
from ..events import Micros
from . import Attempted, Snapshot, queries
from .driver import SqliteConnection, SqliteError, connect, damage_or, explain, log_path, wal_of
from .files import check_application, check_newer, make_like, remove

T = TypeVar("T")

_CANTOPEN: Final = 14
_TRIES: Final = 20
"""How often one batch is read again because a writer came or went; each try needs another writer to come or go."""

_Stamp = tuple[tuple[int, int, int], ...]


class LogReader(queries.Reads):
    """A log opened for reading alone. It implements `Log`; what would write raises `LogUnavailable`."""

    def __init__(self, path: Path) -> None:
        """Made by `open`."""
        self.path = path
        self.way = ""
        """How the file is opened at present: `live`, `still` or `alone`."""
        self.log_id = ""
        self.layout = 0
        self._connection: SqliteConnection | None = None
        self._stamp: _Stamp | None = None
        self._closed = False

    @classmethod
    def open(cls, log: str | Path) -> LogReader:
        """Open a log for reading alone; the file and its `-wal` stay byte for byte as they are.

        Raises:
            LogMissing: there is no log at that place.
            LogForeign: the file is something else.
            LogNewer: a newer release wrote it.
            LogDamaged: it cannot be read.
            LogUnavailable: it may not be read, or the disk fails.
        """
        path = log_path(log)
        if path.is_dir():
            raise LogForeign(f"{path} is a folder; name the log's file")
        if not path.exists() or path.stat().st_size == 0:
            raise LogMissing(f"there is no log at {path}; check the path")
        reader = cls(path)
        try:
            reader.log_id = queries.log_id(reader.fetch, path)
            queries.head(reader.fetch)
        except SqliteError as error:
            reader.close()
            raise damage_or(error, path) from error
        except BaseException:
            reader.close()
            raise
        return reader

    @property
    def position(self) -> int:
        return queries.head(self.fetch)[0]

    @property
    def latest_at(self) -> Micros:
        return queries.head(self.fetch)[1]

    def append(
        self, entries: Sequence[Entry], *, beat: Beat | None = None, attempts: Sequence[Attempted] = ()
    ) -> list[int]:
        raise self._only_reading()

    def recover(self) -> None:
        raise self._only_reading()

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        raise self._only_reading()

    def close(self) -> None:
        self._closed = True
        self._disconnect()

    def _only_reading(self) -> LogUnavailable:
        return LogUnavailable(f"{self.path} was opened for reading alone")

    # --- the three ways ------------------------------------------------------------------------------------------

    def fetch(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one reading query and return all its rows; for this folder, where SQL is at home."""
        return self._surely(lambda connection: connection.execute(query, values).fetchall(), self.path)

    def copy_into(self, file: Path) -> None:
        """Write the log, as it is at one moment, into a new file, without what is left in its unused pages.

        Nobody may read it who may not read the log.

        Raises:
            LogDamaged: the log cannot be read.
            LogUnavailable: the file cannot be written.
        """

        def copy(connection: SqliteConnection) -> None:
            remove(file)
            make_like(file, self.path)
            connection.execute("VACUUM INTO ?", (str(file),))

        self._surely(copy, file)

    def _surely(self, work: Callable[[SqliteConnection], T], blamed: Path) -> T:
        """Return what some work on a connection comes to, once nobody wrote while it was done."""
        if self._closed:
            raise LogUnavailable(f"{self.path} is closed")
        for _ in range(_TRIES):
            connection = self._connection or self._open()
            try:
                done = work(connection)
            except UnicodeDecodeError as error:
                # In what SQLite says of a schema that is no text.
                if self._still_as_it_was():
                    raise LogDamaged(f"{self.path} is damaged ({error}); restore from a backup") from error
            except SqliteError as error:
                if self._still_as_it_was():
                    damaged = isinstance(explain(error, blamed), LogDamaged)
                    raise explain(error, self.path if damaged else blamed) from error
            else:
                if self._still_as_it_was():
                    return done
            self._disconnect()
        raise LogUnavailable(f"writers of {self.path} come and go faster than it can be read; try again")

    def _still_as_it_was(self) -> bool:
        """Return whether what was just read can be trusted; beside a daemon SQLite's own locks see to that."""
        return self._stamp is None or self._stamp == _stamp(self.path)

    def _open(self) -> SqliteConnection:
        for _ in range(_TRIES):
            stamp = _stamp(self.path)
            try:
                self._connection = self._open_once()
            except SqliteError as error:
                if stamp == _stamp(self.path):
                    raise explain(error, self.path) from error
                continue
            self._stamp = None if self.way == "live" else stamp
            if self._still_as_it_was():
                return self._connection
            self._disconnect()
        raise LogUnavailable(f"writers of {self.path} come and go faster than it can be read; try again")

    def _open_once(self) -> SqliteConnection:
        if not wal_of(self.path).exists():
            self.way = "still"
            return self._checked(connect(self.path, immutable="1"))
        try:
            self.way = "live"
            return self._checked(connect(self.path, mode="ro"))
        except SqliteError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != _CANTOPEN or not _is_out_of_writers_reach(self.path):
                raise
        self.way = "alone"
        connection = connect(self.path, mode="ro", vfs="unix-none")
        # Before the first look at the file: only then is the index kept in memory.
        connection.execute("PRAGMA locking_mode = exclusive")
        return self._checked(connection)

    def _checked(self, connection: SqliteConnection) -> SqliteConnection:
        """Return the connection, once it is sure that this is a log that we can read; close it otherwise."""
        try:
            ((application,),) = connection.execute("PRAGMA application_id").fetchall()
            ((self.layout,),) = connection.execute("PRAGMA user_version").fetchall()
            check_application(application, self.path)
            check_newer(self.layout, self.path)
            connection.execute("PRAGMA trusted_schema = 0")
            connection.execute("PRAGMA cell_size_check = 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(SqliteError):
                connection.close()


open_reader: Final = LogReader.open
"""Open a log for reading alone."""


def read_log(
    log: str | Path,
    *,
    after: int = 0,
    until: int | str | None = None,
    subject: str | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[Recorded]:
    """Yield the events of a log, for an audit: a path or `sqlite:///path`, beside a live daemon or without one.

    *until* is a position, or a time (RFC 3339): then up to the last position whose time is at or before it. The file
    and its `-wal` stay byte for byte as they are. The log is closed once all was read, or the iterator is closed.

    Raises:
        LogError: as `open_reader`, at once; and while reading, if the log turns out to be damaged.
        ValueError: *until* is no time.
    """
    moment = parse_time(until) if isinstance(until, str) else None
    # What is wrong is said now, not at the first event; but until then nothing is held open.
    open_reader(log).close()
    return _read_and_close(log, after, until, moment, subject, kinds)


def _read_and_close(
    log: str | Path,
    after: int,
    until: int | str | None,
    moment: Micros | None,
    subject: str | None,
    kinds: Collection[str] | None,
) -> Iterator[Recorded]:
    with contextlib.closing(open_reader(log)) as reader:
        last = reader.position_at(moment) if moment is not None else until
        assert not isinstance(last, str)
        yield from reader.read(after, until=last, subject=subject, kinds=kinds)


def _is_out_of_writers_reach(path: Path) -> bool:
    """Return whether no `-shm` can be read or made for lack of rights, so that nobody with ours can be writing.

    Whatever else stood in the way (no descriptor, a failing disk) must not lead to a connection without locks: in the
    writer's own process its close would drop the writer's locks, as POSIX has it, and the next tool that looks at the
    log would take itself for the last one and remove the `-wal` under the writer.
    """
    shm = path.with_name(path.name + "-shm")
    target, rights = (shm, os.R_OK) if shm.exists() else (path.parent, os.W_OK | os.X_OK)
    return not os.access(target, rights, effective_ids=os.access in os.supports_effective_ids)


def _stamp(path: Path) -> _Stamp:
    """Return what changes whenever somebody writes the log: inode, size and time of the file and its `-wal`."""
    stamps: list[tuple[int, int, int]] = []
    for file in (path, wal_of(path)):
        try:
            found = file.stat()
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except FileNotFoundError:
            stamps.append((0, 0, 0))
    return tuple(stamps)

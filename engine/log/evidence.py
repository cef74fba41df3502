"""What an audit asks of a SQLite log and nobody else does: its tables as they are, and what SQLite says of its file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap
from typing import Final, TypeVar

import msgspec

from ..entry import Recorded
from ..errors import LogDamaged
from ..events import Micros
from . import Snapshot, queries, schema
from .driver import SqliteError
from .reading import LogReader

_COMPLAINTS: Final = 20
"""Of SQLite, at most: the first one is what counts."""
_LEAVES: Final = 20_000
"""Leaves fetched at a time: about a megabyte."""

T = TypeVar("T")


class Ends(msgspec.Struct, frozen=True):
    """Where a log ends, by its head row and by its events, at one moment."""

    head: int
    latest_at: Micros
    last: int
    """The highest position of an event; 0 if there is none."""


class UnreadableRow(Exception):
    """A row is not what a log holds there: text that is no text, or nothing where something must be."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"position {position} cannot be read: {why}")
        self.position = position
        self.why = why


def ends(log: LogReader) -> Ends:
    """Return where a log ends.

    Raises:
        LogDamaged: it has no head, or several.
    """
    heads = "SELECT position, latest_at, (SELECT coalesce(max(position), 0) FROM event) FROM head"
    rows = _fetch(log, heads, (), tuple[int, Micros, int])
    if len(rows) != 1:
        raise LogDamaged(f"{log.path} is damaged: it has {len(rows)} heads instead of one; restore from a backup")
    return Ends(*rows[0])


def batches(log: LogReader, until: int) -> Iterator[list[Recorded]]:
    """Yield all events up to a position, many at a time, in order; those, too, that stand before the first position.

    Raises:
        UnreadableRow: at the first that cannot be read; all before it were yielded.
        LogDamaged: as before, where SQLite says that the file is damaged.
    """
    columns = queries.COLUMNS if log.layout > 1 else queries.COLUMNS_1
    query = f"SELECT {columns} FROM event WHERE position > ? AND position <= ? ORDER BY position LIMIT {queries.BATCH}"
    ((lowest,),) = _fetch(log, "SELECT coalesce(min(position), 1) FROM event", (), tuple[int])
    after = min(lowest, 1) - 1
    while after < until:
        try:
            found = list(starmap(Recorded, log.fetch(query, (after, until))))
        except (SqliteError, LogDamaged) as error:
            yield from _one_by_one(log, query, after)
            raise LogDamaged(f"what follows position {after} cannot be read: {error}") from error
        if not found:
            return
        if found[-1].position <= after:
            raise LogDamaged(f"{log.path} is damaged: after position {after} comes {found[-1].position}")
        yield found
        after = found[-1].position


def _one_by_one(log: LogReader, query: str, after: int) -> Iterator[list[Recorded]]:
    for position in range(after + 1, after + queries.BATCH + 1):
        try:
            found = log.fetch(query, (position - 1, position))
        except SqliteError as error:
            raise UnreadableRow(position, str(error)) from error
        except LogDamaged as error:
            raise LogDamaged(f"position {position} cannot be read: {error}") from error
        if found:
            yield list(starmap(Recorded, found))


def leaves(log: LogReader, until: int) -> Iterator[bytes]:
    """Yield the leaves of the events up to a position, as they are stored."""
    for after in range(0, until, _LEAVES):
        last = min(after + _LEAVES, until)
        query = "SELECT leaf FROM event WHERE position > ? AND position <= ? ORDER BY position"
        yield from (leaf for (leaf,) in log.fetch(query, (after, last)))


def ended(log: LogReader) -> dict[str, int]:
    """Return the runs that ended, as the table says, each with the position that ended it."""
    return dict(_fetch(log, "SELECT run, position FROM ended", (), tuple[str, int]))


def spans(log: LogReader, first: int, last: int) -> dict[int, Micros]:
    """Return the earliest times of some spans of positions, as the table says, by the span's number."""
    query = "SELECT number, earliest FROM span WHERE number >= ? AND number <= ?"
    return dict(_fetch(log, query, (first, last), tuple[int, Micros]))


def stray_spans(log: LogReader) -> dict[int, Micros]:
    """Return the earliest times of spans that no position up to the head falls into, by the span's number."""
    ends = f"(SELECT (position + {queries.SPAN - 1}) / {queries.SPAN} FROM head)"
    query = f"SELECT number, earliest FROM span WHERE number < 0 OR number >= {ends}"
    return dict(_fetch(log, query, (), tuple[int, Micros]))


def snapshots(log: LogReader) -> tuple[list[Snapshot], frozenset[str]]:
    """Return all snapshots that a log keeps, by name, and the names of those whose digest does not fit their state."""
    query = f"SELECT {queries.SNAPSHOT}, {'digest' if log.layout > 1 else 'NULL'} FROM snapshot ORDER BY 1"
    kept: list[Snapshot] = []
    differing = set[str]()
    for row in _fetch(log, query, (), tuple[str, int, int, bytes, bytes, bytes | None]):
        snapshot, digest = Snapshot(*row[:5]), row[5]
        kept.append(snapshot)
        if digest is not None and digest != queries.digest_of(snapshot):
            differing.add(snapshot.name)
    return kept, frozenset(differing)


def planted(log: LogReader) -> str:
    """Return what is wrong with a log's schema, in words; nothing if it is as our migrations make it."""
    try:
        schema.check(log.fetch, log.layout, log.path)
    except LogDamaged as error:
        return str(error)
    except SqliteError as error:
        # A flipped bit may leave words that are no text.
        return f"{log.path} is damaged: its schema cannot be read ({error})"
    return ""


def complaints(log: LogReader) -> list[str]:
    """Return what SQLite finds wrong with the file: its pages, its indexes, ids that are not unique.

    It looks at everything in one go. A daemon may go on writing meanwhile, but its `-wal` grows.
    """
    found = [text for (text,) in _fetch(log, f"PRAGMA integrity_check({_COMPLAINTS})", (), tuple[str])]
    return [] if found == ["ok"] else found


def _fetch(log: LogReader, query: str, values: tuple[int, ...], row: type[T]) -> list[T]:
    """Return the rows of a query, which are of this type.

    Raises:
        LogDamaged: the table is not there, or a value is not what its column says: SQLite hands out what it finds.
    """
    try:
        return msgspec.convert(log.fetch(query, values), list[row])  # type: ignore[valid-type]
    except (SqliteError, msgspec.ValidationError) as error:
        raise LogDamaged(f"{log.path} is damaged ({error}); restore from a backup") from error

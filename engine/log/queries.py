"""What is read from a SQLite log, by the writer and by readers alike.

Nothing here holds a transaction open between batches: each batch is fetched whole, then handed out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import starmap
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..entry import Beat, Recorded
from ..errors import LogDamaged
from ..events import Micros
from . import Attempted, Snapshot
from .plan import CONCERN_ALL

Fetch: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Run a query and return all its rows."""

BATCH: Final = 500
"""Events fetched at a time: a millisecond of one transaction, and about as much as a processor's cache holds."""
_ATTEMPTED: Final = "message, round, number, at, due, delay, status, error"
"""In the order of `Attempted`."""
_WINDOW: Final = 20_000
"""Positions searched at a time when only some kinds are asked for."""

COLUMNS: Final = "id, at, kind, schema, subject, gateway, run, actor, body, private, salt, digest, leaf, position"
"""In the order of `Recorded`."""
COLUMNS_1: Final = COLUMNS.replace("digest", "x''")
"""The same of a log of layout 1, which nobody could redact."""
CONCERNS_ALL: Final = "(substr(kind, 1, 8) IN ('gateway.', 'webhook.') OR kind = 'log.restored')"
"""What the index of `plan.CONCERN_ALL` holds; a query that uses it repeats this."""
SNAPSHOT: Final = "name, version, position, leaf, state"
"""In the order of `Snapshot`."""
SPAN: Final = 1_000
"""Positions in a row of the table `span`."""


def log_id(fetch: Fetch, path: Path) -> str:
    """Return the random id that a log was born with.

    Raises:
        LogDamaged: it has none.
    """
    rows = fetch("SELECT value FROM meta WHERE key = 'log'", ())
    if len(rows) != 1:
        raise LogDamaged(f"{path} is damaged: it does not say which log it is; restore from a backup")
    found: str = rows[0][0]
    return found


def head(fetch: Fetch) -> tuple[int, Micros]:
    """Return the newest position and the newest time."""
    ((position, latest_at),) = fetch("SELECT position, latest_at FROM head WHERE one = 1", ())
    return position, latest_at


def read(
    fetch: Fetch, layout: int, after: int, until: int | None, subject: str | None, kinds: Collection[str] | None
) -> Iterator[Recorded]:
    """Yield events of a log of some layout, as `Log.read` says."""
    newest = head(fetch)[0]
    last = newest if until is None else min(until, newest)
    columns = COLUMNS if layout > 1 else COLUMNS_1
    wanted = "" if kinds is None else f" AND kind IN ({', '.join('?' * len(kinds))})"
    values = () if kinds is None else tuple(kinds)
    if subject:
        source = "event INDEXED BY event_subject WHERE subject = ? AND subject <> ''"
        return _by_index(fetch, max(after, 0), last, f"SELECT {columns} FROM {source}{wanted}", (subject, *values))
    if subject is not None:
        # The index leaves these out; they are found as kinds are.
        wanted = f" AND subject = ''{wanted}"
    if kinds is not None and CONCERN_ALL.issuperset(kinds) and layout > 1:
        source = f"event INDEXED BY event_concerns_all WHERE {CONCERNS_ALL}"
        return _by_index(fetch, max(after, 0), last, f"SELECT {columns} FROM {source}{wanted}", values)
    return _by_window(fetch, max(after, 0), last, f"SELECT {columns} FROM event WHERE true{wanted}", values)


def _by_window(fetch: Fetch, after: int, last: int, query: str, values: tuple[str, ...]) -> Iterator[Recorded]:
    """Yield what a query finds, looking at so many positions at a time, and fetching so many events."""
    query = f"{query} AND position > ? AND position <= ? ORDER BY position LIMIT {BATCH}"
    window = _WINDOW if values else BATCH
    while after < last:
        end = min(after + window, last)
        found = fetch(query, (*values, after, end))
        yield from starmap(Recorded, found)
        after = end if len(found) < BATCH else found[-1][-1]


def _by_index(fetch: Fetch, after: int, last: int, query: str, values: tuple[str, ...]) -> Iterator[Recorded]:
    """Yield what a query finds by an index in which positions rise, so many events at a time."""
    query = f"{query} AND position > ? AND position <= ? ORDER BY position LIMIT {BATCH}"
    while after < last:
        found = list(starmap(Recorded, fetch(query, (*values, after, last))))
        yield from found
        if len(found) < BATCH:
            return
        after = found[-1].position


def position_at(fetch: Fetch, layout: int, at: Micros) -> int:
    """Return the last position whose time is at or before *at*.

    Times need not rise with positions, so this looks from the end backwards: first at the spans, then into one.
    """
    within = ""
    values: tuple[int, ...] = ()
    if layout > 1:
        spans = fetch("SELECT number FROM span WHERE earliest <= ? ORDER BY number DESC LIMIT 1", (at,))
        if not spans:
            return 0
        first = spans[0][0] * SPAN
        within, values = "position > ? AND position <= ? AND ", (first, first + SPAN)
    rows = fetch(f"SELECT position FROM event WHERE {within}at <= ? ORDER BY position DESC LIMIT 1", (*values, at))
    return rows[0][0] if rows else 0


def beats(fetch: Fetch) -> dict[str, Beat]:
    """Return the last word of each run."""
    return {row[0]: Beat(*row) for row in fetch("SELECT run, at, listened FROM beat", ())}


def attempts(fetch: Fetch, layout: int) -> dict[str, Attempted]:
    """Return the newest attempt at each message that has had no outcome since."""
    waiting = "WHERE settled = 0 ORDER BY message, round, number" if layout > 1 else ""
    rows = fetch(f"SELECT {_ATTEMPTED} FROM attempt {waiting}", ())
    return {row[0]: Attempted(*row) for row in rows}


def attempts_at(fetch: Fetch, message: str) -> list[Attempted]:
    """Return the failed attempts at a message, oldest first."""
    query = f"SELECT {_ATTEMPTED} FROM attempt WHERE message = ? ORDER BY round, number"
    return list(starmap(Attempted, fetch(query, (message,))))


def snapshot(fetch: Fetch, layout: int, name: str) -> Snapshot | None:
    """Return the newest snapshot of a projection; none if its state is not what was kept, or nothing tells."""
    if layout < 2:
        return None
    rows = fetch(f"SELECT {SNAPSHOT}, digest FROM snapshot WHERE name = ?", (name,))
    if not rows:
        return None
    *columns, digest = rows[0]
    kept = Snapshot(*columns)
    return kept if digest == digest_of(kept) else None


def digest_of(snapshot: Snapshot) -> bytes:
    """Return what is kept beside a snapshot, so that a state of which a byte was changed is not taken for it."""
    return sha256(snapshot.state).digest()


class Reads(ABC):
    """What any log in SQLite can be asked, over its `fetch`: a base of the writer and of the reader."""

    layout: int
    """Of the file (`schema`). Only readers meet an older one than the newest: a writer has migrated it."""

    @abstractmethod
    def fetch(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one reading query and return all its rows; for this folder, where SQL is at home."""

    def read(
        self,
        after: int = 0,
        *,
        until: int | None = None,
        subject: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> Iterator[Recorded]:
        return read(self.fetch, self.layout, after, until, subject, kinds)

    def position_at(self, at: Micros) -> int:
        return position_at(self.fetch, self.layout, at)

    def beats(self) -> Mapping[str, Beat]:
        return beats(self.fetch)

    def attempts(self) -> Mapping[str, Attempted]:
        return attempts(self.fetch, self.layout)

    def attempts_at(self, message: str) -> Sequence[Attempted]:
        return attempts_at(self.fetch, message)

    def snapshot(self, name: str) -> Snapshot | None:
        return snapshot(self.fetch, self.layout, name)

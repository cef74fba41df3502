"""What is read from a SQLite log, by the writer and by readers alike.

Nothing here holds a transaction open between batches: each batch is fetched whole, then handed out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..entry import Beat, Recorded
from ..errors import LogDamaged
from ..events import Micros
from . import Attempted, Snapshot

Fetch: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Run a query and return all its rows."""

BATCH: Final = 2_000
"""Events fetched at a time: some milliseconds of one transaction, and about a megabyte."""
_WINDOW: Final = 20_000
"""Positions searched at a time when only some kinds are asked for."""

COLUMNS: Final = "id, at, kind, schema, subject, gateway, run, actor, body, private, salt, leaf, position"
"""In the order of `Recorded`."""


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
    fetch: Fetch, after: int, until: int | None, subject: str | None, kinds: Collection[str] | None
) -> Iterator[Recorded]:
    """Yield events, as `Log.read` says."""
    newest = head(fetch)[0]
    last = newest if until is None else min(until, newest)
    wanted = "" if kinds is None else f" AND kind IN ({', '.join('?' * len(kinds))})"
    values = () if kinds is None else tuple(kinds)
    if subject is None:
        return _by_window(fetch, max(after, 0), last, wanted, values)
    if subject == "":
        # The index leaves these out; they are found as kinds are.
        return _by_window(fetch, max(after, 0), last, f" AND subject = ''{wanted}", values)
    return _by_subject(fetch, max(after, 0), last, subject, wanted, values)


def _by_window(fetch: Fetch, after: int, last: int, wanted: str, values: tuple[str, ...]) -> Iterator[Recorded]:
    window = _WINDOW if wanted else BATCH
    query = f"SELECT {COLUMNS} FROM event WHERE position > ? AND position <= ?{wanted} ORDER BY position"
    while after < last:
        end = min(after + window, last)
        yield from starmap(Recorded, fetch(query, (after, end, *values)))
        after = end


def _by_subject(
    fetch: Fetch, after: int, last: int, subject: str, wanted: str, values: tuple[str, ...]
) -> Iterator[Recorded]:
    query = (
        f"SELECT {COLUMNS} FROM event INDEXED BY event_subject WHERE subject = ? AND subject <> '' "
        f"AND position > ? AND position <= ?{wanted} ORDER BY position LIMIT {BATCH}"
    )
    while after < last:
        found = list(starmap(Recorded, fetch(query, (subject, after, last, *values))))
        yield from found
        if len(found) < BATCH:
            return
        after = found[-1].position


def position_at(fetch: Fetch, at: Micros) -> int:
    """Return the last position whose time is at or before *at*.

    Times need not rise with positions, so this looks from the end backwards.
    """
    rows = fetch("SELECT position FROM event WHERE at <= ? ORDER BY position DESC LIMIT 1", (at,))
    return rows[0][0] if rows else 0


def beats(fetch: Fetch) -> dict[str, Beat]:
    """Return the last word of each run."""
    return {row[0]: Beat(*row) for row in fetch("SELECT run, at, listened FROM beat", ())}


def attempts(fetch: Fetch) -> dict[str, Attempted]:
    """Return what is known of messages whose delivery failed, by message."""
    rows = fetch("SELECT message, round, number, at, due, delay, status, error FROM attempt", ())
    return {row[0]: Attempted(*row) for row in rows}


def snapshot(fetch: Fetch, name: str) -> Snapshot | None:
    """Return the newest snapshot of a projection."""
    rows = fetch("SELECT name, version, position, leaf, state FROM snapshot WHERE name = ?", (name,))
    return Snapshot(*rows[0]) if rows else None


class Reads(ABC):
    """What any log in SQLite can be asked, over its `fetch`: a base of the writer and of the reader."""

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
        return read(self.fetch, after, until, subject, kinds)

    def position_at(self, at: Micros) -> int:
        return position_at(self.fetch, at)

    def beats(self) -> Mapping[str, Beat]:
        return beats(self.fetch)

    def attempts(self) -> Mapping[str, Attempted]:
        return attempts(self.fetch)

    def snapshot(self, name: str) -> Snapshot | None:
        return snapshot(self.fetch, name)

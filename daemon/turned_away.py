"""Who was turned away of late, and why, in words: of one station, or of all.

The log is read here as it is for an audit, without a running engine; only its last days, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ..engine.clock import rfc3339
from ..engine.codec import decode
from ..engine.events import HandshakeRefused, Micros
from ..engine.log import Log
from ..projections.refusals import LATE, Refusals, Row
from .reasons import meaning, remedy
from .words import clock


def of_station(log: Log, claimed: str, until: int, now: Micros) -> list[Row]:
    """Return how often an id was turned away, up to a position, in the seven days before *now*, by reason; the newest
    first. Unlike the projection `refusals` this forgets nobody of these days, and counts none before them."""
    # Most refusals are of others: whether one names the id is seen without reading it.
    named = msgspec.json.encode(claimed)
    return _fold(event for event in _late(log, until, now, named) if event.claimed == claimed).rows()


def of_all(log: Log, until: int) -> list[Row]:
    """Return who was turned away in the seven days before the event at a position: at most as many as the projection
    `refusals` keeps, the newest."""
    newest = next(iter(log.read(until - 1, until=until)), None) if until else None
    return [] if newest is None else _fold(_late(log, until, newest.at)).rows()


def _late(log: Log, until: int, now: Micros, named: bytes = b"") -> Iterator[HandshakeRefused]:
    for recorded in log.read(log.position_at(now - LATE), until=until, kinds={HandshakeRefused.kind}):
        if named in recorded.body:
            event = decode(recorded)
            if isinstance(event, HandshakeRefused) and event.last_at >= now - LATE:
                yield event


def _fold(events: Iterator[HandshakeRefused]) -> Refusals:
    refusals = Refusals()
    for event in events:
        refusals.note(event)
        refusals.forget_what_is_over(event.last_at)
    return refusals


def summary(rows: Sequence[Row]) -> str:
    """Say in a sentence how often one id was turned away, and why the last time; empty if nobody was."""
    if not rows:
        return ""
    count, last = sum(row.count for row in rows), rows[0]
    times = "once" if count == 1 else f"{count} times"
    why = last.hint or meaning(last.reason)  # with no full stop: it may end with a command
    return f"It was turned away {times} in the last seven days, most lately at {clock(last.last)}: {why}"


def as_json(row: Row) -> dict[str, object]:
    """Write a row as JSON would have it."""
    return {
        "claimed": row.claimed,
        "reason": row.reason,
        "status": row.status,
        "meaning": meaning(row.reason),
        "hint": row.hint,
        "remedy": remedy(row.reason),
        "count": row.count,
        "first": rfc3339(row.first),
        "last": rfc3339(row.last),
    }

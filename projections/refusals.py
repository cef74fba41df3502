"""Refusals: who was turned away of late, how often and why. What people look at who ask why a station does not connect.

A row is a claimed id and a reason; events that speak of the same make one row, as long as no more than `LATE` passes
between them. At most `MOST` rows are kept of those who had to be registered to be turned away so, and as many of all
others, the newest ones: strangers who try one name after the other push out each other, and no station that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import Event, HandshakeRefused, Micros
from ..engine.fold import Below, Projection

__all__ = ["LATE", "MOST", "Refusals", "Row", "refusals"]

LATE: Final[Micros] = 7 * 24 * 3600 * 1_000_000
"""Microseconds: a station that is turned away now was turned away lately."""
MOST: Final = 1000
"""Rows of either sort: more than people read, and less than a megabyte."""
REGISTERED: Final = frozenset(
    {"no_credentials", "wrong_credentials", "wrong_profile", "wrong_certificate", "no_subprotocol"}
)
"""The reasons for which nobody is turned away whose id is not registered; for all others anybody can make ids up."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """How often a claimed id was turned away for a reason."""

    claimed: str
    """The id that was claimed; empty where none was, or where many were summed up."""
    reason: str
    status: int
    """The newest answer's HTTP status."""
    hint: str
    """The newest one that there was."""
    count: int
    first: Micros
    last: Micros


class Refusals:
    """Who was turned away of late."""

    def __init__(self) -> None:
        # Of both, what was noted last stands last.
        self._strangers: dict[tuple[str, str], Row] = {}
        self._known: dict[tuple[str, str], Row] = {}

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of refusals>"

    def rows(self, since: Micros = 0) -> list[Row]:
        """Return the rows whose newest refusal was then or later; the newest first."""
        return _newest_first(row for kept in self._both() for row in kept.values() if row.last >= since)

    def of(self, claimed: str, since: Micros = 0) -> list[Row]:
        """Return the rows of one id, the newest first."""
        rows = (row for kept in self._both() for (of, _), row in kept.items() if of == claimed)
        return _newest_first(row for row in rows if row.last >= since)

    def note(self, event: HandshakeRefused) -> Row:
        """Add a refusal, or the sum of some, to its row; return the row."""
        kept, key = self._known if event.reason in REGISTERED else self._strangers, (event.claimed, event.reason)
        before = kept.pop(key, None)
        if before is not None and event.first_at - before.last > LATE:
            before = None
        kept[key] = row = Row(
            claimed=event.claimed,
            reason=event.reason,
            status=event.status,
            hint=event.hint or ("" if before is None else before.hint),
            count=event.count + (0 if before is None else before.count),
            first=event.first_at if before is None else min(before.first, event.first_at),
            last=event.last_at if before is None else max(before.last, event.last_at),
        )
        return row

    def forget_what_is_over(self, at: Micros) -> None:
        """Forget rows that are too many, or too old at a time, from the front."""
        for kept in self._both():
            while kept:
                oldest = next(iter(kept))
                if len(kept) <= MOST and at - kept[oldest].last <= LATE:
                    break
                del kept[oldest]

    def dump(self) -> bytes:
        """Write them down, in order."""
        return _encode([list(kept.values()) for kept in self._both()])

    @staticmethod
    def load(kept: bytes) -> Refusals:
        """Read what `dump` wrote."""
        refusals = Refusals()
        for rows, read in zip(refusals._both(), _decode(kept), strict=True):
            rows.update({(row.claimed, row.reason): row for row in read})
        return refusals

    def _both(self) -> tuple[dict[tuple[str, str], Row], dict[tuple[str, str], Row]]:
        return self._strangers, self._known


def _newest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.last, row.claimed, row.reason))


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[list[Row]]).decode


def _apply(refusals: Refusals, recorded: Recorded, event: Event, below: Below) -> Sequence[Row]:
    assert isinstance(event, HandshakeRefused)
    row = refusals.note(event)
    refusals.forget_what_is_over(recorded.at)
    return (row,)


refusals: Projection[Refusals, Row] = Projection(
    name="refusals",
    version=1,
    kinds=frozenset({HandshakeRefused.kind}),
    initial=Refusals,
    apply=_apply,
    dump=Refusals.dump,
    load=Refusals.load,
)
"""Who was turned away of late. Its state is `Refusals`, its changes are `Row`: what a row became."""

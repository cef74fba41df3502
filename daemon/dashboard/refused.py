"""Who was turned away of late, as the dashboard shows it."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from ...engine import Engine
from ...engine.events import Micros
from ...projections import conflicts, refusals, registry
from ...projections.conflicts import Conflict
from ...projections.refusals import LATE
from ..reasons import meaning, remedy

SHOWN: Final = 200
"""Rows on the page: the newest ones. All of them are in the API."""


@frozen(kw_only=True)
class Refused:
    """How often a claimed id was turned away for a reason."""

    claimed: str
    registered: bool
    reason: str
    status: int
    meaning: str
    """The rest of a sentence that begins with "because"."""
    hint: str
    """What was found out about the newest one; often empty."""
    remedy: str
    """What helps in general."""
    count: int
    first: Micros
    last: Micros


def refused_of(engine: Engine, claimed: str | None = None) -> tuple[Refused, ...]:
    """Return who was turned away in the last days, or one id alone; the newest first."""
    state, since = engine.state(refusals), engine.now() - LATE
    rows = state.rows(since)[:SHOWN] if claimed is None else state.of(claimed, since)
    registered = engine.state(registry)
    return tuple(
        Refused(
            claimed=row.claimed,
            registered=row.claimed in registered,
            reason=row.reason,
            status=row.status,
            meaning=meaning(row.reason),
            hint=row.hint,
            remedy=remedy(row.reason),
            count=row.count,
            first=row.first,
            last=row.last,
        )
        for row in rows
    )


def conflict_of(engine: Engine, station: str) -> Conflict | None:
    """Return the conflict that a station is in now; none mostly."""
    return engine.state(conflicts).of(station, engine.now())


def conflicts_of(engine: Engine) -> tuple[Conflict, ...]:
    """Return all conflicts of now, in the order of their stations."""
    return tuple(sorted(engine.state(conflicts).standing(engine.now()), key=lambda conflict: conflict.station))

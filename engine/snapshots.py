"""Snapshots: a start that need not fold the whole log. They are trusted only if they fit this very history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .fold import Fold, Projection
from .log import Log, Snapshot


def fold_of(log: Log, projections: Iterable[Projection[Any, Any]]) -> Fold:
    """Return the fold of a log as of its last snapshots; an empty one where they are missing or differ in anything.

    The tail after them is still to be folded.
    """
    fold = Fold(projections)
    snapshots = [log.snapshot(projection.name) for projection in fold.projections]
    kept = [snapshot for snapshot in snapshots if snapshot is not None]
    if len(kept) < len(snapshots) or not _fits(log, fold, kept):
        return fold
    try:
        states = {p.name: p.load(s.state) for p, s in zip(fold.projections, kept, strict=True)}
    except Exception:
        return fold  # whatever is wrong with a snapshot, the log knows better
    fold.resume(states, kept[0].position, kept[0].leaf)
    return fold


def take(fold: Fold) -> list[Snapshot]:
    """Write the states of a fold down."""
    return [
        Snapshot(
            name=projection.name,
            version=projection.version,
            position=fold.position,
            leaf=fold.leaf,
            state=projection.dump(fold.state(projection)),
        )
        for projection in fold.projections
    ]


def _fits(log: Log, fold: Fold, snapshots: list[Snapshot]) -> bool:
    place = {(snapshot.position, snapshot.leaf) for snapshot in snapshots}
    if len(place) != 1 or any(s.version != p.version for p, s in zip(fold.projections, snapshots, strict=True)):
        return False
    position, leaf = place.pop()
    event = next(iter(log.read(position - 1, until=position)), None) if position else None
    return event is not None and event.leaf == leaf

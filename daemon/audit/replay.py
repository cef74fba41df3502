"""The pass over a log's events as facts: every projection folded anew, and compared with what the log keeps of it."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...engine.codec import decode
from ...engine.entry import Recorded
from ...engine.errors import NewerSchema
from ...engine.events import KINDS, DeliveryOutcome, DeliverySkipped, LogRestored
from ...engine.fold import Fold, Projection
from ...engine.log import Snapshot
from ...engine.log.plan import OUTCOMES
from ...projections import outbox, presence
from ...projections.bodies import CONFIRMED, DISABLED, OFFLINE, ONLINE, PING, message_id
from ...projections.meeting import RESTORED_STEP
from .findings import Check, Found, Oddities

NEVER_OWED: Final = "the outcome of a message that nobody was owed"
NOT_PENDING: Final = "the outcome of a message that was not pending"
REPLAY: Final = "replay"
"""The name of the check."""
UNKNOWN_KIND: Final = "a kind that this release does not know"


def is_of(snapshot: Snapshot, projection: Projection[Any, Any] | None) -> bool:
    """Return whether this release can tell what a snapshot should be."""
    return projection is not None and projection.version == snapshot.version


class Replay:
    """Folds some projections over every event."""

    def __init__(
        self,
        projections: Sequence[Projection[Any, Any]],
        snapshots: Sequence[Snapshot],
        event_at: Callable[[int], Recorded | None],
    ) -> None:
        """*event_at*: how to look up the event at a position."""
        self._fold = Fold(projections)
        self._event_at = event_at
        named = {projection.name: projection for projection in projections}
        """Not those that they stand on, which another replay may judge."""
        self._kept = sorted(
            ((one, named[one.name]) for one in snapshots if one.position and is_of(one, named.get(one.name))),
            key=lambda pair: -pair[0].position,
        )
        """To be compared, the last one first."""
        self._checks: list[Check] = []
        self._oddities = Oddities()
        self._odd: list[str] = []
        """What presence found odd of the event that is being folded."""
        if presence in projections:
            self._fold.state(presence).odd = _Told(self._odd)
        self._judges_outcomes = outbox in projections
        self._restored: list[int] = []
        """The positions at which the log was restored: those before a cause are in the ids of its messages."""
        self._names = ", ".join(projection.name for projection in projections)
        self._stopped = False

    def take(self, batch: Sequence[Recorded]) -> None:
        """Fold the next events."""
        if self._stopped:
            return
        due = self._kept[-1][0].position if self._kept else None
        for recorded in batch:
            try:
                below = self._fold.advance(recorded)
            except NewerSchema as error:
                self._stop(Check(REPLAY, "not checked", str(error)))
                return
            except Exception as error:  # what was meddled with may fail in any way
                self._stop(Check(REPLAY, "failed", str(error) or repr(error), recorded.position))
                return
            if recorded.kind == LogRestored.kind:
                self._restored.append(recorded.position)
            if self._odd:
                self._note_odd(recorded)
            if recorded.kind in OUTCOMES and self._judges_outcomes and not below.changes(outbox):
                self._note_outcome(recorded)
            if recorded.position == due:
                due = self._compare(recorded)

    def cannot_read(self, position: int, why: str) -> None:
        """Note that the events end here because a row cannot be read."""
        self._stop(Check(REPLAY, "not checked", f"position {position:,} cannot be read"))

    def found(self) -> Found:
        """Return what was found, once all events were taken."""
        if not self._stopped:
            folded = f"{self._names} folded anew up to {self._fold.position:,}"
            self._checks.insert(0, Check(REPLAY, "ok", folded))
        self._checks += [
            Check(
                f"snapshot {one.name}", "failed", f"is of position {one.position:,}, which is not there", one.position
            )
            for one, _ in self._kept
            if not self._stopped
        ]
        if self._judges_outcomes:
            for kind, count in self._fold.passed_over.items():
                if kind not in KINDS:
                    self._oddities.note(f"{UNKNOWN_KIND}: {kind}", None, count)
        return Found(self._checks, self._oddities.found())

    def _stop(self, check: Check) -> None:
        self._stopped = True
        self._checks.insert(0, check)

    def _compare(self, recorded: Recorded) -> int | None:
        """Compare the snapshots of this position; return where the next one is."""
        while self._kept and self._kept[-1][0].position == recorded.position:
            kept, projection = self._kept.pop()
            if kept.leaf != recorded.leaf:
                wrong = "is of another history"
            elif kept.state != projection.dump(self._fold.state(projection)):
                wrong = "is not what the events up to there give"
            else:
                wrong = ""
            detail = wrong or f"as the events up to {recorded.position:,} give it"
            position = recorded.position if wrong else None
            self._checks.append(Check(f"snapshot {kept.name}", "failed" if wrong else "ok", detail, position))
        return self._kept[-1][0].position if self._kept else None

    def _note_odd(self, recorded: Recorded) -> None:
        for reason in self._odd:
            self._oddities.note(reason, recorded.position)
        self._odd.clear()

    def _note_outcome(self, recorded: Recorded) -> None:
        """Tell apart an outcome that came too late and one of a message that was never derived."""
        event = decode(recorded)
        assert isinstance(event, DeliveryOutcome | DeliverySkipped)
        cause = self._event_at(event.position)
        base = RESTORED_STEP * bisect(self._restored, event.position)
        owed = cause is not None and any(
            message_id(event.webhook, cause.id, type, recorded.subject, base) == event.message
            for type in (ONLINE, OFFLINE, CONFIRMED, DISABLED, PING)
        )
        self._oddities.note(NOT_PENDING if owed else NEVER_OWED, recorded.position)


class _Told(Counter[str]):
    """A counter that tells what it counts."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def __setitem__(self, reason: str, count: int) -> None:
        super().__setitem__(reason, count)
        self._told.append(reason)

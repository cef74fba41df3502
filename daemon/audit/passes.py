"""The passes over a log: which there are, and how they are run over its events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from ...engine.entry import Recorded
from ...engine.fold import Projection
from ...engine.log import Snapshot, evidence
from ...engine.log.reading import LogReader, open_reader
from ...engine.runs import runs
from ...projections import (
    conflicts,
    deliveries,
    feed,
    outbox,
    presence,
    refusals,
    registry,
    sessions,
    settling,
    webhooks,
)
from .findings import Check, Found
from .leaves import Leaves
from .replay import Replay

PROJECTIONS: Final[tuple[Projection[Any, Any], ...]] = (
    runs, presence, registry, webhooks, outbox, feed, settling, sessions, conflicts, refusals, deliveries,
)  # fmt: skip
"""All that a daemon folds and keeps snapshots of, and `sessions`."""

_ROW: Final = re.compile(r"^row (\d+) missing from index event_")

Pass: TypeAlias = Literal["file", "leaves", "replay"]
Tell: TypeAlias = Callable[[int], None]
"""Is told how many events were seen, a batch at a time."""


class Job(msgspec.Struct, frozen=True):
    """Passes that are run by one process, over one reading of the log."""

    log: str
    until: int
    passes: list[Pass]
    sizes: list[int]
    """Of which trees the roots are wanted."""
    snapshots: list[Snapshot]


class _Taking(Protocol):
    def take(self, batch: Sequence[Recorded]) -> None: ...

    def cannot_read(self, position: int, why: str) -> None: ...

    def found(self) -> Found: ...


def run(job: Job, tell: Tell) -> Found:
    """Run the passes of a job.

    Raises:
        LogError: the log cannot be read.
    """
    with closing(open_reader(job.log)) as log:
        passes = list(_taking(job, log))
        if passes:
            _show_events(log, job.until, passes, tell)
        found = Found()
        for one in passes:
            found.add(one.found())
        if "file" in job.passes:
            found.checks += [_look_at_file(log), _look_at_schema(log)]
    return found


def _taking(job: Job, log: LogReader) -> Iterator[_Taking]:
    if "leaves" in job.passes:
        yield Leaves(log, job.until, job.sizes, job.snapshots)
    if "replay" in job.passes:

        def event_at(position: int) -> Recorded | None:
            return next(iter(log.read(position - 1, until=position)), None)

        yield Replay(PROJECTIONS, job.snapshots, event_at)


def _show_events(log: LogReader, until: int, passes: Sequence[_Taking], tell: Tell) -> None:
    try:
        for batch in evidence.batches(log, until):
            for one in passes:
                one.take(batch)
            tell(len(batch))
    except evidence.UnreadableRow as unreadable:
        for one in passes:
            one.cannot_read(unreadable.position, unreadable.why)


def _look_at_schema(log: LogReader) -> Check:
    problem = evidence.planted(log)
    return Check("schema", "failed" if problem else "ok", problem or "its tables and indexes, and no trigger")


def _look_at_file(log: LogReader) -> Check:
    complaints = evidence.complaints(log)
    if not complaints:
        return Check("file", "ok", "SQLite finds its pages and indexes in order, every id once")
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    # A row's number is its position.
    rows = [int(number) for complaint in complaints for number in _ROW.findall(complaint)]
    return Check("file", "failed", f"SQLite says: {complaints[0]}{more}", min(rows, default=None))

"""The pass over a log's events as bytes: positions, leaves, the tree, and the tables that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from ...engine.entry import Recorded, leaf, open_to_doubt
from ...engine.events import LogRestored
from ...engine.ledger.keeper import SNAPSHOT, VERSION
from ...engine.ledger.tree import Tree
from ...engine.log import Snapshot, evidence
from ...engine.log.plan import ENDINGS, run_ended_by
from ...engine.log.queries import SPAN
from ...engine.log.reading import LogReader
from .findings import Check, Found, Oddities, Root, Wrong
from .ids import CONTRADICTS, contradicts

RESTORED: Final = "the log was restored from a copy"
BY_BYTES: Final = ("positions", "leaves")
"""The checks that know of each event by itself whether it is wrong."""
_COMPARED: Final = 500
"""Spans compared with their table at a time."""
_TYPES: Final = {
    **dict.fromkeys(("id", "kind", "subject", "gateway", "run", "actor"), str),
    **dict.fromkeys(("at", "schema"), int),
    **dict.fromkeys(("body", "private", "salt", "digest", "leaf"), bytes),
}


class Leaves:
    """Looks at every event up to a position, without reading what it says."""

    def __init__(self, log: LogReader, until: int, sizes: Collection[int], snapshots: Sequence[Snapshot]) -> None:
        """*sizes*: of which trees the roots are wanted."""
        self._log = log
        self._until = until
        self._kept = next((one for one in snapshots if one.name == SNAPSHOT and one.version == VERSION), None)
        places = {size for size in sizes if 0 < size <= until}
        if self._kept is not None and 0 < self._kept.position <= until:
            places.add(self._kept.position)
        self._stops = sorted(places, reverse=True)
        """Where the tree is looked at, the last one first."""
        self._wanted = frozenset(sizes)
        self._roots: list[Root] = []
        self._tree = Tree()
        self._snapshot: Check | None = None
        self._position = 0
        self._positions, self._leaves, self._ends, self._spans = Wrong(), Wrong(), Wrong(), Wrong()
        self._oddities = Oddities()
        self._redacted = 0
        self._latest = 0
        self._ended: dict[str, int] = {}
        self._earliest: dict[int, int] = {}
        """Of spans that were not compared yet."""

    def take(self, batch: Sequence[Recorded]) -> None:
        """Look at the next events."""
        self._tree_grows(batch, [self._leaf_of(recorded) for recorded in batch])
        try:
            self._follow(batch)
        except (TypeError, AttributeError, ValueError):
            # A value of another type than its column's: SQLite hands out whatever stands in the file.
            for recorded in batch:
                if any(not isinstance(getattr(recorded, name), type) for name, type in _TYPES.items()):
                    self._leaves.note(recorded.position, "cannot be read: it bears a value of a wrong type")

    def cannot_read(self, position: int, why: str) -> None:
        """Note that the events end here because a row cannot be read."""
        self._leaves.note(position, f"cannot be read: {why}")

    def found(self) -> Found:
        """Return what was found, once all events were taken."""
        if self._position < self._until and self._leaves.position is None:
            self._positions.note(self._position + 1, "is missing, and all after it")
        redacted = f"; {self._redacted:,} were redacted" if self._redacted else ""
        checks = [
            self._positions.check("positions", f"1 to {self._until:,}, without a gap"),
            self._leaves.check("leaves", f"{self._tree.size:,} hashes computed anew{redacted}"),
            *self._tables(),
        ]
        if self._snapshot is not None:
            checks.append(self._snapshot)
        return Found(checks, self._oddities.found(), self._roots)

    # --- leaves and the tree -----------------------------------------------------------------------------------------

    def _leaf_of(self, recorded: Recorded) -> bytes:
        position = self._position + 1
        if recorded.position < 1:
            self._positions.note(recorded.position, "stands before the first position, which is 1")
        elif recorded.position != position:
            self._positions.note(position, f"is missing: after {position - 1} comes {recorded.position}")
        self._position = max(recorded.position, 0)
        try:
            found = leaf(recorded)
        except (TypeError, AttributeError, ValueError) as error:
            self._leaves.note(recorded.position, f"cannot be read: {error}")
            return b""
        if found != recorded.leaf:
            self._leaves.note(recorded.position, "was changed: it does not give the hash beside it")
        elif wrong := open_to_doubt(recorded):
            self._leaves.note(recorded.position, wrong)
        elif recorded.digest:
            self._redacted += 1
        return found

    def _tree_grows(self, batch: Sequence[Recorded], leaves: list[bytes]) -> None:
        done = 0
        while self._stops and self._tree.size + len(leaves) - done >= self._stops[-1]:
            stop = self._stops.pop()
            end = done + stop - self._tree.size
            self._tree.extend(leaves[done:end])
            self._look_at_tree(batch[end - 1])
            done = end
        self._tree.extend(leaves[done:])

    def _look_at_tree(self, newest: Recorded) -> None:
        size = self._tree.size
        if size in self._wanted:
            self._roots.append(Root(size, newest.at, self._tree.root()))
        kept = self._kept
        if kept is not None and kept.position == size:
            same = (kept.leaf, kept.state) == (newest.leaf, self._tree.dump())
            detail = f"as the events up to {size:,} give it" if same else "is not the tree of the events up to there"
            self._snapshot = Check(
                f"snapshot {SNAPSHOT}", "ok" if same else "failed", detail, None if same else kept.position
            )

    # --- tables ------------------------------------------------------------------------------------------------------

    def _follow(self, batch: Sequence[Recorded]) -> None:
        self._follow_times(batch)
        for recorded in batch:
            if recorded.kind in ENDINGS or (self._ended and recorded.run in self._ended):
                self._follow_ends(recorded)
            elif recorded.kind == LogRestored.kind:
                self._oddities.note(RESTORED, recorded.position)
            if contradicts(recorded):
                self._oddities.note(CONTRADICTS, recorded.position)

    def _follow_times(self, batch: Sequence[Recorded]) -> None:
        earliest = self._earliest
        for recorded in batch:
            number, at = (recorded.position - 1) // SPAN, recorded.at
            if at < earliest.setdefault(number, at):
                earliest[number] = at
            if at > self._latest:
                self._latest = at
        if len(earliest) > _COMPARED:
            self._compare_spans(batch[-1].position - SPAN)

    def _compare_spans(self, until: int) -> None:
        """Compare the spans that lie before a position, or reach it."""
        if self._log.layout < 2 or not self._earliest:
            return
        last = (until - 1) // SPAN
        known = evidence.spans(self._log, min(self._earliest), last)
        for number in [number for number in self._earliest if number <= last]:
            expected, written = self._earliest.pop(number), known.get(number)
            # The last span may have gone on meanwhile, to earlier times.
            growing = (number + 1) * SPAN > self._until and written is not None and written < expected
            if written != expected and not (growing and self._log.position > self._until):
                self._spans.note(
                    number * SPAN + 1,
                    f"begins a span whose earliest time is {expected}, but the table says {written}",
                )

    def _look_for_stray_spans(self) -> None:
        """See that there are no more spans than positions: "as of a time" would begin at them, and find nothing."""
        if self._log.layout > 1:
            for number, earliest in evidence.stray_spans(self._log).items():
                self._spans.note(number * SPAN + 1, f"is not there, but the table says {earliest} of its span")

    def _follow_ends(self, recorded: Recorded) -> None:
        over = self._ended.get(recorded.run)
        if over is not None:
            self._ends.note(recorded.position, f"was appended by a run that had ended at {over}")
        run = run_ended_by(recorded)
        if run:
            self._ended.setdefault(run, recorded.position)

    def _compare_ends(self) -> None:
        known = evidence.ended(self._log)
        for run in known.keys() | self._ended.keys():
            here, there = self._ended.get(run), known.get(run)
            if here is None and there is not None and there > self._until and self._ended_since(run, there):
                continue
            if here != there:
                position = min(one for one in (here, there) if one is not None)
                self._ends.note(position, f"run {run} ended at {here}, but the table says {there}")

    def _ended_since(self, run: str, position: int) -> bool:
        """Return whether a run was ended by an event that was appended after the audit began."""
        return any(run_ended_by(recorded) == run for recorded in self._log.read(position - 1, until=position))

    def _tables(self) -> list[Check]:
        """Return what is to say of the tables beside the events; nothing if the events themselves are wrong."""
        if self._positions.position is not None or self._leaves.position is not None:
            return [Check("tables", "not checked", "they follow from the events, which are wrong")]
        self._compare_spans(self._until)
        self._look_for_stray_spans()
        self._compare_ends()
        ended = f"{len(self._ended):,} runs ended, and appended nothing after that"
        checks = [self._head_check(), self._ends.check("ends of runs", ended)]
        if self._log.layout > 1:
            checks.append(self._spans.check("times", "the earliest times of spans agree with the events"))
        return checks

    def _head_check(self) -> Check:
        ends = evidence.ends(self._log)
        grown = ends.head > self._until
        if ends.last == ends.head and (grown or ends.latest_at == self._latest):
            return Check("head", "ok", f"the newest position is {ends.head:,}")
        said = f"says position {ends.head:,} at {ends.latest_at}"
        detail = f"{said}; the newest event is {ends.last:,}, the newest time {self._latest}"
        return Check("head", "failed", detail, None if ends.last == ends.head else min(ends.head, ends.last) + 1)

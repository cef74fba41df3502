"""A log in memory: the same rules without a file, for tests, examples and simulations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from ..entry import Beat, Entry, Recorded, recorded
from ..errors import LogUnavailable
from ..events import Micros
from . import Attempted, Snapshot
from .plan import messages_settled, place

Fault: TypeAlias = Literal["lost", "written"]
"""How an append fails: before anything was written, or after all of it was. Whoever appends cannot tell them apart."""


class MemoryLog:
    """A log that is gone with the process. It implements `Log`."""

    def __init__(self, *, fault: Callable[[Sequence[Entry]], Fault | None] | None = None) -> None:
        """Make an empty log.

        *fault* is asked at every append; what it returns, if anything, is how that append fails with
        `LogUnavailable`. A simulation plays full disks with it.
        """
        self._fault = fault
        self._failed = False
        self._closed = False
        self._events: list[Recorded] = []
        self._known: dict[str, tuple[int, bytes]] = {}
        self._ended: dict[str, int] = {}
        self._beats: dict[str, Beat] = {}
        self._attempts: dict[str, dict[tuple[int, int], Attempted]] = {}
        self._settled: set[tuple[str, int, int]] = set()
        self._snapshots: dict[str, Snapshot] = {}
        self._latest_at: Micros = 0

    @property
    def position(self) -> int:
        return len(self._events)

    @property
    def latest_at(self) -> Micros:
        return self._latest_at

    def append(
        self, entries: Sequence[Entry], *, beat: Beat | None = None, attempts: Sequence[Attempted] = ()
    ) -> list[int]:
        if self._failed or self._closed:
            raise LogUnavailable("the log in memory is closed" if self._closed else "the log in memory failed")
        fault = self._fault(entries) if self._fault is not None else None
        if fault == "lost":
            self._failed = True
            raise LogUnavailable("the log in memory was told to fail")
        plan = place(entries, head=len(self._events), known=self._known.get, ended=self._ended)
        for position, entry in enumerate(plan.fresh, len(self._events) + 1):
            self._events.append(recorded(entry, position))
            self._known[entry.id] = (position, entry.leaf)
            self._latest_at = max(self._latest_at, entry.at)
        self._ended.update(plan.ended)
        if beat is not None:
            self._beats[beat.run] = beat
        for attempt in attempts:
            self._attempts.setdefault(attempt.message, {})[attempt.round, attempt.number] = attempt
            self._settled.discard((attempt.message, attempt.round, attempt.number))
        for message in messages_settled(plan.fresh):
            self._settled.update((message, *place) for place in self._attempts.get(message, ()))
        if fault == "written":
            self._failed = True
            raise LogUnavailable("the log in memory was told to fail")
        return plan.positions

    def recover(self) -> None:
        self._failed = False

    def read(
        self,
        after: int = 0,
        *,
        until: int | None = None,
        subject: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> Iterator[Recorded]:
        last = len(self._events) if until is None else min(until, len(self._events))
        for index in range(max(after, 0), last):
            event = self._events[index]
            if (subject is None or event.subject == subject) and (kinds is None or event.kind in kinds):
                yield event

    def position_at(self, at: Micros) -> int:
        return next((event.position for event in reversed(self._events) if event.at <= at), 0)

    def beats(self) -> Mapping[str, Beat]:
        return dict(self._beats)

    def attempts(self) -> Mapping[str, Attempted]:
        waiting = {
            message: [attempt for place, attempt in sorted(known.items()) if (message, *place) not in self._settled]
            for message, known in self._attempts.items()
        }
        return {message: known[-1] for message, known in waiting.items() if known}

    def attempts_at(self, message: str) -> Sequence[Attempted]:
        return [attempt for _, attempt in sorted(self._attempts.get(message, {}).items())]

    def snapshot(self, name: str) -> Snapshot | None:
        return self._snapshots.get(name)

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        self._snapshots.update((snapshot.name, snapshot) for snapshot in snapshots)

    def close(self) -> None:
        self._closed = True

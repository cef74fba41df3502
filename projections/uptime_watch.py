"""Who watched when: the time in which a gateway saw its stations, and the time in which nobody did.

It follows from the events of gateways alone. A run watches from its start to its end, but for the pauses that it noted
(`gateway.stalled`); of one that was lost, up to its last moment alive. One that runs is known to watch up to its last
word, and no further.

Order is position, and times may step backwards. A gateway's event that bears an earlier time than those before it shows
that they bore a wrong one: what stands before it in the log happened no later than it. That is also what "as of a time"
means everywhere else. So the times that are used here never fall from one event of a gateway to the next.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, TypeAlias

from ..engine.codec import decode
from ..engine.entry import Recorded
from ..engine.events import (
    GatewayClockSet,
    GatewayLapsed,
    GatewayLost,
    GatewayStalled,
    GatewayStarted,
    GatewayStopped,
    Micros,
)

KINDS: Final = frozenset(
    cls.kind for cls in (GatewayStarted, GatewayStopped, GatewayLost, GatewayLapsed, GatewayStalled, GatewayClockSet)
)
"""The kinds that it is made of."""

Span: TypeAlias = tuple[Micros, Micros]
"""From, inclusive; to, exclusive."""


class Spans:
    """Some time: spans in order, none of which touches the next."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._begins: list[Micros] = []
        self._ends: list[Micros] = []
        for begin, end in sorted(span for span in spans if span[0] < span[1]):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._begins.append(begin)
                self._ends.append(end)
        lengths = (end - begin for begin, end in self)
        self._before = [0, *accumulate(lengths)]
        """How much time lies in the spans before each."""

    def __iter__(self) -> Iterator[Span]:
        return zip(self._begins, self._ends, strict=True)

    def __repr__(self) -> str:
        return f"Spans({list(self)})"

    def within(self, begin: Micros, end: Micros) -> int:
        """Return how many microseconds of a span are in here."""
        return self._up_to(end) - self._up_to(begin) if begin < end else 0

    def _up_to(self, moment: Micros) -> int:
        behind = bisect_right(self._begins, moment)
        if behind == 0:
            return 0
        return self._before[behind] - max(self._ends[behind - 1] - moment, 0)

    def cut(self, begin: Micros, end: Micros) -> Iterator[Span]:
        """Yield what of a span is in here."""
        for index in range(bisect_right(self._ends, begin), len(self._ends)):
            if self._begins[index] >= end:
                return
            yield max(self._begins[index], begin), min(self._ends[index], end)

    def without(self, others: Spans) -> Spans:
        """Return what is in here and not in there."""
        left: list[Span] = []
        for begin, end in self:
            for gone, back in others.cut(begin, end):
                left.append((begin, gone))
                begin = back
            left.append((begin, end))
        return Spans(left)


class Watch:
    """Who watched when, as far as the log tells. `watch_of` makes one."""

    def __init__(self, by_run: Mapping[str, Spans], ends: Mapping[str, Micros], caps: Mapping[int, Micros]) -> None:
        self._by_run = by_run
        self._ends = ends
        self._positions = list(caps)
        self._caps = list(caps.values())
        self.anyone = Spans(span for spans in by_run.values() for span in spans)
        """When at least one gateway watched."""

    def of(self, run: str) -> Spans:
        """Return when a run watched."""
        return self._by_run.get(run, _NEVER)

    def end_of(self, run: str) -> Micros:
        """Return when a run stopped watching for good, or is last known to have watched; 0: it never did."""
        return self._ends.get(run, 0)

    @property
    def known_until(self) -> Micros:
        """The last moment at which any run watched; 0: none ever did."""
        return max(self._ends.values(), default=0)

    def time_of(self, recorded: Recorded) -> Micros:
        """Return when an event happened: as it says, but no later than an event of a gateway at or after it."""
        index = bisect_left(self._positions, recorded.position)
        return min(recorded.at, self._caps[index]) if index < len(self._caps) else recorded.at


_NEVER: Final = Spans()


def watch_of(gateways: Iterable[Recorded], *, alive: Mapping[str, Micros], latest: Micros) -> Watch:
    """Find out who watched when.

    Args:
        gateways: the events of the kinds in `KINDS`, in order; others are passed over. All of them are kept.
        alive: the last word of each run that left one (a beat), for those that run.
        latest: the newest time that the log bears, in place of the last word of a run that left none.

    Raises:
        UnreadableEvent: stored bytes are no event of their kind.
    """
    events = [recorded for recorded in gateways if recorded.kind in KINDS]
    caps = _never_falling(events)
    lives = _Lives(alive, latest)
    for recorded in events:
        lives.follow(recorded, caps[recorded.position])
    return lives.watch(caps)


def _never_falling(events: Iterable[Recorded]) -> dict[int, Micros]:
    """Return by position the times of events, brought down to the earliest that any later one bears."""
    backwards = list(events)[::-1]
    lowest = accumulate((recorded.at for recorded in backwards), min)
    return dict(reversed([(recorded.position, at) for recorded, at in zip(backwards, lowest, strict=True)]))


class _Lives:
    """The lives of gateways, told event by event; a run ends as presence has it (its rows 12, 13 and 21)."""

    def __init__(self, alive: Mapping[str, Micros], latest: Micros) -> None:
        self._alive = alive
        self._latest = latest
        self._began: dict[str, Micros] = {}
        self._ended: dict[str, Micros] = {}
        self._running: dict[str, str] = {}
        """Run -> its gateway."""
        self._stalls: dict[str, list[Span]] = {}

    def follow(self, recorded: Recorded, at: Micros) -> None:
        match event := decode(recorded):
            case GatewayStarted():
                self._start(recorded, at)
            case GatewayStopped():
                self._end(recorded.run, at)
            case GatewayLost():
                self._end(event.run, min(event.alive_at, at))
            case GatewayLapsed():
                self._end(event.run, at)
            case GatewayStalled():
                self._stalls.setdefault(recorded.run, []).append((event.since, min(event.until, at)))
            case _:
                pass

    def _start(self, recorded: Recorded, at: Micros) -> None:
        if recorded.id in self._began:
            return
        for run in [run for run, gateway in self._running.items() if gateway == recorded.gateway]:
            self._end(run, at)
        self._began[recorded.id] = at
        self._running[recorded.id] = recorded.gateway

    def _end(self, run: str, at: Micros) -> None:
        if self._running.pop(run, None) is not None:
            self._ended[run] = max(at, self._began[run])

    def watch(self, caps: Mapping[int, Micros]) -> Watch:
        ends = {run: self._ended.get(run, self._alive.get(run, self._latest)) for run in self._began}
        by_run = {
            run: Spans([(began, ends[run])]).without(Spans(self._stalls.get(run, ())))
            for run, began in self._began.items()
        }
        return Watch(by_run, ends, caps)

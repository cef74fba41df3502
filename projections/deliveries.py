"""Deliveries over time: for each webhook what it accepted, what was given up, and how long it took to answer.

Counted by the time of the event that records the outcome, in periods of `PERIOD` from the begin of 1970 on, for as
long as `REACH`. A failed attempt is no event: it is counted with the outcome of its message. How a webhook fared
meanwhile is kept too, as its changes of state, which are events at once.

All of it is bounded: `MOST` periods of all webhooks together and `MOVES` changes of state of each; what is older goes
first. The sums since a webhook was added stay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from ..engine.entry import Recorded
from ..engine.events import DeliveryOutcome, DeliveryParked, DeliverySucceeded, Event, Micros
from ..engine.fold import Below, Projection
from .webhooks import Webhook, webhooks

__all__ = ["EDGES", "MOST", "MOVES", "PERIOD", "REACH", "Deliveries", "Fared", "Move", "Tally", "deliveries"]

_SECOND: Final[Micros] = 1_000_000
PERIOD: Final[Micros] = 900 * _SECOND
"""Microseconds: a quarter of an hour, fine enough to see a restart of a receiver, and 672 make a week."""
REACH: Final[Micros] = 7 * 86_400 * _SECOND
"""Microseconds before the newest outcome: what is older is forgotten."""
MOST: Final = 50_000
"""Periods of all webhooks together, some 25 MB: a full week of 74 busy webhooks, two days of 260."""
MOVES: Final = 200
"""Changes of state that are kept of a webhook."""

EDGES: Final[tuple[float, ...]] = (
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.007),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0),
)
"""Upper ends of the classes of latency, in seconds, each included; the last class has none. A quantile read from them
is wrong by a third at most."""

Fared: TypeAlias = Literal["active", "failing", "suspended", "paused", "disabled"]
"""A webhook's state over time: `paused` by hand, `suspended` by the breaker."""


class Tally(msgspec.Struct, gc=False):
    """What was counted."""

    accepted: int = 0
    """Messages that were accepted."""
    parked: int = 0
    """Messages that were given up."""
    failed: int = 0
    """Attempts that failed, at messages that were accepted or given up in the end."""
    seconds: float = 0.0
    """The sum of the latencies of the attempts that were accepted."""
    latencies: list[int] = msgspec.field(default_factory=lambda: [0] * (len(EDGES) + 1))
    """How many of these fell into each class."""

    def count(self, event: DeliveryOutcome) -> None:
        """Count an outcome."""
        if isinstance(event, DeliverySucceeded):
            self.accepted += 1
            self.failed += max(event.attempts - 1, 0)
            latency = event.latency if event.latency > 0 else 0.0  # an odd one is never a number that spoils the sum
            self.seconds += min(latency, EDGES[-1] * 10)
            self.latencies[bisect_left(EDGES, latency)] += 1
        else:
            self.parked += 1
            self.failed += max(event.attempts, 0)

    def add(self, other: Tally) -> None:
        """Add what another counted."""
        self.accepted += other.accepted
        self.parked += other.parked
        self.failed += other.failed
        self.seconds += other.seconds
        self.latencies = [one + more for one, more in zip(self.latencies, other.latencies, strict=True)]

    def quantile(self, share: float) -> float | None:
        """Return the latency, in seconds, that this share of the accepted attempts did not exceed; none without any.

        Within a class it is taken to rise evenly; beyond the last edge it is that edge.
        """
        wanted, below = share * sum(self.latencies), 0
        for number, many in enumerate(self.latencies):
            if many and below + many >= wanted:
                if number == len(EDGES):
                    break
                lower = EDGES[number - 1] if number else 0.0
                return lower + (EDGES[number] - lower) * max(wanted - below, 0.0) / many
            below += many
        return EDGES[-1] if below or self.latencies[-1] else None


class Move(msgspec.Struct, frozen=True, gc=False):
    """From when on a webhook was in a state."""

    at: Micros
    state: Fared


class Deliveries:
    """What was delivered to the webhooks that there are."""

    def __init__(self) -> None:
        self._periods: dict[Micros, dict[str, Tally]] = {}
        """By begin, the oldest first; then by webhook."""
        self._many = 0
        """Tallies in all of them."""
        self._totals: dict[str, Tally] = {}
        self._moves: dict[str, deque[Move]] = {}

    def __repr__(self) -> str:
        return f"<deliveries of {len(self._totals)} webhooks in {self._many} periods>"

    def periods(self, webhook: str, since: Micros = 0) -> Iterator[tuple[Micros, Tally]]:
        """Yield the periods in which a webhook's messages had outcomes, that begin at or after a time, oldest first."""
        for begin, by_webhook in self._periods.items():
            tally = by_webhook.get(webhook)
            if tally is not None and begin >= since:
                yield begin, tally

    def total(self, webhook: str) -> Tally:
        """Return the sums since a webhook was added."""
        return self._totals.get(webhook) or Tally()

    def moves(self, webhook: str) -> Sequence[Move]:
        """Return a webhook's newest changes of state, oldest first. The first is known from its time on alone."""
        return tuple(self._moves.get(webhook, ()))

    # --- moves -------------------------------------------------------------------------------------------------------

    def follow(self, webhook: str, now: Webhook | None, at: Micros) -> None:
        """Follow a change of a subscription; of one that was removed, forget all."""
        if now is None:
            self._totals.pop(webhook, None)
            self._moves.pop(webhook, None)
            for begin in list(self._periods):
                self._many -= self._periods[begin].pop(webhook, None) is not None
                if not self._periods[begin]:
                    del self._periods[begin]
            return
        moves = self._moves.setdefault(webhook, deque(maxlen=MOVES))
        self._totals.setdefault(webhook, Tally())
        state = fared(now)
        if not moves or moves[-1].state != state:
            moves.append(Move(at, state))

    def count(self, event: DeliveryOutcome, at: Micros) -> None:
        """Count an outcome that was recorded at this time."""
        total = self._totals.get(event.webhook)
        if total is None:
            return
        total.count(event)
        begin = at - at % PERIOD
        period = self._periods.get(begin)
        if period is None:
            if self._is_old(begin):
                return
            period = self._open(begin)
        tally = period.get(event.webhook)
        if tally is None:
            period[event.webhook] = tally = Tally()
            self._many += 1
            self._forget()
        tally.count(event)

    def _is_old(self, begin: Micros) -> bool:
        return bool(self._periods) and begin <= next(reversed(self._periods)) - REACH

    def _open(self, begin: Micros) -> dict[str, Tally]:
        newest = next(reversed(self._periods), begin)
        period: dict[str, Tally] = {}
        self._periods[begin] = period
        if begin < newest:  # the clock was set back: rare
            self._periods = dict(sorted(self._periods.items()))
        return period

    def _forget(self) -> None:
        """Forget what is too old, and the oldest where there is too much; never the newest period."""
        newest = next(reversed(self._periods))
        while (begin := next(iter(self._periods))) < newest and (begin <= newest - REACH or self._many > MOST):
            self._many -= len(self._periods.pop(begin))

    # --- written down ------------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Write them down; equal ones give equal bytes."""
        moves = {webhook: list(of_one) for webhook, of_one in self._moves.items()}
        return _encode(_Kept(list(self._periods.items()), self._totals, moves))

    @staticmethod
    def load(kept: bytes) -> Deliveries:
        """Read what `dump` wrote."""
        read, state = _decode(kept), Deliveries()
        state._periods = dict(read.periods)
        state._many = sum(map(len, state._periods.values()))
        state._totals = read.totals
        state._moves = {webhook: deque(of_one, maxlen=MOVES) for webhook, of_one in read.moves.items()}
        return state


def fared(webhook: Webhook) -> Fared:
    """Return the state of a webhook as its changes over time tell it: that of the log."""
    if webhook.state != "active":
        return webhook.state
    return "active" if webhook.health == "well" else webhook.health


class _Kept(msgspec.Struct, frozen=True):
    periods: list[tuple[Micros, dict[str, Tally]]]
    totals: dict[str, Tally]
    moves: dict[str, list[Move]]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


def _apply(state: Deliveries, recorded: Recorded, event: Event, below: Below) -> Sequence[None]:
    if isinstance(event, DeliveryOutcome):
        state.count(event, recorded.at)
    else:
        for change in below.changes(webhooks):
            state.follow(change.webhook, change.now, recorded.at)
    return ()


deliveries: Projection[Deliveries, None] = Projection(
    name="deliveries",
    version=1,
    kinds=webhooks.kinds | {DeliverySucceeded.kind, DeliveryParked.kind},
    initial=Deliveries,
    apply=_apply,
    dump=Deliveries.dump,
    load=Deliveries.load,
    needs=(webhooks,),
)
"""How deliveries went over time. Its state is `Deliveries`; nobody needs its changes."""

"""How webhooks fare, as one process saw it: for people to look at, never to decide by."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from attrs import frozen

from ..events import Micros
from ..sending import Answer, Owed
from ..sending import Health as Fares
from .life import Life
from .scheduling.breaker import State as BreakerState
from .scheduling.condition import Condition
from .scheduling.verdicts import Outcome, Verdict

ANSWERS_KEPT: Final = 20
"""Newest answers of a webhook that are kept; at most 4 KiB of text each."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt and what came of it, for people to look at."""

    message: str
    subject: str
    at: Micros
    """When it began."""
    number: int
    """Of the attempts in this round."""
    outcome: Outcome
    status: int | None
    error: str
    latency: float
    excerpt: str


@frozen(kw_only=True)
class Health:
    """How a webhook fares, as seen by this process."""

    state: Literal["active", "failing", "paused", "disabled"]
    """`failing`: its newest attempt failed, and nothing was accepted since. `paused`: by hand, or by the breaker."""
    fares: Fares
    """Whether its receiver fails, or failed so often that it is left alone (`suspended`)."""
    problem: str
    """Why nothing is accepted, or nothing can be sent, in words; empty if nothing stands in the way."""
    trouble: str
    """What hinders us from sending, though not the receiver, in words (no network, no name server); empty: nothing."""
    breaker: BreakerState
    in_flight: int
    unsigned: bool
    """It has no usable secret: nothing is sent, because nothing is ever sent unsigned."""
    accepted_at: Micros
    """When it last accepted a message, or was added or enabled."""
    answers: tuple[Answered, ...]
    """The newest ones, oldest first."""
    tally: Mapping[str, int]
    """`attempts`, `succeeded`, `failed`, `parked` since this process began."""
    not_before: Micros | None = None
    """Until when nothing is tried, as its receiver failed so often; none: it is not suspended."""


class Seen:
    """What this process saw of one webhook; its `Health` is made from that."""

    def __init__(self) -> None:
        self.answers: deque[Answered] = deque(maxlen=ANSWERS_KEPT)
        self.tally: Counter[str] = Counter()
        self.accepted_at: Micros = 0
        self.life = Life()
        self.unsigned = False
        self.lacking = ""
        """What the vault lacks, so that no attempt can be made."""

    def keep(self, message: Owed, answer: Answer, verdict: Verdict, at: Micros) -> None:
        """Keep the answer to an attempt that began *at* then."""
        if answer.accepted:
            self.accepted_at = at
        self.answers.append(
            Answered(
                message=message.id,
                subject=message.subject,
                at=at,
                number=verdict.attempts,
                outcome=verdict.outcome,
                status=answer.status,
                error=answer.error,
                latency=answer.latency,
                excerpt=answer.excerpt,
            )
        )

    def problem(self, condition: Condition | None, now: float) -> str:
        """Return why nothing is accepted, or nothing can be sent, in words; empty if nothing stands in the way."""
        if self.lacking:
            return f"{self.lacking}; nothing is sent to it until that is mended"
        if condition is None or condition.health == "well":
            return "" if condition is None else condition.trouble
        if condition.trouble:
            return condition.trouble
        newest = self.answers[-1] if self.answers else None
        answered = "" if newest is None else newest.error or f"answered {newest.status}"
        if condition.health == "failing":
            return answered or "it failed before this process began, and accepted nothing since"
        seconds = max(0.0, condition.breaker.until - now)
        return f"so many messages failed that it is tried with one at a time, next in {seconds:.0f} s" + (
            f": {answered}" if answered else ""
        )

"""What came of an attempt, as the log and its telemetry keep it."""

from __future__ import annotations

from typing import Final

from ..events import DeliveryParked, DeliverySucceeded, Micros
from ..log import Attempted
from ..sending import Answer, Owed
from .scheduling.verdicts import Verdict

REASON_LIMIT: Final = 500
"""Characters of a failure's words that are kept: part of them may be the receiver's, and they go into the log."""


def in_words(answer: Answer) -> str:
    """Return what was wrong with an answer, in words."""
    return (answer.error or f"answered {answer.status}")[:REASON_LIMIT]


def outcome(message: Owed, answer: Answer, verdict: Verdict, at: Micros) -> DeliverySucceeded | DeliveryParked:
    """Return the event of a message that was delivered or given up by an attempt that began *at* then."""
    if verdict.outcome == "delivered":
        assert answer.status is not None
        return DeliverySucceeded(
            message=message.id,
            webhook=message.webhook,
            position=message.position,
            round=message.round,
            attempts=verdict.attempts,
            status=answer.status,
            attempted_at=at,
            latency=answer.latency,
        )
    return DeliveryParked(
        message=message.id,
        webhook=message.webhook,
        position=message.position,
        round=message.round,
        attempts=verdict.attempts,
        status=answer.status,
        attempted_at=at,
        latency=answer.latency,
        reason=in_words(answer),
    )


def failure(message: Owed, answer: Answer, verdict: Verdict, at: Micros, due: Micros) -> Attempted:
    """Return the note of an attempt that failed and will be followed by another."""
    return Attempted(
        message=message.id,
        round=message.round,
        number=verdict.attempts,
        at=at,
        due=due,
        delay=verdict.delay,
        status=answer.status,
        error=answer.error[:REASON_LIMIT],
    )

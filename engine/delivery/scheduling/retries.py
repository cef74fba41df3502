"""When a failed message is tried again: the schedule, its jitter, and what Retry-After may add."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from ...sending import Answer
from ...settings import Retry

THROTTLING = frozenset({429, 503})
"""The answers whose Retry-After is obeyed (RFC 6585, 4; RFC 9110, 15.6.4)."""


class Progress(msgspec.Struct, frozen=True):
    """What is known of a message that failed at least once. Nothing of it decides whether it is owed."""

    round: int
    """The round that these attempts belong to."""
    attempts: int
    """Attempts that failed."""
    due: float
    """When the next one may begin, by the stepless clock."""
    put_off: float = 0.0
    """Seconds by which Retry-After has put it off so far, beyond the schedule."""


def delay_after(retry: Retry, message: str, attempts: int) -> float:
    """Return the seconds from the *attempts*-th failed attempt to the next, jitter included.

    The jitter comes from the message id and the number alone, so that a replay agrees, and so that the lanes of one
    outage do not all come back in the same moment.
    """
    drawn = int.from_bytes(sha256(f"{message}:{attempts}".encode()).digest()[:8], "big") / (1 << 64)
    return retry.delays[attempts - 1] * (1.0 + retry.jitter * (2.0 * drawn - 1.0))


def asked_delay(answer: Answer) -> float:
    """Return the seconds for which an answer asks to be left alone; 0 if it does not, or is of no kind that may."""
    if answer.status not in THROTTLING or answer.retry_after is None:
        return 0.0
    return max(0.0, answer.retry_after)


def next_attempt(
    retry: Retry, message: str, before: Progress | None, round: int, answer: Answer, now: float
) -> Progress | None:
    """Return a message's progress after one more failure; none if that was its last attempt.

    Retry-After is a lower bound on the schedule's delay: it can put a message off for `retry_after_cap` in all,
    and never makes it due earlier.
    """
    attempts = (before.attempts if before else 0) + 1
    if attempts > len(retry.delays):
        return None
    put_off = before.put_off if before else 0.0
    scheduled = delay_after(retry, message, attempts)
    more = min(max(0.0, asked_delay(answer) - scheduled), retry.retry_after_cap - put_off)
    return Progress(round=round, attempts=attempts, due=now + scheduled + more, put_off=put_off + more)

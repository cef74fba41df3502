"""How one webhook fares, and what each answer means for it: its breaker, and whether it must be disabled."""

from __future__ import annotations

from typing import Final

from ..sending import Answer
from ..settings import Retry
from .breaker import Breaker
from .retries import asked_delay

GONE: Final = 410
GONE_CONFIRMED_AFTER: Final = 60.0
"""Seconds between two 410 answers that disable a webhook: one alone may be a deploy in passing."""

_DAY: Final = 86_400.0


class Condition:
    """How a webhook fares. A webhook that is mended or enabled gets a new one."""

    __slots__ = ("_gone_since", "_retry", "breaker", "failing_since")

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._gone_since: float | None = None
        self.breaker = Breaker()
        self.failing_since: float | None = None
        """When the first failure came after which nothing was accepted; none if it is well."""

    def accepted(self) -> None:
        """Note that its receiver accepted something."""
        self.breaker.accepted()
        self.failing_since = self._gone_since = None

    def failed(self, message: str, answer: Answer, now: float) -> str:
        """Note that an attempt failed, and return why the webhook must be disabled for it; empty if it need not."""
        if self.failing_since is None:
            self.failing_since = now
        self.breaker.failed(message, now, asked=min(asked_delay(answer), self._retry.retry_after_cap))
        if answer.status == GONE:
            if self._gone_since is None:
                self._gone_since = now
            elif now - self._gone_since >= GONE_CONFIRMED_AFTER:
                return "the receiver answered 410 Gone, and again a minute later"
        elif answer.status is not None:
            self._gone_since = None
        if now - self.failing_since >= self._retry.disable_after:
            return f"every attempt failed for {(now - self.failing_since) / _DAY:.1f} days"
        return ""

    def ask_again(self, answer: Answer) -> float | None:
        """Return when a 410 is to be confirmed; none if the answer was another."""
        if answer.status != GONE or self._gone_since is None:
            return None
        return self._gone_since + GONE_CONFIRMED_AFTER

"""How one webhook fares, and what each answer means for it: its breaker, and whether it must be disabled."""

from __future__ import annotations

from math import inf
from typing import Final

from ...sending import Answer, Health
from ...settings import Retry
from .breaker import Breaker
from .retries import asked_delay

GONE: Final = 410
GONE_CONFIRMED_AFTER: Final = 60.0
"""Seconds between two 410 answers that disable a webhook: one alone may be a deploy in passing."""

FIRST_TROUBLE: Final = 5.0
LONGEST_TROUBLE: Final = 300.0
"""Seconds for which a webhook is held when the trouble is ours: the first time, and where doubling ends."""

ENOUGH: Final = 5
"""Attempts that failed, at least, before a webhook is disabled for days of failures, the last two within a day of each
other: one message that failed on Monday, and another on Saturday, say too little of its receiver."""

_DAY: Final = 86_400.0


class Condition:
    """How a webhook fares. A webhook that is mended or enabled gets a new one."""

    __slots__ = (
        "_failed",
        "_failed_at",
        "_gone_since",
        "_pause",
        "_retry",
        "_trouble_since",
        "breaker",
        "failing_since",
        "trouble",
    )

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._gone_since: float | None = None
        self._failed = 0
        """Attempts that failed since it was well, as far as they are known."""
        self._failed_at = -inf
        """When the newest of them did."""
        self.breaker = Breaker(retry.retry_after_cap)
        self.failing_since: float | None = None
        """When the first failure came after which nothing was accepted; none if it is well."""
        self.trouble = ""
        """What hindered us when we tried last, though not the receiver; empty: nothing did."""
        self._trouble_since = 0.0
        self._pause = 0.0

    @property
    def health(self) -> Health:
        """How it fares, as the log shall say it."""
        if self.breaker.tripped:
            return "suspended"
        return "well" if self.failing_since is None else "failing"

    @property
    def troubled(self) -> bool:
        """Whether the trouble is ours: then one attempt at a time finds out whether it is over."""
        return self._pause > 0.0

    def accepted(self) -> None:
        """Note that its receiver accepted something."""
        self.breaker.accepted()
        self.failing_since = self._gone_since = None
        self._failed, self._failed_at = 0, -inf
        self.trouble, self._pause = "", 0.0

    def failed_before(self, since: float, newest: float, attempts: int) -> None:
        """Take up that so many attempts failed before a restart, the first *since* then."""
        self.failing_since = since if self.failing_since is None else min(self.failing_since, since)
        self._failed, self._failed_at = self._failed + attempts, max(self._failed_at, newest)

    def hindered(self, answer: Answer, now: float, *, held: bool) -> float:
        """Note that an attempt failed for a trouble of ours, and return the seconds to wait before the next one.

        *held*: it is being waited for already, since an attempt that began together with this one.
        """
        if not self._pause:
            self._trouble_since = now
        if not (held and self._pause):
            self._pause = min(2.0 * self._pause, LONGEST_TROUBLE) or FIRST_TROUBLE
        self.trouble = answer.error or "no attempt could be made from here"
        return self._pause

    def failed(self, message: str, answer: Answer, now: float) -> str:
        """Note that an attempt failed, and return why the webhook must be disabled for it; empty if it need not."""
        if self.failing_since is None:
            self.failing_since = now
        elif self._pause:
            # Nobody tells what the receiver would have answered meanwhile: that time does not count against it.
            self.failing_since += now - self._trouble_since
        self.trouble, self._pause = "", 0.0
        self.breaker.failed(message, now, asked=asked_delay(answer))
        if answer.status == GONE:
            if self._gone_since is None:
                self._gone_since = now
            elif now - self._gone_since >= GONE_CONFIRMED_AFTER:
                return "the receiver answered 410 Gone, and again a minute later"
        elif answer.status is not None:
            self._gone_since = None
        recent, self._failed_at = now - self._failed_at <= _DAY, now
        self._failed += 1
        if now - self.failing_since >= self._retry.disable_after and self._failed >= ENOUGH and recent:
            return f"every attempt failed for {(now - self.failing_since) / _DAY:.1f} days"
        return ""

    def ask_again(self, answer: Answer) -> float | None:
        """Return when a 410 is to be confirmed; none if the answer was another."""
        if answer.status != GONE or self._gone_since is None:
            return None
        return self._gone_since + GONE_CONFIRMED_AFTER

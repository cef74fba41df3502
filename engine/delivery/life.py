"""The life of a webhook, as the log shall tell it: it began to fail, was suspended, accepted again.

    well ── failed ──> failing ── suspended ──> suspended        resumed: at the first acceptance after either

One `webhook.failed` a minute at most: a receiver that flaps must not fill the log. One that is put off is recorded
when the minute is over, if it still fails.
"""

from __future__ import annotations

from typing import Final

from ..events import Event, Micros, WebhookFailed, WebhookResumed, WebhookSuspended
from ..sending import Answer, Health
from .outcomes import in_words

FAILED_EVERY: Final = 60.0
"""Seconds between two `webhook.failed` of one webhook, at least."""


class Life:
    """What the log says of how a webhook fares, and what it has to be told next."""

    __slots__ = ("_afresh_at", "_begun", "_failed_at", "_reason", "_status", "telling", "told")

    def __init__(self) -> None:
        self.told: Health = "well"
        """As the log has it."""
        self.telling = False
        """Whether something is being recorded."""
        self._afresh_at: Micros = 0
        self._begun: Micros = 0
        self._reason = ""
        self._status: int | None = None
        self._failed_at: float | None = None

    def afresh(self, at: Micros) -> None:
        """Forgive what was attempted before it was added, enabled or mended, *at* then."""
        self._afresh_at = at
        if self._begun < at:
            self._begun = 0

    def answered(self, answer: Answer, at: Micros) -> None:
        """Note the answer to an attempt that began *at* then."""
        if at < self._afresh_at:
            return
        if answer.accepted:
            self._begun = 0
        else:
            self._begun = self._begun or at
            self._reason, self._status = in_words(answer), answer.status

    def due(self, fares: Health, since: Micros, now: float) -> Event | None:
        """Return what the log has to be told, given how the webhook *fares*; none if nothing, or not yet.

        *since*: when its trouble began, as far as that is known from before this process.
        """
        if fares == self.told:
            return None
        since = min(self._begun or since, since)
        if fares == "suspended":
            return WebhookSuspended(since=since, reason=self._reason, status=self._status)
        if fares == "well" or self.told == "suspended":
            return WebhookResumed()
        if now < self.put_off_until:
            return None
        return WebhookFailed(since=since, reason=self._reason, status=self._status)

    @property
    def put_off_until(self) -> float:
        """Before then no `webhook.failed` is recorded."""
        return float("-inf") if self._failed_at is None else self._failed_at + FAILED_EVERY

    def recorded(self, event: Event, now: float) -> None:
        """Note that the log was told."""
        if isinstance(event, WebhookFailed):
            self.told, self._failed_at = "failing", now
        else:
            self.told = "suspended" if isinstance(event, WebhookSuspended) else "well"

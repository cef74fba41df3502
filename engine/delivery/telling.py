"""Telling the log how webhooks fare: it is told what is so when it can be written, however long that takes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from ..clock import Clock
from ..events import Event, Micros, WebhookResumed, WebhookSuspended
from .health import Seen
from .scheduling.lanes import Lanes

_logger = logging.getLogger(__name__)


class Record(Protocol):
    """Records an event, however long the log cannot be written, as long as it is *wanted*; returns whether it was."""

    async def __call__(self, event: Event, *, subject: str, wanted: Callable[[], bool]) -> bool: ...


def _never(task: Callable[..., Awaitable[Any]], *arguments: object) -> None:
    raise RuntimeError("nothing runs yet")


class Teller:
    """Sees to it that the log knows how each webhook fares."""

    def __init__(
        self,
        lanes: Lanes,
        seen: Mapping[str, Seen],
        clock: Clock,
        now: Callable[[], Micros],
        record: Record,
        news: Callable[[], None],
    ) -> None:
        self.start_soon: Callable[..., None] = _never
        """Starts a task; the loop puts it here."""
        self.put_off: dict[str, float] = {}
        """By webhook: when the log may be told next that it fails, if it still does."""
        self._lanes = lanes
        self._seen = seen
        self._clock = clock
        self._now = now
        self._record = record
        self._news = news

    def look(self, webhook: str, seen: Seen) -> None:
        """Tell the log how a webhook fares, now or when it may be told, if it does not know."""
        condition = self._lanes.condition(webhook)
        if condition is None or condition.health == seen.life.told or seen.life.telling:
            return
        if self._due(webhook) is not None:
            seen.life.telling = True
            self.start_soon(self._tell, webhook, seen)
        elif self._clock.stepless() < seen.life.put_off_until:
            self.put_off[webhook] = seen.life.put_off_until
            self._news()

    def tell_late(self) -> None:
        """Tell the log what was put off, as far as it is still so."""
        now = self._clock.stepless()
        for webhook in [webhook for webhook, until in self.put_off.items() if until <= now]:
            del self.put_off[webhook]
            if webhook in self._seen:
                self.look(webhook, self._seen[webhook])

    async def _tell(self, webhook: str, seen: Seen) -> None:
        try:
            while (event := self._due(webhook)) is not None:
                if await self._record(event, subject=webhook, wanted=partial(self._still_so, webhook, type(event))):
                    seen.life.recorded(event, self._clock.stepless())
                    _warn(webhook, event)
        finally:
            seen.life.telling = False
        self.look(webhook, seen)

    def _due(self, webhook: str) -> Event | None:
        """Return what the log is to be told of a webhook now; nothing of one that is not active."""
        condition, seen = self._lanes.condition(webhook), self._seen.get(webhook)
        if condition is None or seen is None or not self._lanes.active(webhook):
            return None
        now = self._clock.stepless()
        since = now if condition.failing_since is None else condition.failing_since
        return seen.life.due(condition.health, self._now() - round((now - since) * 1_000_000), now)

    def _still_so(self, webhook: str, kind: type[Event]) -> bool:
        return isinstance(self._due(webhook), kind)


def _warn(webhook: str, event: Event) -> None:
    """Say on our own log what operators want to know without looking into the event log."""
    if isinstance(event, WebhookSuspended):
        _logger.warning("webhook %s is suspended, and probed with one message at a time: %s", webhook, event.reason)
    elif isinstance(event, WebhookResumed):
        _logger.info("webhook %s accepts messages again", webhook)

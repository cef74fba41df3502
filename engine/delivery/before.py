"""What a process knows of the attempts of those before it: failures, when they are due, and what put them off.

It is taken up message by message, when one comes to the head of a lane that is looked at; nothing is walked through at
the start, however much is owed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from ..clock import Clock
from ..errors import LogError
from ..events import Micros
from ..log import Attempted
from ..sending import Answer, Owed, Owing
from ..settings import Retry
from .scheduling.condition import ENOUGH
from .scheduling.lanes import Lanes
from .scheduling.retries import Progress, asked_delay, delay_after


class Before:
    """The attempts that were made before this process began."""

    def __init__(
        self,
        attempts: Mapping[str, Attempted],
        lanes: Lanes,
        clock: Clock,
        now: Callable[[], Micros],
        owing: Callable[[], Owing],
        history: Callable[[str], Awaitable[Sequence[Attempted]]] | None,
    ) -> None:
        self._attempts = dict(attempts)
        self._lanes = lanes
        self._clock = clock
        self._now = now
        self._owing = owing
        self._history = history
        self._unsummed: set[str] = set()
        """Messages of which it is not known yet by how much Retry-After had put them off in all."""
        if self._attempts:
            lanes.tried.earlier = self._take_up

    def __getitem__(self, message: str) -> Attempted | None:
        """Return the newest attempt at a message; none if there was none, or it was taken up."""
        return self._attempts.get(message)

    def forget(self, message: Owed) -> None:
        """Drop what is known of a message that is pending no more."""
        if self._attempts:
            self._attempts.pop(message.id, None)
        if self._unsummed:
            self._unsummed.discard(message.id)

    def failing_since(self, webhook: str) -> None:
        """Take up since when a webhook has accepted nothing, as far as the log tells."""
        destination = self._owing().destination(webhook)
        if destination is not None and destination.failing_since is not None:
            enough = destination.health == "suspended"
            self._failed_at(webhook, destination.failing_since, ENOUGH if enough else 1)

    def concerns(self, message: Owed, answer: Answer) -> bool:
        """Return whether an answer can be judged only after `sum_up`."""
        return bool(self._unsummed) and message.id in self._unsummed and asked_delay(answer) > 0.0

    async def sum_up(self, message: Owed) -> None:
        """Find out by how much Retry-After has put a message off in all, over all processes before this one.

        Where that cannot be read it counts as spent: then the schedule alone rules.
        """
        self._unsummed.discard(message.id)
        known, retry = self._lanes.tried.known(message), self._lanes.retry
        if known is None or self._history is None:
            return
        try:
            rows = await self._history(message.id)
            spent = sum(put_off(retry, row) for row in rows if row.round == message.round)
        except LogError:
            spent = retry.retry_after_cap
        if self._lanes.tried[message.id] is not None:
            self._lanes.tried.note(message, replace(known, put_off=min(spent, retry.retry_after_cap)))

    def _take_up(self, message: Owed) -> Progress | None:
        known = self._attempts.pop(message.id, None)
        if not self._attempts:
            self._lanes.tried.earlier = None
        if known is None or known.round != message.round:
            return None
        destination = self._owing().destination(message.webhook)
        afresh_at = 0 if destination is None else destination.afresh_at
        if destination is not None and known.at > max(destination.accepted_at, afresh_at):
            self._failed_at(message.webhook, known.at, known.number)
        if known.number > 1:
            self._unsummed.add(message.id)
        # The wall clock may have been set meanwhile: no message waits longer than the delay that made its due.
        waits = min(max(0.0, (known.due - self._now()) / 1_000_000), known.delay)
        if known.at < afresh_at:
            waits = 0.0  # as for what was known when it was enabled or mended (`Lanes.direct`)
        return Progress(
            round=message.round,
            attempts=known.number,
            due=self._clock.stepless() + waits,
            put_off=min(put_off(self._lanes.retry, known), self._lanes.retry.retry_after_cap),
        )

    def _failed_at(self, webhook: str, at: Micros, attempts: int) -> None:
        then = self._clock.stepless() - max(0.0, (self._now() - at) / 1_000_000)
        self._lanes.failed_before(webhook, then, newest=then, attempts=attempts)


def put_off(retry: Retry, attempt: Attempted) -> float:
    """Return the seconds by which Retry-After put a message off after an attempt, beyond the schedule."""
    if attempt.number > len(retry.delays):
        return 0.0
    return max(0.0, attempt.delay - delay_after(retry, attempt.message, attempt.number))

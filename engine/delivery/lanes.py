"""Lanes: which webhook message is attempted next, and when. Sans-IO; time is data.

A lane is (webhook, subject). The projection says what stands at its head (`head`); this says when that is tried:

* One message of a lane is in flight. From the begin of an attempt until its outcome is in the log, or until the
  attempt has failed, the lane stands still. A failing message holds its lane and no other.
* A lane is in one place: *flying*, *ready* (in its webhook's queue), *waiting* (in the timer heap) or, with nothing at
  its head, nowhere. Nothing is ever scanned: ten thousand waiting lanes cost what is due.
* Webhooks that could start something stand in one queue and are served in turn; so do the lanes of each. A webhook is
  held back by its state, by its breaker, by `hold`, and by its share of the attempts in flight. None of that waiting
  uses up an attempt.
* Tickets make old heap entries void: an entry counts only while its owner still bears its number.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Literal, TypeAlias

import msgspec
from attrs import frozen

from ..sending import Answer, Destination, Owed
from ..settings import Retry
from .breaker import State as BreakerState
from .condition import Condition
from .retries import Progress, next_attempt

Outcome: TypeAlias = Literal["delivered", "parked", "failed", "dropped"]


@frozen(kw_only=True)
class Verdict:
    """What an answer means for its message and its webhook."""

    outcome: Outcome
    """`delivered` and `parked` are to be recorded, and the lane stands until `recorded`; `failed` is tried again;
    `dropped` is a failure of which nobody wants to know any more, because the webhook was removed."""
    attempts: int
    """Attempts in this round, this one included."""
    delay: float = 0.0
    """For `failed`: seconds until the next attempt may begin."""
    disable: str = ""
    """Why the webhook must be disabled now; empty if it need not."""


class _Lane:
    __slots__ = ("finished", "flying", "head", "queued", "subject", "ticket", "webhook")

    def __init__(self, webhook: _Webhook, subject: str) -> None:
        self.webhook = webhook
        self.subject = subject
        self.head: Owed | None = None
        self.flying: Owed | None = None
        self.finished: tuple[str, int] | None = None
        self.queued = False
        self.ticket = 0


class _Webhook:
    __slots__ = (
        "condition", "destination", "disabling", "flying", "held_until", "lanes", "ready", "ticket", "turning",
        "wakes_at",
    )  # fmt: skip

    def __init__(self, destination: Destination, condition: Condition) -> None:
        self.destination: Destination | None = destination
        self.condition = condition
        self.disabling = False
        self.lanes: dict[str, _Lane] = {}
        self.ready: deque[_Lane] = deque()
        self.flying = 0
        self.held_until = 0.0
        self.turning = False
        self.ticket = 0
        self.wakes_at = 0.0

    @property
    def active(self) -> bool:
        return self.destination is not None and self.destination.state == "active" and not self.disabling

    def may_begin(self, share: int) -> bool:
        return self.active and self.flying < share and bool(self.ready)


class Lanes:
    """The scheduler of all deliveries. Every method is synchronous and says what is so *now*; none waits.

    Times are seconds on a stepless clock, and never go back.
    """

    def __init__(self, retry: Retry, *, concurrency: int, webhook_concurrency: int) -> None:
        self.retry = retry
        self._concurrency = concurrency
        self._share = webhook_concurrency
        self._webhooks: dict[str, _Webhook] = {}
        self._flying: dict[str, _Lane] = {}
        self._unrecorded: dict[str, _Lane] = {}
        self._progress: dict[str, Progress] = {}
        self._turn: deque[_Webhook] = deque()
        self._timers: list[tuple[float, int, _Lane | _Webhook]] = []
        self._tickets = 0

    # --- what is owed, and to whom ---

    def direct(self, webhook: str, destination: Destination | None, now: float) -> None:
        """Say where a webhook's messages go now; none: it was removed, and nothing of it is kept.

        A webhook that is mended (another URL, other secrets) or enabled starts afresh: its breaker is closed, its
        failures are forgiven, and what waits is due at once. No message gets its attempts back.
        """
        if destination is None:
            self._remove(webhook)
            return
        known = self._webhooks.get(webhook)
        if known is None:
            self._webhooks[webhook] = _Webhook(destination, Condition(self.retry))
            return
        before, known.destination = known.destination, destination
        changed = before is not None and _differ(before, destination)
        if changed:
            known.disabling = False
        if changed and known.active:
            known.condition, known.held_until = Condition(self.retry), 0.0
            for lane in list(known.lanes.values()):
                self._hasten(lane, now)
        self._offer(known, now)

    def head(self, webhook: str, subject: str, message: Owed | None, now: float) -> None:
        """Say which message stands at the head of a lane; none: the lane is empty. Saying it again is harmless."""
        owner = self._webhooks.get(webhook)
        if owner is None:
            return
        lane = owner.lanes.get(subject)
        if lane is None:
            if message is None:
                return
            lane = owner.lanes[subject] = _Lane(owner, subject)
        lane.head = message
        self._place(lane, now)

    def remember(self, message: Owed, *, attempts: int, due: float) -> None:
        """Take up what is known of a pending message's failures from before a restart, before it comes to a head."""
        self._progress[message.id] = Progress(round=message.round, attempts=attempts, due=due)

    def failed_since(self, webhook: str, since: float) -> None:
        """Take up since when a webhook has accepted nothing, from before a restart."""
        owner = self._webhooks.get(webhook)
        if owner is not None:
            known = owner.condition.failing_since
            owner.condition.failing_since = since if known is None else min(known, since)

    def forget(self, message: str) -> None:
        """Drop what is known of a message that is pending no more."""
        self._progress.pop(message, None)

    def hold(self, webhook: str, until: float, now: float) -> None:
        """Begin nothing more for a webhook until then: what its attempts need is not there."""
        owner = self._webhooks.get(webhook)
        if owner is not None:
            owner.held_until = max(owner.held_until, until)
            self._offer(owner, now)

    # --- attempts ---

    def start(self, now: float) -> Owed | None:
        """Return the message to attempt next, now in flight; none if nothing may begin. Ask until it says none."""
        self._wake(now)
        while self._turn and len(self._flying) < self._concurrency:
            webhook = self._turn.popleft()
            webhook.turning = False
            lane = self._next_lane(webhook, now)
            if lane is None or lane.head is None:
                continue
            lane.flying = lane.head
            self._flying[lane.head.id] = lane
            webhook.flying += 1
            webhook.condition.breaker.begin(lane.head.id)
            self._offer(webhook, now)
            return lane.head
        return None

    def deadline(self) -> float | None:
        """Return when `start` is worth asking again if nothing else happens until then; none: never."""
        while self._timers and self._timers[0][1] != self._timers[0][2].ticket:
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def answered(self, message: Owed, answer: Answer, now: float) -> Verdict:
        """Say what came of an attempt, and learn what it means."""
        lane = self._land(message)
        webhook = lane.webhook
        verdict = self._judge(webhook, message, answer, now)
        if verdict.outcome in ("delivered", "parked"):
            self._finish(lane, message)
        else:
            lane.flying = None
            self._place(lane, now)
        self._offer(webhook, now)
        return verdict

    def give_up(self, message: Owed, now: float) -> Verdict:
        """Say that an attempt that had begun was not made, and that no other can ever be: the message is parked."""
        lane = self._land(message)
        lane.webhook.condition.breaker.abandon(message.id)
        known = self._known(message)
        self._finish(lane, message)
        self._offer(lane.webhook, now)
        return Verdict(outcome="parked", attempts=known.attempts if known else 0)

    def recorded(self, message: Owed, now: float) -> None:
        """Say that the outcome of a message is in the log: its lane goes on as soon as its head is another."""
        lane = self._unrecorded.pop(message.id)
        lane.flying = None
        self._place(lane, now)

    def put_back(self, message: Owed, now: float, *, until: float = 0.0) -> None:
        """Say that an attempt that had begun was not made and counts for nothing; the lane waits *until* then."""
        lane = self._land(message)
        lane.webhook.condition.breaker.abandon(message.id)
        if until > now:
            known = self._known(message) or Progress(round=message.round, attempts=0, due=until)
            self._progress[message.id] = msgspec.structs.replace(known, due=until)
        lane.flying = None
        self._place(lane, now)
        self._offer(lane.webhook, now)

    # --- looking ---

    @property
    def flying(self) -> int:
        """Attempts in flight."""
        return len(self._flying)

    @property
    def unrecorded(self) -> int:
        """Outcomes that are not yet in the log."""
        return len(self._unrecorded)

    def in_flight(self, webhook: str) -> int:
        """Return how many attempts at a webhook are in flight."""
        owner = self._webhooks.get(webhook)
        return owner.flying if owner else 0

    def breaker(self, webhook: str, now: float) -> BreakerState:
        """Return the state of a webhook's breaker."""
        owner = self._webhooks.get(webhook)
        return owner.condition.breaker.state(now) if owner else "closed"

    def failing_since(self, webhook: str) -> float | None:
        """Return when the first failure came after which a webhook accepted nothing; none if it is well."""
        owner = self._webhooks.get(webhook)
        return owner.condition.failing_since if owner else None

    def disabling(self, webhook: str) -> bool:
        """Return whether a webhook is still to be disabled: it was not mended, paused or removed since the verdict."""
        owner = self._webhooks.get(webhook)
        return owner is not None and owner.disabling

    def progress(self, message: str) -> Progress | None:
        """Return what is known of a message that failed; none if it did not, or is pending no more."""
        return self._progress.get(message)

    # --- within ---

    def _judge(self, webhook: _Webhook, message: Owed, answer: Answer, now: float) -> Verdict:
        before = self._known(message)
        attempts = (before.attempts if before else 0) + 1
        if answer.accepted:
            webhook.condition.accepted()
            return Verdict(outcome="delivered", attempts=attempts)
        if webhook.destination is None:
            return Verdict(outcome="dropped", attempts=attempts)
        reason = webhook.condition.failed(message.id, answer, now)
        disable = reason if webhook.active else ""
        webhook.disabling = webhook.disabling or bool(disable)
        after = next_attempt(self.retry, message.id, before, message.round, answer, now)
        if after is None:
            return Verdict(outcome="parked", attempts=attempts, disable=disable)
        sooner = webhook.condition.ask_again(answer)
        if sooner is not None and sooner > now:
            after = msgspec.structs.replace(after, due=sooner)
        self._progress[message.id] = after
        return Verdict(outcome="failed", attempts=attempts, delay=after.due - now, disable=disable)

    def _known(self, message: Owed) -> Progress | None:
        progress = self._progress.get(message.id)
        return progress if progress is not None and progress.round == message.round else None

    def _land(self, message: Owed) -> _Lane:
        lane = self._flying.pop(message.id)
        lane.webhook.flying -= 1
        return lane

    def _finish(self, lane: _Lane, message: Owed) -> None:
        """Let a lane stand until the outcome of its message is recorded."""
        lane.finished = (message.id, message.round)
        self._unrecorded[message.id] = lane
        self.forget(message.id)

    def _place(self, lane: _Lane, now: float) -> None:
        """Put a lane where it belongs."""
        lane.ticket = 0
        if lane.flying is not None:
            return
        message = lane.head
        if message is None:
            lane.webhook.lanes.pop(lane.subject, None)
            return
        if (message.id, message.round) == lane.finished:
            return  # it has its outcome; the fold will move the head
        known = self._known(message)
        if known is not None and known.due > now:
            self._set_timer(lane, known.due)
        elif not lane.queued:
            lane.queued = True
            lane.webhook.ready.append(lane)
            self._offer(lane.webhook, now)

    def _hasten(self, lane: _Lane, now: float) -> None:
        """Make what waits at the head of a lane due now."""
        known = self._known(lane.head) if lane.head is not None else None
        if lane.head is not None and known is not None and known.due > now:
            self._progress[lane.head.id] = msgspec.structs.replace(known, due=now)
            self._place(lane, now)

    def _offer(self, webhook: _Webhook, now: float) -> None:
        """Let a webhook take its turn if it could start something, or note when it can."""
        if webhook.turning or not webhook.may_begin(self._share):
            return
        until = max(webhook.held_until, webhook.condition.breaker.until)
        if until > now:
            if not webhook.ticket or webhook.wakes_at != until:
                webhook.wakes_at = until
                self._set_timer(webhook, until)
        elif webhook.condition.breaker.allows(now):
            webhook.turning = True
            self._turn.append(webhook)

    def _next_lane(self, webhook: _Webhook, now: float) -> _Lane | None:
        """Take the next lane off a webhook's queue; none if the webhook can start nothing after all."""
        if not webhook.may_begin(self._share):
            return None
        if webhook.held_until > now or not webhook.condition.breaker.allows(now):
            self._offer(webhook, now)
            return None
        while webhook.ready:
            lane = webhook.ready.popleft()
            lane.queued = False
            if lane.head is None:
                continue
            known = self._known(lane.head)
            if (lane.head.id, lane.head.round) != lane.finished and (known is None or known.due <= now):
                return lane
            self._place(lane, now)
        return None

    def _wake(self, now: float) -> None:
        """Move all that has become due by time alone."""
        while (due := self.deadline()) is not None and due <= now:
            _, _, owner = heappop(self._timers)
            owner.ticket = 0
            if isinstance(owner, _Lane):
                self._place(owner, now)
            else:
                self._offer(owner, now)

    def _set_timer(self, owner: _Lane | _Webhook, due: float) -> None:
        self._tickets += 1
        owner.ticket = self._tickets
        heappush(self._timers, (due, owner.ticket, owner))

    def _remove(self, webhook: str) -> None:
        gone = self._webhooks.pop(webhook, None)
        if gone is None:
            return
        for lane in gone.lanes.values():
            if lane.head is not None:
                self.forget(lane.head.id)
            lane.head, lane.ticket = None, 0
        gone.destination, gone.ticket = None, 0
        gone.lanes.clear()
        gone.ready.clear()


def _differ(before: Destination, now: Destination) -> bool:
    """Return whether attempts may fare differently now."""
    return (before.url, before.secrets, before.state) != (now.url, now.secrets, now.state)

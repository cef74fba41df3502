"""Lanes: which webhook message is attempted next, and when. Sans-IO; time is data.

A lane is (webhook, subject). The projection says what stands at its head (`head`); this says when that is tried:

* One message of a lane is in flight. From the begin of an attempt until its outcome is in the log, or until the
  attempt has failed, the lane stands still. A failing message holds its lane and no other.
* A lane is in one place: *flying*, *ready* (in its webhook's queue), *waiting* (in the timer heap) or, with nothing at
  its head, nowhere. Nothing is ever scanned: ten thousand waiting lanes cost what is due. Of the ready lanes of a
  webhook only a window is held here (`queues`); the projection knows the rest.
* Webhooks that could start something stand in one line and are served in turn; so do the lanes of each. A webhook is
  held back by its state, its breaker, `hold`, its rate, its share of the attempts in flight, and the share of its host.
  None of that waiting uses up an attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from ...sending import Answer, Destination, Owed, Owing
from ...settings import EngineSettings
from .breaker import State as BreakerState
from .condition import Condition
from .hosts import Hosts
from .queues import WINDOW, Lane, Queue, mended, vaulted
from .retries import Progress, next_attempt
from .timers import Timers
from .tried import Tried
from .verdicts import Verdict


class Lanes:
    """The scheduler of all deliveries. Every method is synchronous and says what is so *now*; none waits.

    Times are seconds on a stepless clock, and never go back.
    """

    def __init__(self, settings: EngineSettings, owing: Callable[[], Owing], *, window: int = WINDOW) -> None:
        self.retry = settings.retry
        self.tried = Tried()
        """What is known of messages that failed."""
        self._concurrency = settings.concurrency
        self._share = settings.webhook_concurrency
        self._rate = settings.webhook_rate
        self._owing = owing
        self._window = window
        self._queues: dict[str, Queue] = {}
        self._hosts = Hosts(settings.host_concurrency)
        self._flying: dict[str, Lane] = {}
        self._unrecorded: dict[str, Lane] = {}
        self._turn: deque[Queue] = deque()
        self._timers: Timers[Lane | Queue] = Timers()

    # --- what is owed, and to whom ---

    def direct(self, webhook: str, destination: Destination | None, now: float) -> None:
        """Say where a webhook's messages go now; none: it was removed, and nothing of it is kept.

        A webhook that is mended (another URL, another secret) or enabled starts afresh: its breaker is closed, its
        failures are forgiven, and what waits is due at once. No message gets its attempts back.
        """
        if destination is None:
            self._remove(webhook)
            return
        queue = self._queues.get(webhook)
        before = None if queue is None else queue.destination
        if queue is None:
            queue = self._queues[webhook] = Queue(destination, Condition(self.retry), self._window)
            if destination.health == "suspended":
                queue.condition.breaker.suspend()
        queue.destination = destination
        self._hosts.move(queue, destination.url, self._turn)
        queue.limit(destination.rate or self._rate)
        if before is not None and before != destination:
            self._follow(queue, before, destination, now)
        self._offer(queue, now)

    def head(self, webhook: str, subject: str, message: Owed | None, now: float) -> None:
        """Say which message stands at the head of a lane; none: the lane is empty. Saying it again is harmless."""
        queue = self._queues.get(webhook)
        if queue is None:
            return
        lane = queue.lanes.get(subject)
        if lane is None:
            if message is None:
                return
            if queue.behind or len(queue.ready) >= queue.room:
                queue.more = True
                self._offer(queue, now)
                return
            lane = queue.lanes[subject] = Lane(queue, subject)
        lane.head = message
        self._place(lane, now)

    def failed_before(self, webhook: str, since: float, *, newest: float, attempts: int) -> None:
        """Take up since when a webhook has accepted nothing, from before a restart; so many *attempts* are known."""
        queue = self._queues.get(webhook)
        if queue is not None:
            queue.condition.failed_before(since, newest, attempts)

    def forget(self, message: Owed) -> None:
        """Drop what is known of a message that is pending no more. One in flight is not attempted again."""
        self.tried.forget(message)
        lane = self._flying.get(message.id)
        if lane is not None:
            lane.moot = True

    def hold(self, webhook: str, until: float, now: float) -> None:
        """Begin nothing more for a webhook until then: what its attempts need is not there."""
        queue = self._queues.get(webhook)
        if queue is not None:
            queue.held_until = max(queue.held_until, until)
            self._offer(queue, now)

    # --- attempts ---

    def start(self, now: float) -> Owed | None:
        """Return the message to attempt next, now in flight; none if nothing may begin. Ask until it says none."""
        while (owner := self._timers.take(now)) is not None:
            self._place(owner, now) if isinstance(owner, Lane) else self._offer(owner, now)
        while self._turn and len(self._flying) < self._concurrency:
            queue = self._turn.popleft()
            if not self._hosts.admits(queue):
                continue
            queue.turning = False
            host = queue.host
            lane = self._next_lane(queue, now)
            if lane is not None:
                self._begin(lane, now)
            self._offer(queue, now)
            if host.waiting:
                self._hosts.call(host, self._turn)
            if lane is not None:
                return lane.flying
        return None

    def deadline(self) -> float | None:
        """Return when `start` is worth asking again if nothing else happens until then; none: never."""
        return self._timers.deadline()

    def answered(self, message: Owed, answer: Answer, now: float) -> Verdict:
        """Say what came of an attempt, and learn what it means."""
        lane = self._land(message)
        queue = lane.queue
        if answer.local and not answer.accepted:
            pause = lane.condition.hindered(answer, now, held=queue.held_until > now)
            queue.held_until = max(queue.held_until, now + pause)
            return self._return(lane, message, now, pause)
        tripped = queue.condition.breaker.tripped
        verdict = self._judge(lane, message, answer, now)
        if queue.condition.breaker.tripped and not tripped:
            queue.shed(waiting=False)
        if verdict.outcome in ("delivered", "parked"):
            self._finish(lane, message)
        else:
            lane.flying = None
            self._place(lane, now)
        self._offer(queue, now)
        return verdict

    def give_up(self, message: Owed, now: float) -> Verdict:
        """Say that an attempt that had begun was not made, and that no other can ever be: the message is parked."""
        lane = self._land(message)
        if lane.moot:
            return self._return(lane, message, now, 0.0)
        lane.condition.breaker.abandon(message.id)
        known = self.tried.known(message)
        self._finish(lane, message)
        self._offer(lane.queue, now)
        return Verdict(outcome="parked", attempts=known.attempts if known else 0)

    def recorded(self, message: Owed, now: float) -> None:
        """Say that the outcome of a message is in the log: its lane goes on as soon as its head is another."""
        lane = self._unrecorded.pop(message.id)
        lane.flying = None
        self._place(lane, now)

    def put_back(self, message: Owed, now: float, *, until: float = 0.0) -> None:
        """Say that an attempt that had begun was not made and counts for nothing; the lane waits *until* then."""
        lane = self._land(message)
        if until > now and not lane.moot and lane.queue.destination is not None:
            known = self.tried.known(message) or Progress(round=message.round, attempts=0, due=until)
            self.tried.note(message, replace(known, due=until))
        self._return(lane, message, now, 0.0)

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
        queue = self._queues.get(webhook)
        return queue.flying if queue else 0

    def breaker(self, webhook: str, now: float) -> BreakerState:
        """Return the state of a webhook's breaker."""
        queue = self._queues.get(webhook)
        return queue.condition.breaker.state(now) if queue else "closed"

    def condition(self, webhook: str) -> Condition | None:
        """Return how a webhook fares; none if there is no such webhook."""
        queue = self._queues.get(webhook)
        return queue.condition if queue else None

    def active(self, webhook: str) -> bool:
        """Return whether anything may be sent to a webhook."""
        queue = self._queues.get(webhook)
        return queue is not None and queue.active

    def disabling(self, webhook: str) -> bool:
        """Return whether a webhook is still to be disabled: it was not mended, paused or removed since the verdict."""
        queue = self._queues.get(webhook)
        return queue is not None and queue.disabling

    # --- within ---

    def _follow(self, queue: Queue, before: Destination, now_to: Destination, now: float) -> None:
        """Follow a change of where a webhook's messages go."""
        if vaulted(before) != vaulted(now_to):
            queue.held_until = 0.0  # what was missing may be there
        if not mended(before, now_to):
            return
        queue.disabling = False
        if not queue.active:
            queue.shed(waiting=True)
            return
        queue.condition, queue.held_until = Condition(self.retry), 0.0
        self.tried.hasten(queue.webhook, now)
        for lane in list(queue.lanes.values()):
            if lane.ticket:
                self._place(lane, now)

    def _judge(self, lane: Lane, message: Owed, answer: Answer, now: float) -> Verdict:
        queue, condition = lane.queue, lane.condition
        before = self.tried.known(message)
        attempts = (before.attempts if before else 0) + 1
        if answer.accepted:
            condition.accepted()
            return Verdict(outcome="delivered", attempts=attempts)
        if queue.destination is None:
            return Verdict(outcome="dropped", attempts=attempts)
        reason = condition.failed(message.id, answer, now)
        disable = reason if queue.active and condition is queue.condition else ""
        queue.disabling = queue.disabling or bool(disable)
        if lane.moot:
            return Verdict(outcome="dropped", attempts=attempts, disable=disable)
        after = next_attempt(self.retry, message.id, before, message.round, answer, now)
        if after is None:
            return Verdict(outcome="parked", attempts=attempts, disable=disable)
        sooner = condition.ask_again(answer)
        if sooner is not None and sooner > now:
            after = replace(after, due=sooner)
        self.tried.note(message, after)
        return Verdict(
            outcome="failed", attempts=attempts, delay=after.due - now, put_off=after.put_off, disable=disable
        )

    def _begin(self, lane: Lane, now: float) -> None:
        message, queue = lane.head, lane.queue
        assert message is not None
        lane.flying, lane.host, lane.condition, lane.moot = message, queue.host, queue.condition, False
        self._flying[message.id] = lane
        queue.flying += 1
        queue.host.flying += 1
        queue.condition.breaker.begin(message.id)
        if queue.bucket is not None:
            queue.bucket.take(now)

    def _land(self, message: Owed) -> Lane:
        lane = self._flying.pop(message.id)
        lane.queue.flying -= 1
        self._hosts.landed(lane.host, self._turn)
        return lane

    def _return(self, lane: Lane, message: Owed, now: float, pause: float) -> Verdict:
        """Let a lane whose attempt was none be as it was before."""
        lane.condition.breaker.abandon(message.id)
        known = self.tried.known(message)
        lane.flying = None
        self._place(lane, now)
        self._offer(lane.queue, now)
        return Verdict(outcome="put back", attempts=known.attempts if known else 0, delay=pause)

    def _finish(self, lane: Lane, message: Owed) -> None:
        """Let a lane stand until the outcome of its message is recorded."""
        lane.finished = (message.id, message.round)
        self._unrecorded[message.id] = lane
        self.tried.forget(message)

    def _place(self, lane: Lane, now: float) -> None:
        """Put a lane where it belongs, and let its webhook take its turn if it could start something."""
        self._seat(lane, now)
        self._offer(lane.queue, now)

    def _seat(self, lane: Lane, now: float, *, swept: bool = False) -> None:
        """Put a lane where it belongs. Unless it was *swept* up, it does not get in before those that are outside."""
        lane.ticket = 0
        if lane.flying is not None:
            return
        message, queue = lane.head, lane.queue
        if message is None:
            queue.lanes.pop(lane.subject, None)
            return
        if (message.id, message.round) == lane.finished:
            return  # it has its outcome; the fold will move the head
        known = self.tried.known(message)
        if known is not None and known.due > now:
            self._timers.set(lane, known.due)
        elif not lane.queued:
            if not swept and (queue.behind or len(queue.ready) >= queue.room):
                queue.more = True
                queue.lanes.pop(lane.subject, None)
                return
            lane.queued = True
            queue.ready.append(lane)

    def _offer(self, queue: Queue, now: float) -> None:
        """Let a webhook take its turn if it could start something, or note when it can."""
        if queue.turning or not (queue.ready or queue.behind) or not queue.may_begin(self._share):
            return
        until = queue.until
        if until > now:
            if not queue.ticket or queue.wakes_at != until:
                queue.wakes_at = until
                self._timers.set(queue, until)
        elif queue.condition.breaker.allows(now):
            if queue.behind and len(queue.ready) <= queue.room // 2:
                self._refill(queue, now)
            if queue.ready:
                queue.turning = True
                self._turn.append(queue)

    def _refill(self, queue: Queue, now: float) -> None:
        """Hold as many ready lanes as are worth it; every lane is looked at once before any is looked at again."""
        owing, webhook = self._owing(), queue.webhook
        if queue.condition.breaker.tripped:
            # One lane for the next probe: the first that is not waiting for its time.
            queue.more = not self._take_up(queue, owing.heads(webhook), now)
            return
        while queue.behind:
            if queue.sweep is None:
                queue.more = False
                queue.sweep = iter(list(owing.subjects(webhook)))
            outside = (subject for subject in queue.sweep if subject not in queue.lanes)
            heads = (next(iter(owing.lane(webhook, subject)), None) for subject in outside)
            if not self._take_up(queue, heads, now):
                return
            queue.sweep = None

    def _take_up(self, queue: Queue, heads: Iterable[Owed | None], now: float) -> bool:
        """Hold the lanes with these heads too, as far as there is room; return whether all were looked at."""
        room = queue.room
        for head in heads:
            if head is not None and head.subject not in queue.lanes:
                lane = queue.lanes[head.subject] = Lane(queue, head.subject)
                lane.head = head
                self._seat(lane, now, swept=True)
                if len(queue.ready) >= room:
                    return False
        return True

    def _next_lane(self, queue: Queue, now: float) -> Lane | None:
        """Take the next lane off a webhook's queue; none if the webhook can start nothing after all."""
        if queue.until > now or not queue.may_begin(self._share) or not queue.condition.breaker.allows(now):
            return None
        while queue.ready:
            lane = queue.ready.popleft()
            lane.queued = False
            if lane.head is None:
                continue
            known = self.tried.known(lane.head)
            if (lane.head.id, lane.head.round) != lane.finished and (known is None or known.due <= now):
                return lane
            self._seat(lane, now)
        return None

    def _remove(self, webhook: str) -> None:
        queue = self._queues.pop(webhook, None)
        if queue is None:
            return
        self.tried.forget_all(webhook)
        self._hosts.move(queue, "", self._turn)
        for lane in queue.lanes.values():
            lane.head, lane.ticket = None, 0
        queue.destination, queue.ticket = None, 0
        queue.lanes.clear()
        queue.ready.clear()

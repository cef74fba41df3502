"""The delivery loop: sends what webhooks are owed, and records what came of it.

    commit -> fold -> `committed` -> lanes -> attempt -> outcome: recorded (durable and folded) -> the lane goes on

When something is tried is decided by `lanes`, what is owed by a projection, how it is sent by a `Sender`; this is the
glue that waits. Rules:

* Nothing begins while the log cannot be written, while we are mute, or before its cause is folded: a message is known
  here only from the fold.
* An outcome is kept until it is in the log, and its lane stands until then. No more than `concurrency` outcomes may
  be waiting; then nothing begins. Many lanes at once share commits.
* A failed attempt is telemetry: losing it costs attempts, no message.
* What was in flight when the process died is attempted again: at least once, with the same id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from secrets import token_bytes
from typing import Any, Final, Protocol

import trio
from attrs import define, field

from ..clock import Clock
from ..entry import Recorded
from ..errors import Conflict, LogError, LogUnavailable
from ..events import Event, Micros, WebhookDisabled
from ..log import Attempted
from ..names import Entropy, new_id
from ..sending import Answer, Attempt, Owed, Owing, Sender, Tidying
from ..settings import EngineSettings
from .attempts import Lacking, Supplies
from .before import Before
from .health import Health, Seen
from .outcomes import failure, outcome
from .scheduling.lanes import Lanes
from .scheduling.verdicts import Outcome, Verdict
from .telling import Teller

LOG_PATIENCE: Final = 1.0
"""Seconds between two looks at a log that cannot be written: recovery is noticed soon, and looking costs nothing."""
PATIENCE: Final = 60.0
"""Seconds between two looks for the secrets of a webhook that has none, or at a log that cannot be read."""

_COUNTS: Final[Mapping[Outcome, str]] = {
    "delivered": "succeeded", "parked": "parked", "failed": "failed", "dropped": "failed", "put back": "hindered",
}  # fmt: skip
"""What each outcome is counted as."""

_logger = logging.getLogger(__name__)


class Record(Protocol):
    """How an outcome becomes an event: `Engine.record`."""

    async def __call__(self, event: Event, *, subject: str = "", id: str | None = None) -> Any: ...


@define(eq=False)
class Deliveries:
    """What is being sent. Make it once the log is folded; then tell it `committed` for each event, and `run` it."""

    _owing: Callable[[], Owing]
    """The state of the projection that owes messages; asked anew each time."""
    _sender: Sender
    """How one attempt is made."""
    _record_event: Record = field(alias="record", kw_only=True)
    """Appends an event, and returns once it is durable and folded."""
    _note: Callable[[Attempted], None] = field(alias="note", kw_only=True)
    """Keeps telemetry of a failed attempt beside the log; it must not block."""
    _secret: Callable[[str], bytes | None] = field(alias="secret", kw_only=True)
    """Returns a secret by its id (signing secrets and keys, headers, certificates); none if there is no such."""
    _checkpoint: Callable[[], bytes] = field(alias="checkpoint", kw_only=True, default=bytes)
    """Returns the newest signed checkpoint of the log, made already; empty: attempts carry none."""
    _recall: Callable[[Owed], Awaitable[bytes]] = field(alias="recall", kw_only=True)
    """Makes the body of a message so old that the projection no longer has it; may raise LookupError."""
    _writable: Callable[[], bool] = field(alias="writable", kw_only=True)
    """Whether the log can be written now."""
    _clock: Clock = field(alias="clock", kw_only=True)
    _now: Callable[[], Micros] = field(alias="now", kw_only=True)
    """The time that an event of this moment would bear."""
    _settings: EngineSettings = field(alias="settings", kw_only=True, factory=EngineSettings)
    _attempts: Mapping[str, Attempted] = field(alias="attempts", kw_only=True, factory=dict[str, Attempted])
    """What the log knows of failed attempts (`Log.attempts`)."""
    _history: Callable[[str], Awaitable[Sequence[Attempted]]] | None = field(
        alias="history", kw_only=True, default=None
    )
    """Returns all that the log knows of the failed attempts at a message (`Log.attempts_at`)."""
    _mute: bool = field(alias="mute", kw_only=True, default=False)
    _entropy: Entropy = field(alias="entropy", kw_only=True, default=token_bytes)

    tally: Counter[str] = field(init=False, factory=Counter[str])
    """Since this process began: `attempts`, of which `succeeded`, `failed`, `parked`; webhooks `disabled`; attempts not
    made as nothing would sign them, `unsigned`, or as the vault lacked something else, `lacking`; those that came to
    nothing for a trouble of ours, `hindered`; tries to record an outcome that failed, `unrecorded`."""
    _lanes: Lanes = field(init=False)
    _before: Before = field(init=False)
    _supplies: Supplies = field(init=False)
    _seen: dict[str, Seen] = field(init=False, factory=dict[str, Seen])
    _teller: Teller = field(init=False)
    _news: trio.Event = field(init=False, factory=trio.Event)
    _ended: trio.Event = field(init=False, factory=trio.Event)
    _stopping: bool = field(init=False, default=False)
    _nursery: trio.Nursery | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._supplies = Supplies(self._secret, self._checkpoint)
        self._lanes = Lanes(self._settings, self._owing)
        self._before = Before(self._attempts, self._lanes, self._clock, self._now, self._owing, self._history)
        self._teller = Teller(self._lanes, self._seen, self._clock, self._now, self._record, self._look_again)
        self._resume()

    # --- what the engine tells ---

    def committed(self, recorded: Recorded, changes: Sequence[Owed]) -> None:
        """Follow one event that was folded, with the messages that it changed."""
        if recorded.kind.startswith("webhook."):
            self.refresh(recorded.subject)
        self.changed(changes)

    def changed(self, messages: Sequence[Owed]) -> None:
        """Follow messages that changed their state."""
        if not messages:
            return
        now, owing = self._clock.stepless(), self._owing()
        for message in messages:
            if message.state != "pending":
                self._lanes.forget(message)
                self._before.forget(message)
        for webhook, subject in dict.fromkeys((message.webhook, message.subject) for message in messages):
            if webhook not in self._seen:
                self.refresh(webhook)  # from before this run, and owed nothing until now
            self._lanes.head(webhook, subject, next(iter(owing.lane(webhook, subject)), None), now)
        self._news.set()

    def refresh(self, webhook: str) -> None:
        """Follow a webhook that was added, mended, paused, enabled or removed; also when its secrets changed."""
        destination = self._owing().destination(webhook)
        if destination is None:
            self._seen.pop(webhook, None)
        else:
            seen = self._seen.setdefault(webhook, Seen())
            seen.accepted_at = max(seen.accepted_at, destination.accepted_at)
            seen.life.told = destination.health
            seen.life.afresh(destination.afresh_at)
        self._lanes.direct(webhook, destination, self._clock.stepless())
        self._news.set()

    @property
    def mute(self) -> bool:
        """Whether everything is held back: asked for, or the log is a copy that nobody adopted."""
        return self._mute

    @mute.setter
    def mute(self, mute: bool) -> None:
        self._mute = mute
        self._news.set()

    # --- running ---

    async def run(self) -> None:
        """Send what is owed, until `stop`."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._teller.start_soon = self._nursery.start_soon
                while not self._stopping:
                    self._news = trio.Event()
                    if self._teller.put_off:
                        self._teller.tell_late()
                    while self._may_begin() and (message := self._lanes.start(self._clock.stepless())) is not None:
                        self._nursery.start_soon(self._deliver, message)
                    await self._wait()
        finally:
            self._ended.set()

    def tidy(self) -> None:
        """Let the sender let go of what it keeps for too long; called each second, since `run` may sleep longer."""
        if isinstance(self._sender, Tidying):
            self._sender.tidy()

    async def stop(self, deadline: float) -> None:
        """Begin nothing more, let what is in flight end and be recorded until *deadline* (trio's clock), and return.

        What is cut off then is attempted again by the next run.
        """
        self._stopping = True
        self._news.set()
        if self._nursery is not None:
            self._nursery.cancel_scope.deadline = deadline
            await self._ended.wait()

    # --- looking ---

    def health(self, webhook: str) -> Health | None:
        """Return how a webhook fares; none if there is no such webhook."""
        destination = self._owing().destination(webhook)
        if destination is None:
            return None
        seen, condition, now = self._seen.get(webhook) or Seen(), self._lanes.condition(webhook), self._clock.stepless()
        fares = "well" if condition is None else condition.health
        state = destination.state
        return Health(
            state=state if state != "active" or fares == "well" else "failing" if fares == "failing" else "paused",
            fares=fares,
            problem=seen.problem(condition, now) if state == "active" else "",
            trouble="" if condition is None else condition.trouble,
            breaker=self._lanes.breaker(webhook, now),
            in_flight=self._lanes.in_flight(webhook),
            unsigned=seen.unsigned,
            accepted_at=max(seen.accepted_at, destination.accepted_at),
            answers=tuple(seen.answers),
            tally=dict(seen.tally),
            not_before=None
            if condition is None or not condition.breaker.tripped
            else self._now() + round(max(0.0, condition.breaker.until - now) * 1_000_000),
        )

    def next_attempt(self, message: str) -> Micros | None:
        """Return when a message that failed may be tried again; none if it did not fail, or is pending no more."""
        progress = self._lanes.tried[message]
        if progress is None:
            known = self._before[message]
            return None if known is None else known.due
        return self._now() + round(max(0.0, progress.due - self._clock.stepless()) * 1_000_000)

    def attempted(self, message: str) -> int:
        """Return how often a pending message was tried in vain."""
        progress, known = self._lanes.tried[message], self._before[message]
        return progress.attempts if progress else known.number if known else 0

    @property
    def in_flight(self) -> int:
        """Attempts in flight."""
        return self._lanes.flying

    # --- within ---

    def _resume(self) -> None:
        """Take up who is owed something. What is owed and what failed is taken up as far as it is looked at."""
        for webhook in self._owing().webhooks():
            self.refresh(webhook)
            self._before.failing_since(webhook)

    def _look_again(self) -> None:
        self._news.set()

    def _may_begin(self) -> bool:
        return not self._mute and self._lanes.unrecorded < self._settings.concurrency and self._writable()

    async def _wait(self) -> None:
        """Return when there may be something to begin."""
        deadline = self._lanes.deadline()
        seconds = float("inf")
        if not self._mute and not self._writable():
            seconds = LOG_PATIENCE
        elif self._may_begin() and deadline is not None:  # else what is due stays due, and looking again begins nothing
            seconds = max(0.0, deadline - self._clock.stepless())
        if self._teller.put_off:
            seconds = min(seconds, max(0.0, min(self._teller.put_off.values()) - self._clock.stepless()))
        with trio.move_on_after(seconds):
            await self._news.wait()

    async def _deliver(self, message: Owed) -> None:
        """Make one attempt at a message, and see its outcome through."""
        try:
            attempt = await self._prepare(message)
        except LookupError as error:
            await self._give_up(message, f"its content can no longer be made from the log: {error}")
            return
        if attempt is None:
            return
        at = self._now()
        answer = await self._send(attempt)
        if self._before.concerns(message, answer):
            await self._before.sum_up(message)
        verdict = self._lanes.answered(message, answer, self._clock.stepless())
        self._look(message, answer, verdict, at)
        self._news.set()
        if verdict.outcome == "failed":
            due = self._now() + round(verdict.delay * 1_000_000)
            self._note(failure(message, answer, verdict, at, due))
        elif verdict.outcome in ("delivered", "parked"):
            await self._settle(message, answer, verdict, at)
        if verdict.disable:
            await self._disable(message.webhook, verdict.disable, answer.status)

    async def _give_up(self, message: Owed, reason: str) -> None:
        """Park a message of which no attempt can ever be made."""
        verdict = self._lanes.give_up(message, self._clock.stepless())
        if verdict.outcome == "parked":
            _logger.error("message %s is given up: %s", message.id, reason)
            self.tally["parked"] += 1
            await self._settle(message, Answer(status=None, error=reason), verdict, self._now())

    async def _settle(self, message: Owed, answer: Answer, verdict: Verdict, at: Micros) -> None:
        """Record a message's outcome, and let its lane go on."""
        await self._record(outcome(message, answer, verdict, at), subject=message.subject)
        self._lanes.recorded(message, self._clock.stepless())
        self._news.set()

    async def _prepare(self, message: Owed) -> Attempt | None:
        """Put together what an attempt needs; none if it cannot be made now, and the message is put back.

        Raises:
            LookupError: it can never be made.
        """
        owing = self._owing()
        destination = owing.destination(message.webhook)
        if destination is None or destination.state != "active":
            self.refresh(message.webhook)
            self._lanes.put_back(message, self._clock.stepless())
            return None
        try:
            try:
                body = owing.body(message)
            except LookupError:
                body = await self._recall(message)
            attempt = self._supplies.attempt(message, destination, body, self._clock.wall())
        except Lacking as lacking:
            self._miss(message, lacking)
            return None
        except LogError as error:
            _logger.warning("message %s waits, as the log or its secrets cannot be read: %s", message.id, error)
            now = self._clock.stepless()
            self._lanes.put_back(message, now, until=now + PATIENCE)
            self._news.set()
            return None
        seen = self._seen.get(message.webhook)
        if seen is not None and seen.lacking:
            seen.lacking, seen.unsigned = "", False
        return attempt

    def _miss(self, message: Owed, lacking: Lacking) -> None:
        """Hold a webhook until what its attempts lack is there, looking now and then."""
        webhook, problem, now = message.webhook, str(lacking), self._clock.stepless()
        seen = self._seen.setdefault(webhook, Seen())
        if seen.lacking != problem:
            _logger.error("webhook %s: %s; nothing is sent to it until that is mended", webhook, problem)
        seen.lacking, seen.unsigned = problem, lacking.unsigned
        self.tally["unsigned" if lacking.unsigned else "lacking"] += 1
        self._lanes.hold(webhook, now + PATIENCE, now)
        self._lanes.put_back(message, now)
        self._news.set()

    async def _send(self, attempt: Attempt) -> Answer:
        try:
            return await self._sender.send(attempt)
        except Exception as error:
            # A sender promises not to raise. One that breaks its word costs this attempt, and not the engine.
            _logger.exception("the sender failed at message %s", attempt.message)
            return Answer(status=None, error=f"the sender failed: {type(error).__name__}: {error}")

    def _look(self, message: Owed, answer: Answer, verdict: Verdict, at: Micros) -> None:
        """Keep an answer for people to look at, and see to it that the log is told how its webhook fares."""
        count = _COUNTS[verdict.outcome]
        self.tally[count] += 1
        seen = self._seen.get(message.webhook)
        if seen is None:
            return
        seen.tally[count] += 1
        seen.keep(message, answer, verdict, at)
        if verdict.outcome == "put back":
            return
        self.tally["attempts"] += 1
        seen.tally["attempts"] += 1
        seen.life.answered(answer, at)
        self._teller.look(message.webhook, seen)

    async def _disable(self, webhook: str, reason: str, status: int | None) -> None:
        """Record that a webhook is disabled, unless somebody mends, pauses or removes it before that is in the log."""
        seen = self._seen.get(webhook) or Seen()
        event = WebhookDisabled(reason=reason, since=seen.accepted_at, status=status)
        if await self._record(event, subject=webhook, wanted=partial(self._lanes.disabling, webhook)):
            _logger.error("webhook %s is disabled: %s", webhook, reason)
            self.tally["disabled"] += 1

    async def _record(self, event: Event, *, subject: str, wanted: Callable[[], bool] = lambda: True) -> bool:
        """Record an outcome, however long the log cannot be written; return whether it was *wanted* so long."""
        id = new_id(self._now(), self._entropy)
        while wanted():
            try:
                await self._record_event(event, subject=subject, id=id)
                return True
            except Conflict:
                return True  # an earlier try of ours, whose fate was unknown, had got through
            except LogUnavailable:
                self.tally["unrecorded"] += 1
                await trio.sleep(LOG_PATIENCE)
        return False

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
from ..sending import Answer, Attempt, Destination, Owed, Owing, Sender
from ..settings import EngineSettings
from .health import Health, Seen
from .lanes import Lanes, Verdict
from .outcomes import failure, outcome

LOG_PATIENCE: Final = 1.0
"""Seconds between two looks at a log that cannot be written: recovery is noticed soon, and looking costs nothing."""
PATIENCE: Final = 60.0
"""Seconds between two looks for the secrets of a webhook that has none, or at a log that cannot be read."""

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
    """Returns a signing secret by its id; none if there is no such secret."""
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
    _mute: bool = field(alias="mute", kw_only=True, default=False)
    _entropy: Entropy = field(alias="entropy", kw_only=True, default=token_bytes)

    tally: Counter[str] = field(init=False, factory=Counter[str])
    """Since this process began: `attempts`, of which `succeeded`, `failed`, `parked`; webhooks `disabled`; attempts not
    made as nothing would sign them, `unsigned`; tries to record an outcome that failed, `unrecorded`."""
    _lanes: Lanes = field(init=False)
    _seen: dict[str, Seen] = field(init=False, factory=dict[str, Seen])
    _news: trio.Event = field(init=False, factory=trio.Event)
    _ended: trio.Event = field(init=False, factory=trio.Event)
    _stopping: bool = field(init=False, default=False)
    _nursery: trio.Nursery | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        settings = self._settings
        self._lanes = Lanes(
            settings.retry, concurrency=settings.concurrency, webhook_concurrency=settings.webhook_concurrency
        )
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
                self._lanes.forget(message.id)
        for webhook, subject in dict.fromkeys((message.webhook, message.subject) for message in messages):
            if webhook not in self._seen:
                self.refresh(webhook)  # from before this run, and owed nothing until now
            self._lanes.head(webhook, subject, next(iter(owing.lane(webhook, subject)), None), now)
        self._news.set()

    def refresh(self, webhook: str) -> None:
        """Ask anew where a webhook's messages go, and whether."""
        destination = self._owing().destination(webhook)
        if destination is None:
            self._seen.pop(webhook, None)
        else:
            seen = self._seen.setdefault(webhook, Seen())
            seen.accepted_at = max(seen.accepted_at, destination.accepted_at)
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
                while not self._stopping:
                    self._news = trio.Event()
                    while self._may_begin() and (message := self._lanes.start(self._clock.stepless())) is not None:
                        self._nursery.start_soon(self._deliver, message)
                    await self._wait()
        finally:
            self._ended.set()

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
        seen = self._seen.get(webhook) or Seen()
        failing = destination.state == "active" and self._lanes.failing_since(webhook) is not None
        return Health(
            state="failing" if failing else destination.state,
            breaker=self._lanes.breaker(webhook, self._clock.stepless()),
            in_flight=self._lanes.in_flight(webhook),
            unsigned=seen.unsigned,
            accepted_at=max(seen.accepted_at, destination.accepted_at),
            answers=tuple(seen.answers),
            tally=dict(seen.tally),
        )

    def next_attempt(self, message: str) -> Micros | None:
        """Return when a message that failed may be tried again; none if it did not fail, or is pending no more."""
        progress = self._lanes.progress(message)
        if progress is None:
            return None
        return self._now() + round(max(0.0, progress.due - self._clock.stepless()) * 1_000_000)

    def attempted(self, message: str) -> int:
        """Return how often a pending message was tried in vain."""
        progress = self._lanes.progress(message)
        return progress.attempts if progress else 0

    @property
    def in_flight(self) -> int:
        """Attempts in flight."""
        return self._lanes.flying

    # --- within ---

    def _resume(self) -> None:
        """Take up what is owed, and what is known of failures before a restart."""
        owing, now, wall = self._owing(), self._clock.stepless(), self._now()
        heads: dict[tuple[str, str], Owed] = {}
        for message in owing.pending():
            if message.webhook not in self._seen:
                self.refresh(message.webhook)
                destination = owing.destination(message.webhook)
                if destination is not None and destination.failing_since is not None:
                    self._lanes.failed_since(message.webhook, now - (wall - destination.failing_since) / 1_000_000)
            known = self._attempts.get(message.id)
            if known is not None and known.round == message.round:
                # The wall clock may have been set meanwhile: no message waits longer than the delay that made its due.
                waits = min(max(0.0, (known.due - wall) / 1_000_000), known.delay)
                self._lanes.remember(message, attempts=known.number, due=now + waits)
                self._lanes.failed_since(message.webhook, now - max(0.0, (wall - known.at) / 1_000_000))
            heads.setdefault((message.webhook, message.subject), message)
        for (webhook, subject), message in heads.items():
            self._lanes.head(webhook, subject, message, now)

    def _may_begin(self) -> bool:
        return not self._mute and self._lanes.unrecorded < self._settings.concurrency and self._writable()

    async def _wait(self) -> None:
        """Return when there may be something to begin."""
        deadline = self._lanes.deadline()
        seconds = float("inf")
        if not self._mute and not self._writable():
            seconds = LOG_PATIENCE
        elif not self._mute and deadline is not None:
            seconds = max(0.0, deadline - self._clock.stepless())
        with trio.move_on_after(seconds):
            await self._news.wait()

    async def _deliver(self, message: Owed) -> None:
        """Make one attempt at a message, and see its outcome through."""
        try:
            attempt = await self._prepare(message)
        except LookupError as error:
            reason = f"its content can no longer be made from the log: {error}"
            _logger.error("message %s is given up: %s", message.id, reason)
            verdict = self._lanes.give_up(message, self._clock.stepless())
            self.tally["parked"] += 1
            await self._settle(message, Answer(status=None, error=reason), verdict, self._now())
            return
        if attempt is None:
            return
        at = self._now()
        answer = await self._send(attempt)
        verdict = self._lanes.answered(message, answer, self._clock.stepless())
        self._look(message, answer, verdict, at)
        self._news.set()
        if verdict.outcome == "failed":
            due = self._now() + round(verdict.delay * 1_000_000)
            self._note(failure(message, answer, verdict, at, due))
        elif verdict.outcome != "dropped":
            await self._settle(message, answer, verdict, at)
        if verdict.disable:
            await self._disable(message.webhook, verdict.disable, answer.status)

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
        destination = self._owing().destination(message.webhook)
        now = self._clock.stepless()
        try:
            secrets = self._secrets(message.webhook, destination)
            if destination is None or destination.state != "active" or not secrets:
                self.refresh(message.webhook)
                if not secrets:
                    self._lanes.hold(message.webhook, now + PATIENCE, now)
                self._lanes.put_back(message, now)
                return None
            body = await self._body(message)
        except LogError as error:
            _logger.warning("message %s waits, as the log or its secrets cannot be read: %s", message.id, error)
            self._lanes.put_back(message, now, until=now + PATIENCE)
            self._news.set()
            return None
        at = self._clock.wall() // 1_000_000
        return Attempt(message=message.id, url=destination.url, body=body, secrets=secrets, at=at)

    def _secrets(self, webhook: str, destination: Destination | None) -> tuple[bytes, ...]:
        if destination is None:
            return ()
        found = tuple(secret for id in destination.secrets if (secret := self._secret(id)))
        seen = self._seen.setdefault(webhook, Seen())
        if not found and not seen.unsigned:
            _logger.error("webhook %s has no usable signing secret; nothing is sent to it until it has one", webhook)
        if not found:
            self.tally["unsigned"] += 1
        seen.unsigned = not found
        return found

    async def _body(self, message: Owed) -> bytes:
        try:
            return self._owing().body(message)
        except LookupError:
            return await self._recall(message)

    async def _send(self, attempt: Attempt) -> Answer:
        try:
            return await self._sender.send(attempt)
        except Exception as error:
            # A sender promises not to raise. One that breaks its word costs this attempt, and not the engine.
            _logger.exception("the sender failed at message %s", attempt.message)
            return Answer(status=None, error=f"the sender failed: {type(error).__name__}: {error}")

    def _look(self, message: Owed, answer: Answer, verdict: Verdict, at: Micros) -> None:
        """Keep an answer for people to look at."""
        count = {"delivered": "succeeded", "parked": "parked"}.get(verdict.outcome, "failed")
        self.tally.update(("attempts", count))
        seen = self._seen.get(message.webhook)
        if seen is not None:
            seen.tally.update(("attempts", count))
            seen.keep(message, answer, verdict, at)

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

"""One station's timeline: what happened to it, newest first, and the messages that each event made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from heapq import merge
from operator import attrgetter
from typing import Final, Literal, TypeAlias

import trio
from attrs import frozen

from ...engine import Engine
from ...engine.codec import decode
from ...engine.entry import Recorded
from ...engine.errors import UnreadableEvent
from ...engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    DeliveryParked,
    DeliveryRequested,
    DeliverySkipped,
    DeliverySucceeded,
    GatewayLapsed,
    GatewayLost,
    GatewayStopped,
    Micros,
    WebhookAdded,
    WebhookDisabled,
    WebhookEnabled,
    WebhookFailed,
    WebhookPaused,
    WebhookRecord,
    WebhookResumed,
    WebhookSuspended,
    WebhookUpdated,
)
from ...engine.log import Log
from ...engine.names import run_of
from ...engine.sending import MessageState, Owed
from ...projections import outbox, webhooks
from ..api.events import READERS
from ..words import told
from .changes import changed

Tone: TypeAlias = Literal["good", "bad", "held", "plain"]

MOMENTS: Final = 60
"""Events on a timeline."""
_FIRST_LOOK: Final = 5_000
"""Positions that are searched backwards at first; each time that too little is found, eight times as many."""

_TONES: Final[dict[str, Tone]] = {
    ConnectionOpened.kind: "good",
    ConnectionClosed.kind: "bad",
    ConnectionPingTimedOut.kind: "bad",
    GatewayLapsed.kind: "bad",
    GatewayLost.kind: "held",
    GatewayStopped.kind: "held",
    WebhookFailed.kind: "bad",
    WebhookSuspended.kind: "bad",
    WebhookDisabled.kind: "bad",
    WebhookResumed.kind: "good",
    WebhookEnabled.kind: "good",
    WebhookPaused.kind: "held",
}
_RECORDS: Final = frozenset({WebhookAdded.kind, WebhookUpdated.kind})
_OF_RUNS: Final = frozenset({GatewayLost.kind, GatewayStopped.kind, GatewayLapsed.kind})
_OF_MESSAGES: Final = frozenset(
    {DeliverySucceeded.kind, DeliveryParked.kind, DeliveryRequested.kind, DeliverySkipped.kind}
)


@frozen(kw_only=True)
class Told:
    """A message that an event made, and what became of it."""

    id: str
    type: str
    webhook: str
    """Its name, or its id."""
    state: MessageState
    attempts: int
    next_attempt: Micros | None


@frozen(kw_only=True)
class Moment:
    """An event, in words."""

    position: int
    at: Micros
    kind: str
    tone: Tone
    words: str
    messages: tuple[Told, ...]


async def timeline(engine: Engine, station: str) -> list[Moment]:
    """Return the newest moments of a station, newest first; or of a webhook, by its id."""

    def read() -> list[Recorded]:
        with engine.reader() as log:
            return newest(log, station, head)

    head = engine.position
    events = await trio.to_thread.run_sync(read, limiter=READERS)
    by_cause: dict[int, list[Told]] = {}
    for message in _messages(engine, station):
        by_cause.setdefault(message.position, []).append(_told(engine, message))
    return [
        Moment(
            position=recorded.position,
            at=recorded.at,
            kind=recorded.kind,
            tone=_tone(recorded),
            words=words,
            messages=tuple(by_cause.get(recorded.position, ())),
        )
        for recorded, words in reversed(list(_worded(events)))
    ]


def _worded(events: Iterable[Recorded]) -> Iterator[tuple[Recorded, str]]:
    """Say each event in words; a change of a subscription by what it changed, if the record before it is there."""
    before: WebhookRecord | None = None
    for recorded in events:
        event = None
        if recorded.kind in _RECORDS:
            with suppress(UnreadableEvent):
                event = decode(recorded)
        if isinstance(event, WebhookUpdated) and before is not None:
            yield recorded, changed(before, event)
        else:
            yield recorded, told(recorded)
        before = event if isinstance(event, WebhookRecord) else before


def newest(log: Log, station: str, head: int) -> list[Recorded]:
    """Return the newest events of a station up to a position, with the ends of the runs that held it, oldest first."""
    span, own = _FIRST_LOOK, list[Recorded]()
    while True:
        after = max(head - span, 0)
        own = [event for event in log.read(after, until=head, subject=station) if event.kind not in _OF_MESSAGES]
        if after == 0 or len(own) >= MOMENTS:
            break
        span *= 8
    own = own[-MOMENTS:]
    if not own:
        return []
    ends = log.read(own[0].position, until=head, subject="", kinds=_OF_RUNS)
    return list(_touching(merge(own, ends, key=attrgetter("position"))))[-MOMENTS:]


def _touching(events: Iterable[Recorded]) -> Iterator[Recorded]:
    """Leave out the ends of runs that did not hold the station at that time."""
    held = ""
    for recorded in events:
        event = decode(recorded)
        match event:
            case ConnectionOpened():
                held = event.connection
            case ConnectionClosed() | ConnectionPingTimedOut():
                ours = isinstance(event, ConnectionClosed) and event.cause == "shutdown"
                held = "" if event.connection == held and not ours else held
            case GatewayStopped() | GatewayLost() | GatewayLapsed():
                if (recorded.run if isinstance(event, GatewayStopped) else event.run) != run_of(held):
                    continue
                held = "" if isinstance(event, GatewayLapsed) else held
            case _:
                pass
        yield recorded


def _tone(recorded: Recorded) -> Tone:
    if recorded.kind == ConnectionClosed.kind:
        event = decode(recorded)
        assert isinstance(event, ConnectionClosed)
        return {"superseded": "plain", "shutdown": "held"}.get(event.cause, "bad")  # type: ignore[return-value]
    return _TONES.get(recorded.kind, "plain")


def _messages(engine: Engine, station: str) -> list[Owed]:
    """Return what the outbox remembers of a station's messages."""
    found: list[Owed] = []
    for box in engine.state(outbox).boxes.values():
        found += box.lane(station)
        for state in ("delivered", "parked", "skipped"):
            found += [message for message in box.messages(state) if message.subject == station]
    return found


def _told(engine: Engine, message: Owed) -> Told:
    webhook = engine.state(webhooks).get(message.webhook)
    sending = engine.deliveries if message.state == "pending" else None
    return Told(
        id=message.id,
        type=message.type,
        webhook=(webhook.record.name or webhook.id) if webhook else message.webhook,
        state=message.state,
        attempts=0 if sending is None else sending.attempted(message.id),
        next_attempt=None if sending is None else sending.next_attempt(message.id),
    )

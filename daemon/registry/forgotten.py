"""Messages that the outbox has forgotten: the log still tells what became of them, and so what they were.

The state of the projection remembers the newest settled messages of a webhook; an older one can be asked for by its
id, if it was delivered, given up, or skipped by hand. One that was skipped because others took its place (overflow, or
the mode `latest`) has no event of its own: nothing leads from its id to its cause, and it is not found.

Outcomes name the webhook and the cause; the type is found by computing the id again, which is a function of the cause,
the type and the station (semantics 6, O12), and of the restores before the cause (ADR 0016).
"""

from __future__ import annotations

from itertools import product
from typing import Final, TypeAlias

from ...engine.codec import decode
from ...engine.entry import Recorded
from ...engine.events import (
    DeliveryParked,
    DeliverySkipped,
    DeliverySucceeded,
    Format,
    LogRestored,
    WebhookAdded,
    WebhookRecord,
    WebhookUpdated,
)
from ...engine.log import Log
from ...engine.sending import MessageState, Owed
from ...projections.bodies import CONFIRMED, DISABLED, OFFLINE, ONLINE, PING, message_id
from ...projections.meeting import RESTORED_STEP

Outcome: TypeAlias = DeliverySucceeded | DeliveryParked | DeliverySkipped

_TYPES: Final = (ONLINE, OFFLINE, CONFIRMED, DISABLED, PING)
_STATES: Final[dict[str, MessageState]] = {
    DeliverySucceeded.kind: "delivered",
    DeliveryParked.kind: "parked",
    DeliverySkipped.kind: "skipped",
}


def find_forgotten(log: Log, message: str) -> Owed | None:
    """Return a message that had an outcome, as of its newest one; none if the log holds no outcome of it.

    It reads every outcome in the log: seconds for millions of them, so call it in a worker thread.
    """
    newest: tuple[Recorded, Outcome] | None = None
    for recorded in log.read(kinds=set(_STATES)):
        # A look at the bytes first: decoding each of millions would take ten times as long.
        if message.encode() not in recorded.body:
            continue
        event = decode(recorded)
        if isinstance(event, DeliverySucceeded | DeliveryParked | DeliverySkipped) and event.message == message:
            newest = recorded, event
    if newest is None:
        return None
    recorded, event = newest
    type = _type_of(log, event, recorded.subject)
    if type is None:
        return None
    format = _format_of(log, event)
    return Owed(
        message, event.webhook, recorded.subject, type, event.position, event.round, _STATES[event.kind], format
    )


def _format_of(log: Log, outcome: Outcome) -> Format:
    """Return how its webhook had bodies written as of the cause."""
    format: Format = "standard"
    for recorded in log.read(until=outcome.position, kinds={WebhookAdded.kind, WebhookUpdated.kind}):
        if recorded.subject == outcome.webhook and isinstance(event := decode(recorded), WebhookRecord):
            format = event.format
    return format


def _type_of(log: Log, outcome: Outcome, subject: str) -> str | None:
    cause = next(iter(log.read(outcome.position - 1, until=outcome.position)), None)
    if cause is None:
        return None
    # The lane of a station that nobody vouches for has no subject, but the id was made with its name.
    base = RESTORED_STEP * sum(1 for _ in log.read(until=cause.position, kinds={LogRestored.kind}))
    for type, station in product(_TYPES, dict.fromkeys((subject, cause.subject, ""))):
        if message_id(outcome.webhook, cause.id, type, station, base) == outcome.message:
            return type
    return None

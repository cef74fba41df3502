"""The outbox: which messages webhooks are owed, derived from the log and never written by hand.

owed = derived(log) - outcomes(log). A rebuild therefore owes nothing that has an outcome; ids and bodies are functions
of the log. The rules, O1 to O14, stand in section 6 of the semantics; those that concern one webhook's messages alone
are in `box`, names and bodies in `bodies`. When messages are attempted is the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import (
    DeliveryParked,
    DeliveryRequested,
    DeliverySucceeded,
    Event,
    GatewayStarted,
    StationSettled,
    WebhookAdded,
    WebhookDisabled,
    WebhookRecovered,
    WebhookTested,
)
from ..engine.fold import Below, Fold, Projection
from ..engine.sending import Destination, MessageState, Owed
from .bodies import (
    CONFIRMED,
    DISABLED,
    OFFLINE,
    ONLINE,
    PING,
    Scene,
    StationScene,
    WebhookScene,
    message_id,
    render_body,
)
from .box import Box, KeptBox, Message, Outcome
from .fleet import Station
from .presence import presence
from .registry import registry
from .webhooks import webhooks

__all__ = ["RULES", "Outbox", "outbox", "recall"]

RULES: Final = 1
"""The newest version of the derivation rules that this release knows (O13)."""


class Outbox:
    """What every webhook is owed. It is what the engine delivers from: `engine.sending.Owing`."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        """By webhook."""
        self.rules = 0
        """The version of the derivation rules in force: the highest that any run has declared."""

    def __repr__(self) -> str:
        return f"<outbox of {len(self.boxes)} webhooks, {sum(self.count(box) for box in self.boxes)} pending>"

    @property
    def upgrade_needed(self) -> bool:
        """Are rules in force that this release does not know? Then nothing is derived, and nothing is owed here."""
        return self.rules > RULES

    # --- for the delivery --------------------------------------------------------------------------------------------

    def pending(self) -> Iterator[Owed]:
        """Return all that is owed, each lane in the order in which it must be sent."""
        if not self.upgrade_needed:
            for box in self.boxes.values():
                yield from (message.owed for message in box.pending())

    def lane(self, webhook: str, subject: str) -> Iterator[Owed]:
        """Return what one lane owes, in the order in which it must be sent."""
        box = self.boxes.get(webhook)
        if box is not None and not self.upgrade_needed:
            yield from (message.owed for message in box.lanes.get(subject, ()))

    def destination(self, webhook: str) -> Destination | None:
        """Return where a webhook's messages go now; none if it was removed, or only a newer release may send."""
        box = self.boxes.get(webhook)
        return None if box is None or self.upgrade_needed else box.destination()

    def body(self, message: Owed) -> bytes:
        """Return a message's body.

        Raises:
            LookupError: the state has forgotten what it says, or never knew; `recall` makes it from the log.
        """
        box = self.boxes.get(message.webhook)
        known = None if box is None else box.find(message.id)
        if known is None or known.scene is None:
            raise LookupError(f"what message {message.id} says is remembered no more; recall it from the log")
        return render_body(known.owed.type, known.scene)

    # --- for people --------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Owed | None:
        """Return a message by its id; none if there is no such message, or it is remembered no more."""
        for box in self.boxes.values():
            message = box.find(id)
            if message is not None:
                return message.owed
        return None

    def messages(self, webhook: str, state: MessageState = "pending") -> list[Owed]:
        """Return a webhook's messages in a state, oldest cause first.

        All that are pending; of those parked or skipped the newest `box.ASIDE_KEPT`, of those delivered the newest
        `box.DELIVERED_KEPT`.
        """
        box = self.boxes.get(webhook)
        return [] if box is None else [message.owed for message in box.messages(state)]

    def count(self, webhook: str, state: MessageState = "pending") -> int:
        """Count what `messages` returns."""
        box = self.boxes.get(webhook)
        return 0 if box is None else box.count(state)


def recall(records: Iterable[Recorded], message: Owed) -> bytes:
    """Make a message's body by replaying a log, from its begin up to the event that caused the message.

    Raises:
        LookupError: the log derives no such message.
    """
    replay = Fold([outbox])
    for recorded in records:
        if recorded.position > message.position:
            break
        replay.advance(recorded)
    try:
        return replay.state(outbox).body(message)
    except LookupError:
        raise LookupError(f"the log derives no message {message.id} at position {message.position}") from None


# --- the fold --------------------------------------------------------------------------------------------------------


def _apply(outbox: Outbox, recorded: Recorded, event: Event, below: Below) -> Sequence[Owed]:
    if isinstance(event, GatewayStarted):
        outbox.rules = max(outbox.rules, event.rules)
    if outbox.upgrade_needed:
        return ()
    return [
        *_follow_webhooks(outbox, recorded, below),
        *_tell_flips(outbox, recorded, below),
        *_tell_other(outbox, recorded, event, below),
        *_move(outbox, recorded, event),
    ]


def _follow_webhooks(outbox: Outbox, recorded: Recorded, below: Below) -> Iterator[Owed]:
    for change in below.changes(webhooks):
        if change.now is None:
            yield from outbox.boxes.pop(change.webhook).cancel()
        elif change.before is None:
            outbox.boxes[change.webhook] = Box(change.now)
        else:
            outbox.boxes[change.webhook].mend(change.now, recorded.at)


def _tell_flips(outbox: Outbox, recorded: Recorded, below: Below) -> Iterator[Owed]:
    """Derive one message for each flip and each webhook whose filter matches (O1)."""
    for change in below.changes(presence):
        if change.flipped:
            type = ONLINE if change.now.online else OFFLINE
            for box in _asking(outbox, type, change.station):
                yield from _tell_of(box, recorded, type, change.now, below)


def _tell_other(outbox: Outbox, recorded: Recorded, event: Event, below: Below) -> Iterator[Owed]:
    """Derive the messages that are no flips: opt-in ones, tests, and a new subscriber's first picture."""
    match event:
        case StationSettled():
            station = below.state(presence).get(recorded.subject)
            if station is not None and not station.online and station.version == event.version:
                for box in _asking(outbox, CONFIRMED, station.id):
                    yield from _tell_of(box, recorded, CONFIRMED, station, below)
        case WebhookDisabled():
            for change in below.changes(webhooks):
                if change.now is not None and change.before is not None and change.before.state != "disabled":
                    for box in _asking(outbox, DISABLED):
                        if box.webhook.id != change.webhook:
                            yield from _tell(box, recorded, DISABLED, WebhookScene(recorded.at, change.now))
        case WebhookTested() if recorded.subject in outbox.boxes:
            box = outbox.boxes[recorded.subject]
            yield from _tell(box, recorded, PING, WebhookScene(recorded.at, box.webhook))
        case WebhookAdded(initial="state") if below.changes(webhooks):
            yield from _tell_all(outbox.boxes[recorded.subject], recorded, below)
        case _:
            pass


def _tell_all(box: Box, recorded: Recorded, below: Below) -> Iterator[Owed]:
    """Derive a new subscriber's first picture: the state of each station that was ever let in (O10)."""
    for _, station in sorted(below.state(presence).items()):
        type = ONLINE if station.online else OFFLINE
        if box.webhook.asks_for(type) and box.webhook.covers(station.id):
            yield from _tell_of(box, recorded, type, station, below)


def _move(outbox: Outbox, recorded: Recorded, event: Event) -> Iterable[Owed]:
    """Let messages have their outcomes, or be pending again. No message is derived from these (O11)."""
    match event:
        case DeliverySucceeded() | DeliveryParked():
            box = outbox.boxes.get(event.webhook)
            outcome: Outcome = "delivered" if isinstance(event, DeliverySucceeded) else "parked"
            return () if box is None else box.settle(event.message, event.round, outcome, event.attempted_at)
        case DeliveryRequested() if event.round > 0 and event.position < recorded.position:
            box = outbox.boxes.get(event.webhook)
            asked = Owed(
                event.message, event.webhook, recorded.subject, event.type, event.position, event.round, "pending"
            )
            return () if box is None else box.request(asked)
        case WebhookRecovered():
            box = outbox.boxes.get(recorded.subject)
            return () if box is None else box.recover(event.since, event.until)
        case _:
            return ()


def _asking(outbox: Outbox, type: str, station: str | None = None) -> Iterator[Box]:
    """Return the boxes of the webhooks whose filter matches now, always in the same order."""
    for _, box in sorted(outbox.boxes.items()):
        if box.webhook.asks_for(type) and (station is None or box.webhook.covers(station)):
            yield box


def _tell_of(box: Box, recorded: Recorded, type: str, station: Station, below: Below) -> list[Owed]:
    scene = StationScene(
        at=recorded.at,
        station=station,
        registration=below.state(registry).get(station.id),
        observed=below.state(presence).observed(station.id),
    )
    # A lane of its own for each station (O2, as ADR 0012 reads it): whoever has a flip was admitted by somebody.
    return _tell(box, recorded, type, scene, station=station.id)


def _tell(box: Box, recorded: Recorded, type: str, scene: Scene, *, station: str = "") -> list[Owed]:
    id = message_id(box.webhook.id, recorded.id, type, station)
    return box.owe(Message(Owed(id, box.webhook.id, station, type, recorded.position, 0, "pending"), scene))


# --- written down ----------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct, frozen=True):
    rules: int
    boxes: dict[str, KeptBox]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


def _dump(outbox: Outbox) -> bytes:
    return _encode(_Kept(outbox.rules, {webhook: box.written() for webhook, box in outbox.boxes.items()}))


def _load(kept: bytes) -> Outbox:
    read = _decode(kept)
    outbox = Outbox()
    outbox.rules = read.rules
    outbox.boxes = {webhook: Box.read(box) for webhook, box in read.boxes.items()}
    return outbox


def _itself(outbox: Outbox) -> Outbox:
    return outbox


outbox: Projection[Outbox, Owed] = Projection(
    name="outbox",
    version=2,
    kinds=presence.kinds
    | webhooks.kinds
    | {
        event.kind
        for event in (
            StationSettled,
            WebhookTested,
            WebhookRecovered,
            DeliverySucceeded,
            DeliveryParked,
            DeliveryRequested,
        )
    },
    initial=Outbox,
    apply=_apply,
    dump=_dump,
    load=_load,
    needs=(presence, registry, webhooks),
    owing=_itself,
    recall=recall,
)
"""What webhooks are owed. Its state is an `Outbox`, its changes are `engine.sending.Owed`."""

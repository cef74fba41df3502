"""The outbox: which messages webhooks are owed, derived from the log and never written by hand.

owed = derived(log) - outcomes(log). A rebuild therefore owes nothing that has an outcome; ids and bodies are functions
of the log. The rules, O1 to O14, stand in section 6 of the semantics; those that concern one webhook's messages alone
are in `box`, names and bodies in `bodies`. When messages are attempted is the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import (
    DeliveryParked,
    DeliveryRequested,
    DeliverySkipped,
    DeliverySucceeded,
    Event,
    GatewayStarted,
    LogRestored,
    Micros,
    StationSettled,
    WebhookDisabled,
    WebhookEnabled,
    WebhookRecovered,
    WebhookTested,
)
from ..engine.fold import Below, Projection, Retelling
from ..engine.sending import Destination, MessageState, Owed, Place
from .bodies import DISABLED, PING, message_id
from .box import Box, KeptBox
from .fleet import Station
from .presence import presence
from .registry import registry
from .scenes import KINDS, KeptScene, Scenes, Told, render_told, retell, station_told, webhook_told
from .tellings import everybody, flips, newly_disabled, settled, site_of
from .webhooks import Change as Subscription
from .webhooks import webhooks

__all__ = ["RULES", "Outbox", "outbox", "recall"]

RULES: Final = 1
"""The newest version of the derivation rules that this release knows (O13)."""


class Outbox:
    """What every webhook is owed. It is what the engine delivers from: `engine.sending.Owing`."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        """By webhook, in the order of their ids."""
        self.scenes = Scenes()
        """What the newest of the pending messages tell."""
        self.rules = 0
        """The version of the derivation rules in force: the highest that any run has declared."""

    def __repr__(self) -> str:
        return f"<outbox of {len(self.boxes)} webhooks, {sum(map(self.count, self.boxes))} pending>"

    @property
    def upgrade_needed(self) -> bool:
        """Are rules in force that this release does not know? Then nothing is derived, and nothing is owed here."""
        return self.rules > RULES

    def asking(self, type: str, station: str | None = None, site: str = "") -> list[Box]:
        """Return the boxes of the webhooks whose filter matches now, always in the same order."""
        return [
            box
            for box in self.boxes.values()
            if box.webhook.asks_for(type) and (station is None or box.webhook.covers(station, site))
        ]

    def follow(self, change: Subscription, at: Micros, *, enabled: bool = False) -> list[Owed]:
        """Follow what an event of this time changed of a webhook; *enabled*: that is what it did."""
        if change.now is None:
            return self.boxes.pop(change.webhook).cancel()
        if change.before is None:
            self.boxes = dict(sorted({**self.boxes, change.webhook: Box(change.now, self.scenes)}.items()))
        else:
            return self.boxes[change.webhook].mend(change.now, at, enabled=enabled)
        return []

    # --- for the delivery --------------------------------------------------------------------------------------------

    def pending(self) -> Iterator[Owed]:
        """Return all that is owed, each lane in the order in which it must be sent."""
        for box in self._open():
            yield from box.pending()

    def webhooks(self) -> Iterator[str]:
        """Return the ids of the webhooks that messages are owed to, or may be."""
        return (box.webhook.id for box in self._open())

    def lane(self, webhook: str, subject: str) -> Iterator[Owed]:
        """Return what one lane owes, in the order in which it must be sent."""
        box = self.boxes.get(webhook)
        return iter(()) if box is None or self.upgrade_needed else box.lane(subject)

    def subjects(self, webhook: str) -> Iterable[str]:
        """Return the subjects of the lanes of a webhook, the one first that has been owing for longest."""
        return next((box.lanes for box in self._open(webhook)), ())

    def heads(self, webhook: str) -> Iterator[Owed]:
        """Return what stands at the head of each lane of a webhook, the lane first that has been owing for longest."""
        for box in self._open(webhook):
            yield from box.heads()

    def destination(self, webhook: str) -> Destination | None:
        """Return where a webhook's messages go now; none if it was removed, or only a newer release may send."""
        box = self.boxes.get(webhook)
        return None if box is None or self.upgrade_needed else box.destination()

    def body(self, message: Owed) -> bytes:
        """Return a pending message's body.

        Raises:
            LookupError: the state has forgotten what it says, or never knew; it was handed over as `evicted`, and can
                be had from the log.
        """
        told = self.scenes.get((message.position, message.subject))
        if told is None:
            raise LookupError(f"what message {message.id} says is remembered no more; recall it from the log")
        return told.render(message)

    def evicted(self) -> Iterator[tuple[Place, bytes]]:
        """Hand over, once, what pending messages say that had to be forgotten to make room."""
        return self.scenes.evicted()

    def oldest_cause(self) -> int | None:
        """Return the position of the oldest cause of anything that is pending; none if nothing is."""
        return min((cause for box in self._open() if (cause := box.oldest_cause()) is not None), default=None)

    def untold(self, subject: str) -> set[Place]:
        """Return what a subject's pending messages say that is remembered no more."""
        places = {(cause, subject) for box in self._open() for cause in box.causes(subject)}
        return {place for place in places if self.scenes.get(place) is None}

    def _open(self, webhook: str | None = None) -> Sequence[Box]:
        """Return the boxes, or that of a webhook, as far as anything may be sent from them."""
        if self.upgrade_needed:
            return ()
        if webhook is None:
            return list(self.boxes.values())
        box = self.boxes.get(webhook)
        return () if box is None else (box,)

    # --- for people --------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Owed | None:
        """Return a message by its id; none if there is no such message, or it is remembered no more.

        It looks through the boxes of all webhooks, a quarter of a second where a million lanes are pending: whoever
        must not stop for that long asks one box after the other.
        """
        return next((found for box in self.boxes.values() if (found := box.find(id)) is not None), None)

    def messages(
        self,
        webhook: str,
        state: MessageState = "pending",
        *,
        after: tuple[int, str] | None = None,
        limit: int | None = None,
    ) -> list[Owed]:
        """Return a webhook's messages in a state, oldest cause first.

        All that are pending; of those parked or skipped the newest `box.ASIDE_KEPT`, of those delivered the newest
        `box.DELIVERED_KEPT`. Of these no more than *limit*, behind the position and the id *after*.
        """
        box = self.boxes.get(webhook)
        return [] if box is None else list(box.messages(state, after=after, limit=limit))

    def count(self, webhook: str, state: MessageState = "pending") -> int:
        """Count what `messages` returns, all of it."""
        box = self.boxes.get(webhook)
        return 0 if box is None else box.count(state)

    def oldest(self, webhook: str) -> tuple[Owed, Micros | None] | None:
        """Return a webhook's oldest pending message, and when its cause was; none if nothing is pending."""
        box = self.boxes.get(webhook)
        return None if box is None or self.upgrade_needed else box.oldest()


def recall(records: Iterable[Recorded], message: Owed) -> bytes:
    """Make a message's body by replaying a log, from its begin up to the event that caused the message.

    Raises:
        LookupError: the log derives no such message.
    """
    for _, told in retell(records, [(message.position, message.subject)]):
        return render_told(message, told)
    raise LookupError(f"the log derives no message {message.id} at position {message.position}")


# --- the fold --------------------------------------------------------------------------------------------------------


def _apply(outbox: Outbox, recorded: Recorded, event: Event, below: Below) -> Sequence[Owed]:
    # Only the start of another run may still say something to rules that are not known here.
    if outbox.rules > RULES and not isinstance(event, GatewayStarted):
        return ()
    return _FOLDS[recorded.kind](outbox, recorded, event, below)


def _started(outbox: Outbox, recorded: Recorded, event: GatewayStarted, below: Below) -> Sequence[Owed]:
    outbox.rules = max(outbox.rules, event.rules)
    return () if outbox.upgrade_needed else _tell_flips(outbox, recorded, event, below)


def _tell_flips(outbox: Outbox, recorded: Recorded, event: Event, below: Below) -> Sequence[Owed]:
    """Derive one message for each flip and each webhook whose filter matches (O1)."""
    owed: list[Owed] = []
    for type, station in flips(below):
        owed += _tell_of(outbox, recorded, type, station, below)
    return owed


def _tell_settled(outbox: Outbox, recorded: Recorded, event: StationSettled, below: Below) -> Sequence[Owed]:
    owed: list[Owed] = []
    for type, station in settled(recorded, event, below):
        owed += _tell_of(outbox, recorded, type, station, below)
    return owed


def _follow_webhook(outbox: Outbox, recorded: Recorded, event: Event, below: Below) -> Sequence[Owed]:
    owed: list[Owed] = []
    for change in below.changes(webhooks):
        owed += outbox.follow(change, recorded.at, enabled=isinstance(event, WebhookEnabled))
        if change.now is not None and change.before is None and change.now.record.initial == "state":
            owed += _tell_all(outbox.boxes[change.webhook], recorded, below)
    return owed


def _restored(outbox: Outbox, recorded: Recorded, event: LogRestored, below: Below) -> Sequence[Owed]:
    """Tell everybody each station's state anew (ADR 0017): what they were told of the lost tail is true no more."""
    owed: list[Owed] = []
    for box in outbox.boxes.values():
        owed += _tell_all(box, recorded, below)
    return owed


def _tell_all(box: Box, recorded: Recorded, below: Below) -> Iterator[Owed]:
    """Derive the state of each station that was ever let in, as a new subscriber's first picture (O10)."""
    for type, station in everybody(below):
        if box.webhook.asks_for(type) and box.webhook.covers(station.id, site_of(station.id, below)):
            yield from _tell(box, recorded, type, station_told(recorded, station, below), station.id)


def _tell_disabled(outbox: Outbox, recorded: Recorded, event: WebhookDisabled, below: Below) -> Sequence[Owed]:
    """Tell the other webhooks that ask for it of one that was disabled (O11)."""
    owed: list[Owed] = []
    for change in below.changes(webhooks):
        owed += outbox.follow(change, recorded.at)
    for disabled in newly_disabled(below):
        for box in outbox.asking(DISABLED):
            if box.webhook.id != disabled.id:
                owed += _tell(box, recorded, DISABLED, webhook_told(recorded, disabled, below))
    return owed


def _tell_tested(outbox: Outbox, recorded: Recorded, event: WebhookTested, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(recorded.subject)
    return () if box is None else _tell(box, recorded, PING, webhook_told(recorded, box.webhook, below))


# Messages have their outcomes, or are pending again. No message is derived from these (O11).


def _delivered(outbox: Outbox, recorded: Recorded, event: DeliverySucceeded, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(event.webhook)
    if box is None:
        return ()
    return box.settle(event.message, recorded.subject, event.round, "delivered", event.attempted_at)


def _parked(outbox: Outbox, recorded: Recorded, event: DeliveryParked, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(event.webhook)
    if box is None:
        return ()
    return box.settle(event.message, recorded.subject, event.round, "parked", event.attempted_at)


def _skipped(outbox: Outbox, recorded: Recorded, event: DeliverySkipped, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(event.webhook)
    return () if box is None else box.skip(event.message, recorded.subject, event.round)


def _requested(outbox: Outbox, recorded: Recorded, event: DeliveryRequested, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(event.webhook)
    if box is None or event.round <= 0 or event.position >= recorded.position:
        return ()
    return box.request(
        Owed(
            id=event.message,
            webhook=event.webhook,
            subject=recorded.subject,
            type=event.type,
            position=event.position,
            round=event.round,
            state="pending",
            format=event.format,
        )
    )


def _recovered(outbox: Outbox, recorded: Recorded, event: WebhookRecovered, below: Below) -> Sequence[Owed]:
    box = outbox.boxes.get(recorded.subject)
    return () if box is None else box.recover(event.since, event.until)


_FOLDS: Final[dict[str, Callable[[Outbox, Recorded, Any, Below], Sequence[Owed]]]] = {
    **dict.fromkeys(presence.kinds, _tell_flips),
    GatewayStarted.kind: _started,
    LogRestored.kind: _restored,
    StationSettled.kind: _tell_settled,
    **dict.fromkeys(webhooks.kinds, _follow_webhook),
    WebhookDisabled.kind: _tell_disabled,
    WebhookTested.kind: _tell_tested,
    DeliverySucceeded.kind: _delivered,
    DeliveryParked.kind: _parked,
    DeliveryRequested.kind: _requested,
    DeliverySkipped.kind: _skipped,
    WebhookRecovered.kind: _recovered,
}


def _tell_of(outbox: Outbox, recorded: Recorded, type: str, station: Station, below: Below) -> list[Owed]:
    """Tell of a station, in a lane of its own (O2, ADR 0012): whoever has a flip was admitted by somebody."""
    owed: list[Owed] = []
    asking = outbox.asking(type, station.id, site_of(station.id, below))
    if asking:
        told = station_told(recorded, station, below)
        for box in asking:
            owed += _tell(box, recorded, type, told, station.id)
    return owed


def _tell(box: Box, recorded: Recorded, type: str, told: Told, station: str = "") -> list[Owed]:
    webhook = box.webhook
    id = message_id(webhook.id, recorded.id, type, station, told.base)
    return box.owe(Owed(id, webhook.id, station, type, recorded.position, 0, "pending", webhook.record.format), told)


# --- written down ----------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct, frozen=True):
    rules: int
    scenes: list[KeptScene]
    boxes: dict[str, KeptBox]


# Not JSON: a million records would have to be written as text, and read from it.
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Kept).decode


def _dump(outbox: Outbox) -> bytes:
    boxes = {webhook: box.written() for webhook, box in outbox.boxes.items()}
    return _encode(_Kept(outbox.rules, outbox.scenes.written(), boxes))


def _load(kept: bytes) -> Outbox:
    read = _decode(kept)
    outbox = Outbox()
    outbox.rules, outbox.scenes = read.rules, Scenes.read(read.scenes)
    outbox.boxes = {webhook: Box.read(box, outbox.scenes) for webhook, box in read.boxes.items()}
    return outbox


def _itself(outbox: Outbox) -> Outbox:
    return outbox


outbox: Projection[Outbox, Owed] = Projection(
    name="outbox",
    version=5,
    kinds=frozenset(_FOLDS),
    initial=Outbox,
    apply=_apply,
    dump=_dump,
    load=_load,
    needs=(presence, registry, webhooks),
    owing=_itself,
    retelling=Retelling(kinds=KINDS, retell=retell, render=render_told),
)
"""What webhooks are owed. Its state is an `Outbox`, its changes are `engine.sending.Owed`."""

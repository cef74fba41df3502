"""One webhook's messages: its lanes of pending ones, and those that are pending no more.

A message moves as O6 says: pending -> delivered | parked | skipped | cancelled, and by request delivered, parked and
skipped -> pending again. Every move returns the messages that changed, each in its new state.
"""

from __future__ import annotations

from bisect import insort_right
from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from ..engine.events import Micros
from ..engine.sending import Destination, MessageState, Owed
from .bodies import FLIPS, Scene
from .webhooks import Webhook, mended

LANE: Final = 64
"""Messages pending in one lane, at most (O5)."""
ASIDE_KEPT: Final = 1000
"""Parked and skipped messages that a webhook's state remembers: the newest ones. `webhook.recovered` reaches these;
older ones can be asked for one by one, or their history pulled."""
DELIVERED_KEPT: Final = 100
"""Delivered messages that a webhook's state remembers, to be shown and sent again without a look at the log."""


Outcome: TypeAlias = Literal["delivered", "parked"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, and what its body is made of."""

    owed: Owed
    scene: Scene | None
    """None: it was asked for again after the state had forgotten it; the log still tells (`outbox.recall`)."""


class KeptBox(msgspec.Struct, frozen=True):
    """A box as it is written down."""

    webhook: Webhook
    accepted_at: Micros
    failing_since: Micros | None
    afresh_at: Micros
    lanes: dict[str, list[Message]]
    aside: list[Message]
    """The one put away longest ago first."""
    delivered: list[Message]
    """The one delivered longest ago first."""


def _order(message: Message) -> tuple[int, bool]:
    """Order a lane by position, flips before the rest (O2)."""
    return message.owed.position, message.owed.type not in FLIPS


class Box:
    """What one webhook is owed, and what became of what it was owed."""

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self.accepted_at: Micros = webhook.created_at
        """When it last accepted a message, or was added or enabled."""
        self.failing_since: Micros | None = None
        """Since when it fails, as far as a message parked since then tells."""
        self.afresh_at: Micros = webhook.created_at
        """When it was added, enabled or mended last: what failed before counts no more."""
        self.lanes: dict[str, list[Message]] = {}
        """Subject -> what is pending, in the order in which it must be sent. No lane is empty."""
        self._known: dict[str, Message] = {}
        """By id: what is pending, and what is remembered besides."""
        self._aside: deque[str] = deque()
        """Which of them were parked or skipped, the one put away longest ago first."""
        self._delivered: deque[str] = deque()
        """Which of them were delivered, the one delivered longest ago first."""

    def find(self, id: str) -> Message | None:
        """Return a message in whichever state it is; none if it never was here or is forgotten."""
        return self._known.get(id)

    def pending(self) -> Iterator[Message]:
        """Return all that is pending, each lane in order."""
        for lane in self.lanes.values():
            yield from lane

    def oldest(self) -> tuple[Owed, Micros | None] | None:
        """Return the pending message of the oldest cause, with that one's time if it is remembered; none if none is.

        It looks at the head of each lane: a millisecond for some thousands of them.
        """
        head = min((lane[0] for lane in self.lanes.values()), key=_order, default=None)
        return None if head is None else (head.owed, None if head.scene is None else head.scene.at)

    def messages(self, state: MessageState) -> list[Message]:
        """Return what is remembered of the messages in a state, oldest cause first."""
        found = self.pending() if state == "pending" else self._put_away_as(state)
        return sorted(found, key=lambda message: (*_order(message), message.owed.subject))

    def count(self, state: MessageState) -> int:
        """Count the messages remembered in a state."""
        if state == "pending":
            return len(self._known) - len(self._aside) - len(self._delivered)
        return len(self._put_away_as(state))

    def _put_away_as(self, state: MessageState) -> list[Message]:
        kept = self._delivered if state == "delivered" else self._aside
        return [message for message in map(self._known.__getitem__, kept) if message.owed.state == state]

    def destination(self) -> Destination:
        """Return where its messages go now."""
        record = self.webhook.record
        return Destination(
            webhook=self.webhook.id,
            url=record.url,
            secrets=record.secrets,
            state=self.webhook.state,
            health=self.webhook.health,
            keys=record.keys,
            retired_at=record.retired_at,
            headers=record.headers,
            identity=record.identity,
            authorities=record.authorities,
            rate=record.rate,
            concurrency=record.concurrency,
            accepted_at=self.accepted_at,
            failing_since=self.failing_since,
        )

    # --- moves -------------------------------------------------------------------------------------------------------

    def mend(self, webhook: Webhook, at: Micros) -> None:
        """Follow a change of the subscription. One that is enabled or mended starts afresh."""
        enabled = webhook.state == "active" and self.webhook.state != "active"
        if enabled or mended(self.webhook, webhook):
            self.afresh_at, self.failing_since = at, None
        if enabled:
            self.accepted_at = max(self.accepted_at, at)
        self.webhook = webhook

    def owe(self, message: Message) -> list[Owed]:
        """Let a message be pending; one that is known already stays as it is."""
        return [] if self.find(message.owed.id) else self._enter(message)

    def settle(self, id: str, round: int, state: Outcome, at: Micros) -> list[Owed]:
        """Let a pending message have its outcome; one of another round changes nothing."""
        message = self._known.get(id)
        if message is None or message.owed.state != "pending" or message.owed.round != round:
            return []
        self._leave(message)
        if state == "delivered":
            self.accepted_at, self.failing_since = max(self.accepted_at, at), None
        elif self.failing_since is None:
            begun = at if message.scene is None else message.scene.at
            self.failing_since = max(self.accepted_at, self.afresh_at, begun)
        return [self._put_away(message, state)]

    def request(self, asked: Owed) -> list[Owed]:
        """Let a message be pending once more, in the round asked for; one that is pending cannot be requested (O8)."""
        known = self.find(asked.id)
        if known is None:
            return self._enter(Message(asked, None))
        if known.owed.state == "pending" or asked.round != known.owed.round + 1:
            return []
        return self._again(known)

    def recover(self, since: int, until: int) -> list[Owed]:
        """Let the parked and skipped messages whose causes lie in a range be pending once more (O9)."""
        aside = map(self._known.__getitem__, self._aside)
        lost = [message for message in aside if since <= message.owed.position <= until]
        lost.sort(key=lambda message: (*_order(message), message.owed.subject))
        changed: list[Owed] = []
        for message in lost:
            changed += self._again(message)
        return changed

    def cancel(self) -> list[Owed]:
        """Let everything pending be cancelled: the webhook was removed (O4)."""
        return [replace(message.owed, state="cancelled") for message in self.messages("pending")]

    def _again(self, message: Message) -> list[Owed]:
        kept = self._delivered if message.owed.state == "delivered" else self._aside
        if message.owed.id in kept:  # or it was forgotten since, for one that was recovered just before it
            kept.remove(message.owed.id)
        owed = replace(message.owed, state="pending", round=message.owed.round + 1)
        return self._enter(Message(owed, message.scene))

    def _enter(self, message: Message) -> list[Owed]:
        owed = message.owed
        lane = self.lanes.get(owed.subject)
        if lane is None:
            self.lanes[owed.subject] = lane = [message]
        else:
            insort_right(lane, message, key=_order)
        self._known[owed.id] = message
        changed = [owed]
        if len(lane) > LANE:
            # Two right after the head: states still alternate, and a subscriber sees the hole by the version.
            for skipped in lane[1:3]:
                self._leave(skipped)
                changed.append(self._put_away(skipped, "skipped"))
        return changed

    def _leave(self, message: Message) -> None:
        lane = self.lanes[message.owed.subject]
        lane.remove(message)
        if not lane:
            del self.lanes[message.owed.subject]

    def _put_away(self, message: Message, state: Literal["delivered", "parked", "skipped"]) -> Owed:
        """Remember a message in its new state, and forget the one that was put away longest ago if they are many."""
        kept, most = (self._delivered, DELIVERED_KEPT) if state == "delivered" else (self._aside, ASIDE_KEPT)
        owed = replace(message.owed, state=state)
        self._known[owed.id] = Message(owed, message.scene)
        kept.append(owed.id)
        if len(kept) > most:
            del self._known[kept.popleft()]
        return owed

    # --- written down ------------------------------------------------------------------------------------------------

    def written(self) -> KeptBox:
        """Return what has to be written down."""
        return KeptBox(
            webhook=self.webhook,
            accepted_at=self.accepted_at,
            failing_since=self.failing_since,
            afresh_at=self.afresh_at,
            lanes=self.lanes,
            aside=[self._known[id] for id in self._aside],
            delivered=[self._known[id] for id in self._delivered],
        )

    @staticmethod
    def read(kept: KeptBox) -> Box:
        """Return the box that was written down."""
        box = Box(kept.webhook)
        box.accepted_at, box.failing_since, box.afresh_at = kept.accepted_at, kept.failing_since, kept.afresh_at
        box.lanes = kept.lanes
        box._known = {message.owed.id: message for message in (*box.pending(), *kept.aside, *kept.delivered)}
        box._aside = deque(message.owed.id for message in kept.aside)
        box._delivered = deque(message.owed.id for message in kept.delivered)
        return box

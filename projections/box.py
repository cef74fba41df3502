"""One webhook's messages: its lanes of pending ones, and those that are pending no more.

A message moves as O6 says: pending -> delivered | parked | skipped | cancelled, skipped -> delivered when what was in
flight is accepted after all, and by request delivered, parked and skipped -> pending again. Every move returns the
messages that changed, each in its new state.

A message is kept as a record of forty bytes (`packed`), and a lane is the records of its messages in one string of
bytes: there may be a million of them (ADR 0024). What they tell stands in `scenes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from ..engine.events import Micros
from ..engine.sending import Destination, MessageState, Owed
from .packed import (
    ORDER,
    SIZE,
    again,
    at_of,
    behind,
    find,
    id_of,
    is_flip,
    moved,
    pack,
    pack_id,
    place_of,
    position_of,
    records_of,
    round_of,
    state_of,
    unpack,
    was_requested,
)
from .scenes import Scenes, Told
from .webhooks import Webhook, mended

LANE: Final = 64
"""Messages pending in one lane, at most (O5)."""
ASIDE_KEPT: Final = 1000
"""Parked and skipped messages that a webhook's state remembers: the newest ones. `webhook.recovered` reaches these.
Older ones that have an event can be asked for one by one; what was skipped because others took its place has none: it
can be pulled."""
DELIVERED_KEPT: Final = 100
"""Delivered messages that a webhook's state remembers, to be shown and sent again without a look at the log."""

Outcome: TypeAlias = Literal["delivered", "parked"]


class KeptBox(msgspec.Struct, frozen=True):
    """A box as it is written down."""

    webhook: Webhook
    accepted_at: Micros
    failing_since: Micros | None
    afresh_at: Micros
    lanes: dict[str, bytes]
    """The lane first that has been owing for longest."""
    aside: list[tuple[str, bytes]]
    """The one put away longest ago first."""
    delivered: list[tuple[str, bytes]]
    """The one delivered longest ago first."""


class Box:
    """What one webhook is owed, and what became of what it was owed."""

    def __init__(self, webhook: Webhook, scenes: Scenes) -> None:
        self.webhook = webhook
        self.scenes = scenes
        """What is told; shared by all boxes."""
        self.accepted_at: Micros = webhook.created_at
        """When it last accepted a message, or was added or enabled."""
        self.failing_since: Micros | None = None
        """Since when it fails, as far as a message parked since then tells."""
        self.afresh_at: Micros = webhook.created_at
        """When it was added, enabled or mended last: what failed before counts no more."""
        self.lanes: dict[str, bytes] = {}
        """Subject -> the records of what is pending, in the order in which it must be sent. No lane is empty."""
        self._pending = 0
        """How many that are."""
        self._aside: dict[bytes, tuple[str, bytes]] = {}
        """By id, what was parked or skipped, with its subject: the one put away longest ago first."""
        self._delivered: dict[bytes, tuple[str, bytes]] = {}
        """By id, what was delivered, with its subject: the one delivered longest ago first."""
        self._destination: Destination | None = None
        """What `destination` returned last, as long as it is so."""
        self._oldest: tuple[bytes, str] | None = None
        """The oldest pending record and its subject, as long as that is known."""

    # --- looking -----------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Owed | None:
        """Return a message in whichever state it is; none if it never was here or is forgotten.

        It looks through all that is pending: a few milliseconds for ten thousand lanes.
        """
        key = pack_id(id)
        if key is None:
            return None
        found = self._aside.get(key) or self._delivered.get(key)
        if found is None:
            subject, at = self._where(key, "")
            if at < 0:
                return None
            found = subject, self.lanes[subject][at : at + SIZE]
        return self._owed(*found)

    def lane(self, subject: str) -> Iterator[Owed]:
        """Return what is pending in one lane, in the order in which it must be sent."""
        return (self._owed(subject, record) for record in records_of(self.lanes.get(subject, b"")))

    def heads(self) -> Iterator[Owed]:
        """Return what stands at the head of each lane, the lane first that has been owing for longest."""
        return (self._owed(subject, lane[:SIZE]) for subject, lane in self.lanes.items())

    def pending(self) -> Iterator[Owed]:
        """Return all that is pending, each lane in order."""
        return (self._owed(subject, record) for subject, lane in self.lanes.items() for record in records_of(lane))

    def oldest(self) -> tuple[Owed, Micros | None] | None:
        """Return the oldest pending message, and when its cause was, if that is known; none if nothing is pending."""
        oldest = self._first()
        return None if oldest is None else (self._owed(oldest[1], oldest[0]), at_of(oldest[0]))

    def oldest_cause(self) -> int | None:
        """Return the position of the oldest cause of a pending message; none if nothing is pending."""
        oldest = self._first()
        return None if oldest is None else position_of(oldest[0])

    def _first(self) -> tuple[bytes, str] | None:
        """Return the oldest pending record, and its subject."""
        # Lists of webhooks and metrics ask again and again, also of one that is paused and owed tens of thousands.
        if self._oldest is None and self.lanes:
            subject = min(self.lanes, key=self.lanes.__getitem__)
            self._oldest = self.lanes[subject][:SIZE], subject
        return self._oldest

    def causes(self, subject: str) -> Iterator[int]:
        """Return the positions of the causes of what is pending in one lane."""
        return map(position_of, records_of(self.lanes.get(subject, b"")))

    def messages(
        self, state: MessageState, *, after: tuple[int, str] | None = None, limit: int | None = None
    ) -> Iterator[Owed]:
        """Return what is remembered of the messages in a state, by cause, and of one cause by id (as it is packed).

        Args:
            after: go on behind this position and id.
            limit: no more than so many; no others are made, however many are pending.
        """
        least = b"" if after is None else after[0].to_bytes(8, "big") + (pack_id(after[1]) or b"")
        if state == "pending":
            begun = [(rest, subject) for subject, lane in self.lanes.items() if (rest := behind(lane, least))]
            # The first so many messages are in the lanes that begin first.
            chosen = begun if limit is None else nsmallest(limit, begun, key=lambda lane: place_of(lane[0]))
            found = [(record, subject) for lane, subject in chosen for record in records_of(lane)]
        else:
            found = [(record, subject) for subject, record in self._put_away_as(state) if place_of(record) > least]
        found.sort(key=lambda one: place_of(one[0]))
        return (self._owed(subject, record) for record, subject in found[:limit])

    def count(self, state: MessageState) -> int:
        """Count the messages remembered in a state."""
        return self._pending if state == "pending" else sum(1 for _ in self._put_away_as(state))

    def destination(self) -> Destination:
        """Return where its messages go now."""
        # Each attempt asks, and what moves it is folded many events at a time.
        if self._destination is None:
            self._destination = self._directed()
        return self._destination

    def _directed(self) -> Destination:
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
            afresh_at=self.afresh_at,
            failing_since=self._failing_since(),
        )

    def _owed(self, subject: str, record: bytes) -> Owed:
        return unpack(record, self.webhook.id, subject)

    def _put_away_as(self, state: MessageState) -> Iterator[tuple[str, bytes]]:
        kept = self._delivered if state == "delivered" else self._aside
        return (found for found in kept.values() if state_of(found[1]) == state)

    def _where(self, id: bytes, subject: str) -> tuple[str, int]:
        """Return the lane that holds a pending message, and where; -1 if none does.

        It is that of the subject. All others are looked through as well, because the first releases recorded outcomes
        without one.
        """
        at = find(self.lanes.get(subject, b""), id)
        if at >= 0:
            return subject, at
        holding = ((other, find(lane, id)) for other, lane in self.lanes.items() if id in lane)
        return next((found for found in holding if found[1] >= 0), (subject, -1))

    def _failing_since(self) -> Micros | None:
        """Return since when it accepted nothing, as far as parked messages and the log's word on its health tell."""
        trouble = self.webhook.trouble
        forgiven = max(self.accepted_at, self.afresh_at)
        told = None if trouble is None or trouble.since < forgiven else trouble.since
        return min((since for since in (self.failing_since, told) if since is not None), default=None)

    # --- moves -------------------------------------------------------------------------------------------------------

    def mend(self, webhook: Webhook, at: Micros, *, enabled: bool) -> list[Owed]:
        """Follow a change of the subscription. One that is *enabled* (also if it is active) or mended starts afresh."""
        # What waits already is as old as what comes: whoever turns to the latest after an outage wants no more of it.
        turned = webhook.record.mode == "latest" and self.webhook.record.mode != "latest"
        if enabled or mended(self.webhook, webhook):
            # Where it is the time of a fresh start it stays that, so that nobody takes it for an acceptance.
            if enabled or self.accepted_at == self.afresh_at:
                self.accepted_at = max(self.accepted_at, at)
            self.afresh_at, self.failing_since = at, None
        self.webhook, self._destination = webhook, None
        if not turned:
            return []
        lanes = [subject for subject, lane in self.lanes.items() if len(lane) > SIZE]
        return [message for subject in lanes for message in self._supersede(subject)]

    def owe(self, message: Owed, told: Told) -> list[Owed]:
        """Let a message be pending; one that is known already stays as it is."""
        record = pack(message, told.scene.at)
        assert record is not None, f"{message} was derived by no rule"
        id, subject = id_of(record), message.subject
        if id in self._aside or id in self._delivered or find(self.lanes.get(subject, b""), id) >= 0:
            return []
        self.scenes.owe((message.position, subject), told)
        return self._enter(message, record)

    def settle(self, id: str, subject: str, round: int, state: Outcome, at: Micros) -> list[Owed]:
        """Let a pending message have its outcome; one of another round changes nothing.

        One that was skipped in flight, and was accepted after all, is delivered. That it was accepted counts for the
        webhook also where the message is remembered no more.
        """
        self._destination = None
        if state == "delivered":
            self.accepted_at, self.failing_since = max(self.accepted_at, at), None
        record = self._taken(id, subject, round) or (self._skipped(id, round) if state == "delivered" else None)
        if record is None:
            return []
        if state == "parked" and self.failing_since is None:
            begun = at_of(record[1])
            self.failing_since = max(self.accepted_at, self.afresh_at, at if begun is None else begun)
        return [self._put_away(*record, state)]

    def skip(self, id: str, subject: str, round: int) -> list[Owed]:
        """Let a pending message be sent no more; one of another round stays as it is."""
        taken = self._taken(id, subject, round)
        return [] if taken is None else [self._put_away(*taken, "skipped")]

    def request(self, asked: Owed) -> list[Owed]:
        """Let a message be pending once more, in the round asked for; one that is pending cannot be requested (O8)."""
        record = pack(asked, None, requested=True)
        if record is None:
            return []
        id = id_of(record)
        known = self._aside.get(id) or self._delivered.get(id)
        if known is not None:
            return self._again(*known, requested=True) if asked.round == round_of(known[1]) + 1 else []
        if self._where(id, asked.subject)[1] >= 0:
            return []
        self.scenes.owe_again((asked.position, asked.subject))
        return self._enter(asked, record)

    def recover(self, since: int, until: int) -> list[Owed]:
        """Let the parked and skipped messages whose causes lie in a range be pending once more (O9)."""
        lost = [(r[ORDER], s, r) for s, r in self._aside.values() if since <= position_of(r) <= until]
        changed: list[Owed] = []
        for _, subject, record in sorted(lost):
            changed += self._again(subject, record, requested=False)
        return changed

    def cancel(self) -> list[Owed]:
        """Let everything pending be cancelled: the webhook was removed (O4)."""
        for subject, lane in self.lanes.items():
            for record in records_of(lane):
                self.scenes.settle((position_of(record), subject))
        return [replace(message, state="cancelled") for message in self.messages("pending")]

    def _again(self, subject: str, record: bytes, *, requested: bool) -> list[Owed]:
        # It may have been forgotten since, if it was recovered just after others.
        (self._delivered if state_of(record) == "delivered" else self._aside).pop(id_of(record), None)
        self.scenes.owe_again((position_of(record), subject))
        record = again(record, requested=requested)
        return self._enter(self._owed(subject, record), record)

    def _enter(self, message: Owed, record: bytes) -> list[Owed]:
        """Put a message into its place in its lane, and keep the lane as short as it has to be."""
        subject = message.subject
        lane = self.lanes.get(subject, b"")
        at, order = len(lane), record[ORDER]
        while at and lane[at - SIZE : at][ORDER] > order:
            at -= SIZE
        if self._oldest is not None and record < self._oldest[0]:
            self._oldest = record, subject
        self.lanes[subject] = lane = lane[:at] + record + lane[at:]
        self._pending += 1
        changed = [message]
        if self.webhook.record.mode == "latest" and is_flip(record):
            changed += self._supersede(subject)
            lane = self.lanes[subject]
        if len(lane) > LANE * SIZE:
            # Two right after the head: states still alternate, and a subscriber sees the hole by the version.
            changed += [self._skip(subject, lane[at : at + SIZE]) for at in (SIZE, 2 * SIZE)]
        return changed

    def _supersede(self, subject: str) -> list[Owed]:
        """Skip the older flips of a lane: only the newest state matters, and what somebody asked for."""
        records = list(records_of(self.lanes[subject]))
        older = [record for record in records if is_flip(record)][:-1]
        gone = {record for record in older if not was_requested(record)}
        if not gone:
            return []
        # All at once: who turns to the latest may be owed 64 messages of each of thousands of stations.
        self.lanes[subject] = b"".join(record for record in records if record not in gone)
        self._pending -= len(gone)
        if self._oldest is not None and self._oldest[0] in gone:
            self._oldest = None
        for record in gone:
            self.scenes.settle((position_of(record), subject))
        return [self._put_away(subject, record, "skipped") for record in older if record in gone]

    def _skip(self, subject: str, record: bytes) -> Owed:
        self._leave(subject, find(self.lanes[subject], id_of(record)))
        return self._put_away(subject, record, "skipped")

    def _taken(self, id: str, subject: str, round: int) -> tuple[str, bytes] | None:
        """Take a pending message out of its lane; none if it is not pending in that round."""
        key = pack_id(id)
        if key is None or key in self._aside or key in self._delivered:
            return None
        subject, at = self._where(key, subject)
        if at < 0:
            return None
        record = self.lanes[subject][at : at + SIZE]
        if round_of(record) != round:
            return None
        self._leave(subject, at)
        return subject, record

    def _skipped(self, id: str, round: int) -> tuple[str, bytes] | None:
        """Take up what was skipped in that round, as far as it is remembered."""
        key = pack_id(id)
        found = self._aside.get(key) if key is not None else None
        if key is None or found is None or state_of(found[1]) != "skipped" or round_of(found[1]) != round:
            return None
        return self._aside.pop(key)

    def _leave(self, subject: str, at: int) -> None:
        lane = self.lanes[subject]
        record = lane[at : at + SIZE]
        self.scenes.settle((position_of(record), subject))
        self._pending -= 1
        if self._oldest is not None and self._oldest[0] == record:
            self._oldest = None
        if len(lane) > SIZE:
            self.lanes[subject] = lane[:at] + lane[at + SIZE :]
        else:
            del self.lanes[subject]

    def _put_away(self, subject: str, record: bytes, state: Literal["delivered", "parked", "skipped"]) -> Owed:
        """Remember a message in its new state, and forget the one that was put away longest ago if they are many."""
        kept, most = (self._delivered, DELIVERED_KEPT) if state == "delivered" else (self._aside, ASIDE_KEPT)
        record = moved(record, state)
        kept[id_of(record)] = subject, record
        if len(kept) > most:
            del kept[next(iter(kept))]
        return self._owed(subject, record)

    # --- written down ------------------------------------------------------------------------------------------------

    def written(self) -> KeptBox:
        """Return what has to be written down."""
        return KeptBox(
            webhook=self.webhook,
            accepted_at=self.accepted_at,
            failing_since=self.failing_since,
            afresh_at=self.afresh_at,
            lanes=self.lanes,
            aside=list(self._aside.values()),
            delivered=list(self._delivered.values()),
        )

    @staticmethod
    def read(kept: KeptBox, scenes: Scenes) -> Box:
        """Return the box that was written down."""
        box = Box(kept.webhook, scenes)
        box.accepted_at, box.failing_since, box.afresh_at = kept.accepted_at, kept.failing_since, kept.afresh_at
        box.lanes = kept.lanes
        box._pending = sum(map(len, kept.lanes.values())) // SIZE
        box._aside = {id_of(record): (subject, record) for subject, record in kept.aside}
        box._delivered = {id_of(record): (subject, record) for subject, record in kept.delivered}
        return box

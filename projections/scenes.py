"""What pending messages tell: the newest scenes alone, each once for all webhooks.

A body is a function of the log up to its cause, so a scene that is not here is no loss: whoever runs the engine puts
by what leaves this bounded store while somebody is still owed it (`evicted`), and what was not put by, `retell` makes
from the log anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import WebhookTested
from ..engine.fold import Below, Fold
from ..engine.sending import Owed, Place
from .bodies import Scene, WebhookScene, message_id, render_body
from .fleet import Station
from .presence import presence
from .registry import registry
from .tellings import scene_of
from .webhooks import Webhook, webhooks

KEPT: Final = 10_000
"""Scenes that are kept, at most: some 10 MB, and more messages than receivers that keep up are ever behind."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """What is told of one station (or webhook) by one event, and what the ids of the messages that tell it need."""

    cause: str
    """The id of the event."""
    base: int
    """The fleet's base version as of then (`bodies.message_id`)."""
    scene: Scene

    def render(self, message: Owed) -> bytes:
        """Write a message's body.

        Raises:
            LookupError: the message was made of something else, or never derived.
        """
        id = message_id(message.webhook, self.cause, message.type, message.subject, self.base)
        if id != message.id:
            raise LookupError(f"the log derives no message {message.id} at position {message.position}")
        return render_body(message, self.scene)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Told).decode


class KeptScene(msgspec.Struct, frozen=True, array_like=True):
    """A scene as it is written down."""

    position: int
    subject: str
    owers: int
    told: Told


class Scenes:
    """The scenes of the newest causes of which some webhook is owed a message still."""

    def __init__(self) -> None:
        self._told: dict[Place, Told] = {}
        """The oldest first."""
        self._owers: dict[Place, int] = {}
        """How many messages each of them is for."""
        self._evicted: deque[tuple[Place, Told]] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self._told)

    def get(self, place: Place) -> Told | None:
        """Return a scene; none if it is not kept here."""
        return self._told.get(place)

    def owe(self, place: Place, told: Told) -> None:
        """Keep a scene for one message more; it is newer than all others, or known."""
        if place in self._told:
            self._owers[place] += 1
            return
        self._told[place], self._owers[place] = told, 1
        if len(self._told) > KEPT:
            oldest = next(iter(self._told))
            self._evicted.append((oldest, self._told.pop(oldest)))
            del self._owers[oldest]

    def owe_again(self, place: Place) -> None:
        """Keep a scene, if it is here, for one message more."""
        if place in self._told:
            self._owers[place] += 1

    def settle(self, place: Place) -> None:
        """Let a scene go with the last message that it is for."""
        owers = self._owers.get(place)
        if owers == 1:
            del self._told[place], self._owers[place]
        elif owers is not None:
            self._owers[place] = owers - 1

    def evicted(self) -> Iterator[tuple[Place, bytes]]:
        """Hand over, once, what had to go although somebody is owed it; the newest `KEPT` of that."""
        while self._evicted:
            place, told = self._evicted.popleft()
            yield place, _encode(told)

    def written(self) -> list[KeptScene]:
        """Return what has to be written down."""
        return [KeptScene(*place, self._owers[place], told) for place, told in self._told.items()]

    @staticmethod
    def read(kept: Iterable[KeptScene]) -> Scenes:
        """Return the scenes that were written down."""
        scenes = Scenes()
        for scene in kept:
            place = scene.position, scene.subject
            scenes._told[place], scenes._owers[place] = scene.told, scene.owers
        return scenes


def station_told(recorded: Recorded, station: Station, below: Below) -> Told:
    """Return what an event tells of a station."""
    return Told(recorded.id, below.state(presence).base, scene_of(recorded, station, below))


def webhook_told(recorded: Recorded, webhook: Webhook, below: Below) -> Told:
    """Return what an event tells of a webhook."""
    return Told(recorded.id, below.state(presence).base, WebhookScene(recorded.at, webhook))


# --- from the log ----------------------------------------------------------------------------------------------------

KINDS: Final = presence.kinds | registry.kinds | webhooks.kinds | {WebhookTested.kind}
"""The kinds of events that scenes are made of, or by."""


def retell(records: Iterable[Recorded], places: Collection[Place]) -> Iterator[tuple[Place, bytes]]:
    """Make scenes from a log, as `Scenes.evicted` hands them over; of places of which there is none, none.

    Of the log are needed the events of `KINDS`, from its begin on: those that concern all stations, and those of the
    stations in question. What comes after the last place is not asked for.
    """
    wanted: dict[int, list[str]] = {}
    for position, subject in places:
        wanted.setdefault(position, []).append(subject)
    last = max(wanted, default=0)
    folding = Fold([presence, registry, webhooks])
    for recorded in records:
        if recorded.position > last:
            break
        below = folding.advance(recorded)
        for subject in wanted.get(recorded.position, ()):
            told = _told(recorded, subject, below)
            if told is not None:
                yield (recorded.position, subject), _encode(told)
        if recorded.position == last:
            break


def _told(recorded: Recorded, subject: str, below: Below) -> Told | None:
    if subject:
        station = below.state(presence).get(subject)
        return None if station is None else station_told(recorded, station, below)
    webhook = below.state(webhooks).get(recorded.subject)
    return None if webhook is None else webhook_told(recorded, webhook, below)


def render_told(message: Owed, told: bytes) -> bytes:
    """Write a message's body, of what `evicted` or `retell` gave.

    Raises:
        LookupError: these bytes are of another message, or of none.
    """
    try:
        known = _decode(told)
    except msgspec.MsgspecError as error:
        raise LookupError(f"what was put by for message {message.id} cannot be read") from error
    return known.render(message)

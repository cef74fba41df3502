"""The feed: the messages that a webhook would get, for those who pull instead.

It is derived as the outbox is (`tellings`), but for nobody: every message of every station, each once, in the order of
the log. Who asks brings a filter, judged as of each message's position. The state holds the newest ones alone; what is
older is derived again from the log.

A place in the feed is a `Cursor`: one event may tell of thousands of stations, so a position alone is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from ..engine.entry import Recorded
from ..engine.events import Event, GatewayStarted, LogRestored, StationSettled, WebhookDisabled, WebhookRecord
from ..engine.fold import Below, Projection
from ..engine.sending import Owed
from .bodies import CONFIRMED, DISABLED, OFFLINE, ONLINE, Scene, WebhookScene, message_id, render_body
from .fleet import Station
from .outbox import RULES
from .presence import presence
from .registry import registry
from .tellings import everybody, flips, newly_disabled, scene_of, settled, site_of
from .webhooks import Webhook, webhooks

__all__ = ["PULL", "TYPES", "WHOLE", "Cursor", "Feed", "Telling", "asking_for", "feed", "first_of"]

PULL: Final = "pull"
"""In the ids of these messages it stands where a webhook's id would."""
TYPES: Final = (ONLINE, OFFLINE, CONFIRMED, DISABLED)
"""What can be pulled. A `webhook.ping` is for the webhook that is tested."""
KEPT: Final = 1_000
"""Messages that the state holds: some 1 MB, and more than anybody who keeps up is ever behind."""
WHOLE: Final = 2**31 - 1
"""As a cursor's number: all that its position tells."""


class Cursor(NamedTuple):
    """How far someone was told: all before a position, and the first so many of what that position tells."""

    position: int
    number: int = WHOLE

    def __str__(self) -> str:
        return str(self.position) if self.number == WHOLE else f"{self.position}.{self.number}"


class Telling(msgspec.Struct, frozen=True, gc=False):
    """One message, as the log tells it."""

    position: int
    """Of the event that caused it."""
    number: int
    """1, 2, 3 ... of what that event tells, whoever asks."""
    last: bool
    """Is it the last of these?"""
    type: str
    station: str
    """Empty for a message about no station."""
    site: str
    """The station's, as of the event."""
    cause: str
    """The id of the event."""
    base: int
    """The fleet's base version as of the event (see `bodies.message_id`)."""
    scene: Scene

    @property
    def cursor(self) -> Cursor:
        """Where one goes on who was told this, and all before it."""
        return Cursor(self.position, WHOLE if self.last else self.number)

    @property
    def place(self) -> tuple[int, int]:
        return self.position, self.number

    @property
    def id(self) -> str:
        return message_id(PULL, self.cause, self.type, self.station, self.base)

    def body(self) -> bytes:
        """Return what a webhook's message would say, byte for byte."""
        owed = Owed(self.id, PULL, self.station, self.type, self.position, 0, "pending")
        return render_body(owed, self.scene)

    def wanted_by(self, asking: Webhook) -> bool:
        """Would it be owed to a webhook with this filter?"""
        return asking.asks_for(self.type) and (not self.station or asking.covers(self.station, self.site))


def asking_for(types: Iterable[str], stations: Iterable[str] = ("*",), sites: Iterable[str] = ("*",)) -> Webhook:
    """Return a filter: that of a webhook, which nobody subscribed."""
    record = WebhookRecord(url="", events=tuple(types), stations=tuple(stations), sites=tuple(sites))
    return Webhook(id=PULL, record=record, state="active", added=0, created_at=0, updated_at=0)


def first_of(
    tellings: Iterable[Telling], asking: Webhook, after: Cursor, limit: int
) -> tuple[list[Telling], Cursor | None]:
    """Return the first messages after a cursor that somebody asks for, and where to go on if *limit* stopped it."""
    wanted = (telling for telling in tellings if telling.place > after and telling.wanted_by(asking))
    found = list(islice(wanted, limit))
    return found, found[-1].cursor if len(found) == limit else None


class Feed:
    """The newest messages."""

    def __init__(self) -> None:
        self.rules = 0
        """The version of the derivation rules in force: the highest that any run has declared."""
        self.begin = Cursor(0)
        """All messages after it are held; those up to it are told by the log alone."""
        self.newest: deque[Telling] = deque()

    def __repr__(self) -> str:
        return f"<feed of {len(self.newest)} messages after {self.begin}>"

    @property
    def upgrade_needed(self) -> bool:
        """Are rules in force that this release does not know? Then nothing is derived (O13)."""
        return self.rules > RULES

    def after(self, cursor: Cursor) -> list[Telling]:
        """Return what is held after a cursor, which must not be older than `begin`."""
        found: list[Telling] = []
        # From the end: whoever keeps up is one message behind, not a thousand.
        for telling in reversed(self.newest):
            if telling.place <= cursor:
                break
            found.append(telling)
        return found[::-1]

    def take(self, tellings: Sequence[Telling]) -> None:
        """Hold what an event tells, and let go of what is too much."""
        self.newest.extend(tellings)
        while len(self.newest) > KEPT:
            self.begin = self.newest.popleft().cursor


# --- the fold --------------------------------------------------------------------------------------------------------


def _apply(feed: Feed, recorded: Recorded, event: Event, below: Below) -> Sequence[Telling]:
    if isinstance(event, GatewayStarted):
        feed.rules = max(feed.rules, event.rules)
    if feed.upgrade_needed:
        return ()
    tellings = _FOLDS.get(recorded.kind, _flips)(recorded, event, below)
    if tellings:
        feed.take(tellings)
    return tellings


def _flips(recorded: Recorded, event: Event, below: Below) -> list[Telling]:
    return _of_stations(flips(below), recorded, below)


def _settled(recorded: Recorded, event: StationSettled, below: Below) -> list[Telling]:
    return _of_stations(settled(recorded, event, below), recorded, below)


def _restored(recorded: Recorded, event: LogRestored, below: Below) -> list[Telling]:
    return _of_stations(everybody(below), recorded, below)


def _disabled(recorded: Recorded, event: WebhookDisabled, below: Below) -> list[Telling]:
    at, base = recorded.position, below.state(presence).base
    found = list(newly_disabled(below))
    return [
        Telling(at, number, number == len(found), DISABLED, "", "", recorded.id, base, WebhookScene(recorded.at, one))
        for number, one in enumerate(found, start=1)
    ]


def _of_stations(stations: Iterable[tuple[str, Station]], recorded: Recorded, below: Below) -> list[Telling]:
    found = list(stations)
    if not found:
        return []
    at, id, base, many = recorded.position, recorded.id, below.state(presence).base, len(found)
    return [
        Telling(
            at, number, number == many, type, one.id, site_of(one.id, below), id, base, scene_of(recorded, one, below)
        )
        for number, (type, one) in enumerate(found, start=1)
    ]


_FOLDS: Final[dict[str, Callable[[Recorded, Any, Below], list[Telling]]]] = {
    LogRestored.kind: _restored,
    StationSettled.kind: _settled,
    WebhookDisabled.kind: _disabled,
}
"""What tells otherwise than by flips."""


# --- written down ----------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct, frozen=True):
    rules: int
    begin: Cursor
    newest: list[Telling]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


def _dump(feed: Feed) -> bytes:
    return _encode(_Kept(feed.rules, feed.begin, list(feed.newest)))


def _load(kept: bytes) -> Feed:
    read = _decode(kept)
    feed = Feed()
    feed.rules, feed.begin, feed.newest = read.rules, read.begin, deque(read.newest)
    return feed


feed: Projection[Feed, Telling] = Projection(
    name="feed",
    version=1,
    kinds=presence.kinds | _FOLDS.keys(),
    initial=Feed,
    apply=_apply,
    dump=_dump,
    load=_load,
    needs=(presence, registry, webhooks),
)
"""What there is to pull. Its state is a `Feed`, its changes are `Telling`."""

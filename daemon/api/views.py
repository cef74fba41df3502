"""What the dashboard shows, as values: taken from the engine's states at one moment, ready to be compared."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from ...engine import Engine
from ...engine.events import Micros
from ...engine.health import Answered
from ...projections import outbox, presence, registry, webhooks
from ...projections.fleet import Station
from ...projections.webhooks import Webhook
from ..words import because
from .chargestations import known

Shown: TypeAlias = Literal["online", "offline", "unobserved", "new"]
"""How a station's flag is shown; `new`: registered, and never seen."""
FILTERS: Final = ("online", "offline", "unobserved")
PAGE: Final = 100
"""Stations on one page: a screen or two, and little to send again."""
_SECOND: Final = 1_000_000


@frozen(kw_only=True)
class Row:
    """A station, as the list of the fleet shows it."""

    id: str
    name: str
    site: str
    shown: Shown
    since: Micros | None
    """When the flag, or what is observed of it, became so."""
    why: str
    """Why it is not online, or not observed; the rest of a sentence."""
    alive_at: Micros | None
    """The newest proof of life, to the second."""
    protocol: str


def row_of(engine: Engine, id: str) -> Row:
    """Return a station as of now."""
    fleet = engine.state(presence)
    station, registered = fleet.get(id) or Station(id=id), engine.state(registry).get(id)
    live = engine.connection(id)
    alive_at = live.alive_at if live is not None and not live.over else station.last_message_at
    if alive_at is not None:
        # To the second, so that a row is not another one for every byte; but not before it dialled in.
        alive_at = max(alive_at // _SECOND * _SECOND, station.last_connect_at or 0)
    ended = station.disconnect
    shown = shown_as(station, observed=fleet.observed(id))
    knew_at = None if ended is None else ended.detected_at
    return Row(
        id=id,
        name=registered.record.name if registered else "",
        site=registered.record.site if registered else "",
        shown=shown,
        since=station.last_connect_at if shown == "online" else knew_at,
        why="" if ended is None or shown == "online" else because(ended.cause),
        alive_at=alive_at,
        protocol=station.subprotocol or "",
    )


def shown_as(station: Station, *, observed: bool) -> Shown:
    """Return how a station's flag is shown."""
    if station.last_connect_at is None:
        return "new"
    if not station.online:
        return "offline"
    return "online" if observed else "unobserved"


@frozen(kw_only=True)
class Counts:
    """How many stations are in each state."""

    online: int
    offline: int
    unobserved: int
    new: int
    """Never seen."""
    all: int


class Roll:
    """All stations in their order, and how many are how: kept for a moment, because a large fleet takes a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, list[str]] = {}
        self._counts = Counts(online=0, offline=0, unobserved=0, new=0, all=0)
        self._position = -1
        self._good_until = 0.0

    def counts(self) -> Counts:
        """Return how many stations are in each state."""
        self._look()
        return self._counts

    def ids(self, show: str, wanted: str) -> Sequence[str]:
        """Return the ids of the stations in a state (any, if it is none of `FILTERS`) that a search finds."""
        self._look()
        ids = self._ids[show if show in FILTERS else "all"]
        if not wanted:
            return ids
        words, registered = wanted.casefold().split(), self._engine.state(registry)

        def found(id: str) -> bool:
            record = registered[id].record if id in registered else None
            text = f"{id} {record.name} {record.site}" if record else id
            return all(word in text.casefold() for word in words)

        return [id for id in ids if found(id)]

    def _look(self) -> None:
        if self._position == self._engine.position or time.monotonic() < self._good_until:
            return
        self._position = self._engine.position
        fleet, registered = self._engine.state(presence), self._engine.state(registry)
        ids = sorted({id for id in (*fleet, *registered) if known(self._engine, id)}, key=natural)
        by: dict[str, list[str]] = {"all": ids, "online": [], "offline": [], "unobserved": [], "new": []}
        for id in ids:
            by[shown_as(fleet.get(id) or Station(id=id), observed=fleet.observed(id))].append(id)
        self._ids = by
        numbers = {name: len(some) for name, some in by.items()}
        self._counts = Counts(**numbers)
        # A small fleet is counted anew at each look; one of 50 000 takes 0.1 s, so every two seconds.
        self._good_until = time.monotonic() + (len(ids) / 25_000 if len(ids) > 2_000 else 0.0)


@lru_cache(maxsize=65_536)
def natural(id: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts CP-2 before CP-10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", id))


@frozen(kw_only=True)
class Subscription:
    """A webhook, as its card shows it."""

    webhook: Webhook
    state: Literal["active", "failing", "paused", "disabled"]
    pending: int
    parked: int
    skipped: int
    accepted_at: Micros | None
    next_attempt: Micros | None
    unsigned: bool
    answers: tuple[Answered, ...] = field(default=())
    """Newest first."""


ANSWERS: Final = 8
"""Answers on a card."""


def subscriptions_of(engine: Engine) -> list[Subscription]:
    """Return all subscriptions, in the order in which they were made."""
    return [_subscription(engine, webhook) for _, webhook in sorted(engine.state(webhooks).items())]


def _subscription(engine: Engine, webhook: Webhook) -> Subscription:
    owed, sending = engine.state(outbox), engine.deliveries
    health = sending.health(webhook.id) if sending is not None else None
    pending = owed.messages(webhook.id, "pending")
    due = [at for message in pending[:200] if sending and (at := sending.next_attempt(message.id)) is not None]
    return Subscription(
        webhook=webhook,
        state=webhook.state if health is None else health.state,
        pending=len(pending),
        parked=owed.count(webhook.id, "parked"),
        skipped=owed.count(webhook.id, "skipped"),
        accepted_at=None if health is None or not health.tally.get("succeeded") else health.accepted_at,
        next_attempt=min(due, default=None),
        unsigned=health is not None and health.unsigned,
        answers=() if health is None else tuple(reversed(health.answers))[:ANSWERS],
    )

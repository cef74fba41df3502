"""What the dashboard shows, as values: taken from the engine's states at one moment, ready to be compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import trio
from attrs import frozen

from ...engine import Engine
from ...engine.events import Micros
from ...projections import presence, registry
from ...projections.fleet import Station
from ..api.chargestations import everybody
from ..words import because
from .refused import conflict_of

Shown: TypeAlias = Literal["online", "offline", "unobserved", "new"]
"""How a station's flag is shown; `new`: registered, and never seen."""
FILTERS: Final = ("online", "offline", "unobserved")
PAGE: Final = 100
"""Stations on one page: a screen or two, and little to send again."""
SHARE: Final = 20
"""A look at the fleet is good for so many times as long as it took: a twentieth of our time at most goes into it."""
BREATH: Final = 1_000
"""Stations looked at in one go: about a millisecond."""
_SECOND: Final = 1_000_000
_NUMBER: Final = re.compile(r"\d+")


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
    station, registered = fleet.known(id), engine.state(registry).get(id)
    live = engine.connection(id)
    alive_at = live.alive_at if live is not None and not live.over else station.last_message_at
    if alive_at is not None:
        # To the second, so that a row is not another one for every byte; but not before it dialled in.
        alive_at = max(alive_at // _SECOND * _SECOND, station.last_connect_at or 0)
    ended = station.disconnect
    shown = shown_as(station, observed=fleet.observed(id))
    knew_at = None if ended is None else ended.detected_at
    why = "" if ended is None or shown == "online" else because(ended.cause)
    return Row(
        id=id,
        name=registered.record.name if registered else "",
        site=registered.record.site if registered else "",
        shown=shown,
        since=station.last_connect_at if shown == "online" else knew_at,
        why="two devices use its identity, or one dials twice" if conflict_of(engine, id) is not None else why,
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
    """All stations in their order, and how many are how, as of the last `look`.

    A look at 50 000 stations takes some 0.2 s; it lets others run meanwhile, serves every page that is open, and is
    good for twenty times as long as it took.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, list[str]] = {"all": [], **{show: [] for show in FILTERS}}
        self._found: dict[tuple[str, str], list[str]] = {}
        self._turn = trio.Lock()
        self._position = -1
        self._good_until = 0.0
        self.counts = Counts(online=0, offline=0, unobserved=0, new=0, all=0)
        """How many stations are in each state."""

    @property
    def stale(self) -> bool:
        """Has something happened since the last look?"""
        return self._position != self._engine.position

    async def look(self) -> None:
        """Look at the fleet anew, if something happened and the last look was long enough ago."""
        async with self._turn:
            begun = trio.current_time()
            if self.stale and begun >= self._good_until:
                position = self._engine.position
                await self._call()
                self._position = position
                self._good_until = trio.current_time() + SHARE * (trio.current_time() - begun)

    def ids(self, show: str, wanted: str) -> Sequence[str]:
        """Return the ids of the stations in a state (any, if it is none of `FILTERS`) that a search finds."""
        ids = self._ids[show if show in FILTERS else "all"]
        if not wanted:
            return ids
        if (show, wanted) not in self._found:
            self._found[show, wanted] = self._search(ids, wanted.casefold().split())
        return self._found[show, wanted]

    def _search(self, ids: Sequence[str], words: Sequence[str]) -> list[str]:
        registered = self._engine.state(registry)

        def found(id: str) -> bool:
            record = registered[id].record if id in registered else None
            text = f"{id} {record.name} {record.site}".casefold() if record else id.casefold()
            return all(word in text for word in words)

        return [id for id in ids if found(id)]

    async def _call(self) -> None:
        fleet = self._engine.state(presence)
        watched = fleet.watching
        keyed: list[tuple[str, str]] = []
        for number, id in enumerate(everybody(self._engine)):
            keyed.append(natural(id))
            if number % BREATH == 0:
                await trio.lowlevel.checkpoint()
        keyed.sort()
        by: dict[str, list[str]] = {"online": [], "offline": [], "unobserved": [], "new": []}
        for number, (_, id) in enumerate(keyed):
            station = fleet.known(id)
            by[shown_as(station, observed=watched and station.state != "held")].append(id)
            if number % BREATH == 0:
                await trio.lowlevel.checkpoint()
        by["all"] = [id for _, id in keyed]
        self._ids, self._found = by, {}
        self.counts = Counts(**{name: len(ids) for name, ids in by.items()})


def natural(id: str) -> tuple[str, str]:
    """Return a key that sorts CP-2 before CP-10."""
    return _NUMBER.sub(lambda found: found[0].zfill(20), id), id

"""A fleet of virtual stations: who is in it, how they behave, and what they have seen so far, in numbers.

Everything that is drawn is drawn from one seed and the station's id, so a run can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from ssl import SSLContext
from typing import Any

import trio
from attrs import frozen

from .behaviours import BEHAVIOURS, REFUSED
from .line import Caller
from .station import DEFAULT_PACE, Pace, Station


@frozen(kw_only=True)
class Member:
    """A station of a fleet, before it lives."""

    caller: Caller
    behaviour: str
    """A name of `behaviours.BEHAVIOURS`."""


@frozen(kw_only=True)
class Count:
    """A fleet in numbers."""

    stations: int
    connected: int
    """Have a connection on which they answer."""
    dials: int
    admitted: int
    """Dials that were let in."""
    accepted: int
    """Of those, the ones whose BootNotification was accepted."""
    refused: Counter[int]
    """By HTTP status; 101 for those that were refused after the upgrade."""
    unanswered: int
    """Dials that led to no answer at all."""
    dropped: int
    """Connections that the gateway ended, or that broke."""


class Fleet:
    """Virtual stations that dial in at one gateway."""

    def __init__(
        self,
        url: str,
        members: Iterable[Member],
        *,
        seed: int,
        pace: Pace = DEFAULT_PACE,
        trust: SSLContext | None = None,
    ) -> None:
        self.behaviours: dict[str, str] = {}
        """By station."""
        self.stations: dict[str, Station] = {}
        for member in members:
            id = member.caller.station
            self.behaviours[id] = member.behaviour
            self.stations[id] = Station(
                url,
                member.caller,
                BEHAVIOURS[member.behaviour],
                random=Random(f"{seed}:{id}"),
                pace=pace,
                trust=trust,
            )

    async def run(self) -> None:
        """Let all stations live until cancelled."""
        async with trio.open_nursery() as nursery:
            for station in self.stations.values():
                nursery.start_soon(station.run)

    def settle(self) -> None:
        """Let all stations come to rest: connected or away, and staying so."""
        for station in self.stations.values():
            station.settle()

    def restless(self) -> list[str]:
        """Return the stations that are still on their way, once all were told to come to rest."""
        return [
            id for id, station in self.stations.items() if self.behaviours[id] not in REFUSED and not station.resting
        ]

    def unanswered(self) -> Counter[str]:
        """Return why dials led to no answer, in words, and how often."""
        sightings = (sighting for station in self.stations.values() for sighting in station.sightings)
        return Counter(s.reason for s in sightings if s.status is None and s.answered_at is not None)

    def count(self, behaviour: str | None = None) -> Count:
        """Return the fleet, or those that behave in one way, in numbers, as of now."""
        stations = [
            station for id, station in self.stations.items() if behaviour is None or self.behaviours[id] == behaviour
        ]
        sightings = [sighting for station in stations for sighting in station.sightings]
        answered = [sighting for sighting in sightings if sighting.status is not None]
        return Count(
            stations=len(stations),
            connected=sum(station.connected for station in stations),
            dials=len(sightings),
            admitted=sum(sighting.admitted for sighting in answered),
            accepted=sum(sighting.accepted for sighting in answered),
            refused=Counter(sighting.status or 0 for sighting in answered if not sighting.admitted),
            unanswered=sum(s.status is None and s.answered_at is not None for s in sightings),
            dropped=sum(s.admitted and s.ended_by in ("gateway", "network") for s in answered),
        )


def in_words(counts: Mapping[Any, int]) -> str:
    """Write what was counted: `3x 401, 1x 404`; `none` if nothing was."""
    return ", ".join(f"{number}x {what}" for what, number in sorted(counts.items()) if number) or "none"

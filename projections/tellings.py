"""What an event gives to tell, whoever is told: webhooks (`outbox`), or those who pull (`feed`)."""

from __future__ import annotations

from collections.abc import Iterator

from ..engine.entry import Recorded
from ..engine.events import StationSettled
from ..engine.fold import Below
from .bodies import CONFIRMED, OFFLINE, ONLINE, StationScene
from .fleet import Station
from .presence import presence
from .registry import registry
from .webhooks import Webhook, webhooks


def flips(below: Below) -> Iterator[tuple[str, Station]]:
    """Yield the stations that the event flipped, each with the type of its message (O1)."""
    for change in below.changes(presence):
        if change.flipped:
            yield ONLINE if change.now.online else OFFLINE, change.now


def settled(recorded: Recorded, event: StationSettled, below: Below) -> Iterator[tuple[str, Station]]:
    """Yield the station that is still offline after the settling time, if it is."""
    station = below.state(presence).get(recorded.subject)
    if station is not None and not station.online and station.version == event.version:
        yield CONFIRMED, station


def everybody(below: Below) -> Iterator[tuple[str, Station]]:
    """Yield the state of each station that was ever let in, as one would who has yet to learn it (O10)."""
    for _, station in sorted(below.state(presence).items()):
        yield ONLINE if station.online else OFFLINE, station


def newly_disabled(below: Below) -> Iterator[Webhook]:
    """Yield the webhook that the event disabled, if it was not before (O11)."""
    for change in below.changes(webhooks):
        if change.now is not None and change.before is not None and change.before.state != "disabled":
            yield change.now


def site_of(station: str, below: Below) -> str:
    """Return where a station stands as of the event; of one that was removed, where it last stood.

    Its connection ends after `station.removed`, and whoever was told that it came online must hear that too.
    """
    registration = below.state(registry).last(station)
    return "" if registration is None else registration.record.site


def scene_of(recorded: Recorded, station: Station, below: Below) -> StationScene:
    """Return what a message of the event shows of a station."""
    registration = below.state(registry).registered(station.id)
    return StationScene(recorded.at, station, registration, below.state(presence).observed(station.id))

"""One station's share of a log: what its state follows from, without a look at anybody else's events."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import attrgetter

from ..entry import Recorded
from . import Log
from .plan import CONCERN_ALL


def life_of(log: Log, station: str, *, after: int = 0, until: int | None = None) -> Iterator[Recorded]:
    """Yield the events of a station, and those that concern every station (gateways, webhooks, restores), in order.

    A fold of these says of this station exactly what a fold of the whole log says.
    """
    own = log.read(after, until=until, subject=station)
    common = log.read(after, until=until, kinds=CONCERN_ALL)
    newest = 0
    for recorded in merge(own, common, key=attrgetter("position")):
        # A webhook may bear a station's name, and is then found twice.
        if recorded.position > newest:
            newest = recorded.position
            yield recorded

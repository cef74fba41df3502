"""One station's share of a log: what its state follows from, without a look at anybody else's events."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import merge
from operator import attrgetter

from ..entry import Recorded
from . import Log
from .plan import CONCERN_ALL


def life_of(
    log: Log, station: str, *, after: int = 0, until: int | None = None, kinds: Collection[str] | None = None
) -> Iterator[Recorded]:
    """Yield the events of a station, and those that concern every station (gateways, webhooks, restores), in order;
    with *kinds* those of these alone. With no station, those alone that concern every one.

    A fold of these says of this station exactly what a fold of the whole log says.
    """
    own = log.read(after, until=until, subject=station, kinds=kinds) if station else ()
    common = log.read(after, until=until, kinds=CONCERN_ALL if kinds is None else CONCERN_ALL.intersection(kinds))
    newest = 0
    for recorded in merge(own, common, key=attrgetter("position")):
        # A webhook may bear a station's name, and is then found twice.
        if recorded.position > newest:
            newest = recorded.position
            yield recorded

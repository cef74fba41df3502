"""Dropping who may no longer be here, where the engine cannot know.

A connection that stands is dropped by the engine when its credential is revoked or its station removed. But a station
may have proven who it is just before, and be admitted just after; and one that came in without a password was asked
for none, until its station got its first one. So each connection is looked at again once it stands, and whenever its
station's registration changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from ...engine.core import Engine
from ...engine.errors import FellBehind
from ...engine.fold import Projection
from ...engine.stations import Connection
from ...projections import presence, registry


async def drop_the_revoked(engine: Engine, *, open: bool, asked: bool = True) -> None:
    """Drop whoever would not be let in again as it came.

    Args:
        engine: the engine whose connections are looked at; it folds `presence` and `registry`.
        open: unknown stations may stay.
        asked: registered stations are asked for credentials, unless their registration says otherwise.
    """
    look = partial(_look_at, engine, open=open, asked=asked)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, engine, presence, look)
        nursery.start_soon(_follow, engine, registry, look)


async def _follow(engine: Engine, projection: Projection[Any, Any], look: partial[None]) -> None:
    """Look at all connections now, and from then on at those of stations that the projection saw change."""
    while True:
        async with engine.changes(projection) as changes:
            for connection in list(engine.connections.values()):
                look(connection)
            try:
                async for change in changes:
                    changed = engine.connection(change.station)
                    if changed is not None:
                        look(changed)
            except FellBehind:
                continue  # and look at all of them
            return


def _look_at(engine: Engine, connection: Connection, *, open: bool, asked: bool) -> None:
    registered = engine.state(registry).get(connection.station)
    used = connection.arrival.credential
    if registered is None:
        if used is not None or not open:
            engine.drop(connection.station, "removed")
    elif used is None:
        if asked and registered.record.security != "none":
            engine.drop(connection.station, "credential_revoked")
    elif used not in {credential.id for credential in registered.record.credentials}:
        engine.drop(connection.station, "credential_revoked")

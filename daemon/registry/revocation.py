"""Closing the gap between a station's proof and its admission.

A connection that stands is dropped when its credential is revoked or its station removed; the engine sees to that.
But a station may have proven who it is just before, and be admitted just after: so each one that comes in is looked
at again, once it stands.
"""

from __future__ import annotations

from ...engine.core import Engine
from ...engine.errors import FellBehind
from ...engine.stations import Connection
from ...projections import presence, registry


async def drop_the_revoked(engine: Engine, *, open: bool) -> None:
    """Drop whoever came in on what was revoked meanwhile. With *open* unknown stations may stay."""
    while True:
        async with engine.changes(presence) as changes:
            for connection in list(engine.connections.values()):
                _look_at(engine, connection, open=open)
            try:
                async for change in changes:
                    arrived = engine.connection(change.station)
                    if arrived is not None:
                        _look_at(engine, arrived, open=open)
            except FellBehind:
                continue  # and look at all of them
            return


def _look_at(engine: Engine, connection: Connection, *, open: bool) -> None:
    registered = engine.state(registry).get(connection.station)
    used = connection.arrival.credential
    if registered is None:
        if used is not None or not open:
            engine.drop(connection.station, "removed")
    elif used is not None and used not in {credential.id for credential in registered.record.credentials}:
        engine.drop(connection.station, "credential_revoked")

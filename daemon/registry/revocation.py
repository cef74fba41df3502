"""Dropping who may no longer be here, where the engine cannot know.

A connection that stands is dropped by the engine when its credential is revoked or its station removed. But a station
may have proven who it is just before, and be admitted just after; one that came in without a password was asked for
none, until its station got its first one; it may have to come with another profile or certificate now; and the time of
a credential ends without any event. So each connection is looked at once it stands, whenever its station's
registration changes, and when its credential's time is over: who would not be let in again as it came is dropped.

And who came in with a new password needs the old one no more: from then on that is not taken, whatever is left of the
overlap (OCPP-J 1.6, 6.2: once a station has accepted a change of its key, the old one must not be accepted).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import structlog
import trio

from ...engine.core import Engine
from ...engine.errors import FellBehind, LogUnavailable
from ...engine.events import Micros, StationRecord
from ...engine.fold import Projection
from ...engine.stations import Arrival, Connection
from ...projections import presence, registry
from .admission import is_valid
from .enrolment import Enrolment
from .profiles import Rules, bears_own_name

_log = structlog.get_logger("stationkeeper")

Reason: TypeAlias = Literal["removed", "credential_revoked"]

ACTOR: Final = "gateway"
"""By whom an old credential is ended."""
_LOOK_AGAIN: Final = 60.0
"""Seconds until the clock is read again, however far an end is: it may be set meanwhile."""


async def drop_the_revoked(engine: Engine, *, open: bool, rules: Rules, enrolment: Enrolment | None = None) -> None:
    """Drop whoever would not be let in again as it came.

    Args:
        engine: the engine whose connections are looked at; it folds `presence` and `registry`.
        open: unknown stations may stay.
        rules: what is asked of registered ones.
        enrolment: where old passwords end once the new one is in use; without it, with their overlap.
    """
    watch = _Watch(engine, rules, open=open)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.follow, presence)
        nursery.start_soon(watch.follow, registry)
        nursery.start_soon(watch.see_times_end)
        if enrolment is not None:
            nursery.start_soon(watch.see_old_ones_replaced, enrolment)


class _Watch:
    def __init__(self, engine: Engine, rules: Rules, *, open: bool) -> None:
        self._engine = engine
        self._rules = rules
        self._open = open
        self._ends: dict[str, Micros] = {}
        """When the credentials of connections end, by station, for those that have an end."""
        self._sooner = trio.Event()
        """Set when an end was added, so that it may be the next."""
        self._changed_over: dict[str, str] = {}
        """The new credentials with which stations came in that have an old one, too, by station."""
        self._any_changed_over = trio.Event()

    async def follow(self, projection: Projection[Any, Any]) -> None:
        """Look at all connections now, and from then on at those of stations that the projection saw change."""
        while True:
            async with self._engine.changes(projection) as changes:
                self._look_at(list(self._engine.connections.values()))
                try:
                    async for change in changes:
                        changed = self._engine.connection(change.station)
                        if changed is not None:
                            self._look_at([changed])
                except FellBehind:
                    continue  # and look at all of them
                return

    async def see_times_end(self) -> None:
        """Look at each connection whose credential's time is over."""
        while True:
            now = self._engine.now()
            over = [station for station, end in self._ends.items() if end <= now]
            for station in over:
                del self._ends[station]
            self._look_at(found for station in over if (found := self._engine.connection(station)) is not None)
            self._sooner = trio.Event()
            wait = min((end - now) / 1_000_000 for end in self._ends.values()) if self._ends else _LOOK_AGAIN
            with trio.move_on_after(min(wait, _LOOK_AGAIN)):
                await self._sooner.wait()

    async def see_old_ones_replaced(self, enrolment: Enrolment) -> None:
        """End the old credential of each station that came in with its new one."""
        while True:
            await self._any_changed_over.wait()
            self._any_changed_over = trio.Event()
            while self._changed_over:
                station, used = self._changed_over.popitem()
                try:
                    await enrolment.settle_on(station, used, actor=ACTOR)
                except LogUnavailable:
                    continue  # it ends with its overlap
                except Exception:
                    # A secrets file that cannot be written, say: what is named no more is forgotten at the next start.
                    _log.exception("ending the old password failed", station=station)

    def _look_at(self, connections: Iterable[Connection]) -> None:
        for connection in connections:
            why = self._why_not(connection)
            if why is not None:
                self._engine.drop(connection.station, why)

    def _why_not(self, connection: Connection) -> Reason | None:
        """Return why a connection may not stay; none if it may."""
        arrival = connection.arrival
        registered = self._engine.state(registry).registered(connection.station)
        if registered is None:
            return None if self._open and arrival.security == "none" else "removed"
        if arrival.credential is not None and not self._is_good(arrival.credential, registered.record, arrival):
            return "credential_revoked"
        return None if _came_right(self._rules, registered.record, arrival) else "credential_revoked"

    def _is_good(self, used: str, record: StationRecord, arrival: Arrival) -> bool:
        credential = next((one for one in record.credentials if one.id == used), None)
        if credential is None or not is_valid(credential, self._engine.now()):
            return False
        if len(record.credentials) > 1 and credential is record.credentials[0]:
            self._changed_over[arrival.station] = used
            self._any_changed_over.set()
        if credential.not_after is not None:
            self._ends[arrival.station] = credential.not_after
            self._sooner.set()
        return True


def _came_right(rules: Rules, record: StationRecord, arrival: Arrival) -> bool:
    """Return whether a station that came so would be let in so now."""
    demanded = rules.demanded(record)
    if demanded == "none":
        return True
    if arrival.security != demanded:
        return False
    if demanded == "mtls":
        return bears_own_name(arrival.station, record, arrival.names)
    return rules.wrong_profile(record, tls=arrival.tls is not None, certified=arrival.certificate is not None) is None

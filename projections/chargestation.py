"""The Chargestation object, as the API and the webhooks show it: folded from the log, nothing added."""

from __future__ import annotations

from typing import Final

from ..engine.clock import rfc3339
from ..engine.events import Micros
from .fleet import Fleet, Station
from .registry import Registration, Registry

_LATEST: Final = 253_402_300_799_999_999
"""The last microsecond that RFC 3339 can write."""


def chargestation(fleet: Fleet, registry: Registry, station: str) -> dict[str, object] | None:
    """Return the object of a station that is registered or was ever let in; none for any other."""
    known = fleet.get(station)
    registration = registry.get(station)
    if known is None and registration is None:
        return None
    never = Station(id=station, version=fleet.base, connection_url=fleet.url)
    return render(known or never, registration, observed=fleet.observed(station))


def render(station: Station, registration: Registration | None, *, observed: bool) -> dict[str, object]:
    """Write a station out, its keys always in this order."""
    record = None if registration is None else registration.record
    security = station.security if record is None or station.last_connect_at is not None else record.security
    return {
        "id": station.id,
        "object": "chargestation",
        "endpoint": station.id,
        "connection_url": station.connection_url,
        "name": "" if record is None else record.name,
        "site": "" if record is None else record.site,
        "online": station.online,
        "observed": observed,
        "protocol": station.subprotocol or (None if record is None else record.protocol),
        "security": {"type": security},
        "lastConnectAt": time(station.last_connect_at),
        "lastDisconnectAt": time(station.last_disconnect_at),
        "lastMessageAt": time(station.last_message_at),
        "createdAt": time(_created_at(station, registration)),
        "updatedAt": time(max(station.updated_at, 0 if registration is None else registration.updated_at)),
        "version": station.version,
        "position": station.position,
        "connection": _connection(station),
        "disconnect": _disconnect(station),
    }


def time(at: Micros | None) -> str | None:
    """Write a time as RFC 3339; one that it cannot write becomes the nearest that it can."""
    if at is None:
        return None
    return rfc3339(at if 0 <= at <= _LATEST else min(max(at, 0), _LATEST))


def _created_at(station: Station, registration: Registration | None) -> Micros:
    if registration is None:
        return station.created_at
    if station.last_connect_at is None:
        return registration.created_at
    return min(station.created_at, registration.created_at)


def _connection(station: Station) -> dict[str, object] | None:
    now = station.connection
    return None if now is None else {"id": now.id, "openedAt": time(now.opened_at)}


def _disconnect(station: Station) -> dict[str, object] | None:
    ended = station.disconnect
    if ended is None:
        return None
    return {
        "cause": ended.cause,
        "code": ended.code,
        "reason": ended.reason,
        "side": ended.side,
        "lastAliveAt": time(ended.last_alive_at),
        "detectedAt": time(ended.detected_at),
    }

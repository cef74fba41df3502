"""How one station meets one event: the conditions and the actions of presence's table.

Conditions are asked in the order of the table's rows. An action returns the station as it is after the event; `same`
returns the very station that it was given. What they mean together stands in `presence.TABLE`.
"""

from __future__ import annotations

from sys import intern
from typing import Final, Generic, TypeVar, cast

import msgspec
from msgspec.structs import replace

from ..engine.entry import Recorded
from ..engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    LogRestored,
)
from .fleet import Connection, Disconnect, DisconnectCause, Presence, Run, Station

E = TypeVar("E", bound=Event, covariant=True)

RESTORED_STEP: Final = 2**20
"""How far a restore steps every version forward: past all that subscribers may have seen of the lost tail."""


class Case(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """An event, as it meets a station."""

    recorded: Recorded
    event: E
    run: Run | None
    """Of a connection: its run, if that is running. Of a gateway's event: the run that it ends, in whichever way."""
    fresh: bool = False
    """Of a connection: is its n above the mark?"""


# --- when: the conditions --------------------------------------------------------------------------------------------


def always(station: Station, case: Case[Event]) -> bool:
    return True


def newest(station: Station, case: Case[ConnectionOpened]) -> bool:
    return case.run is not None and case.fresh


def of_no_running_run(station: Station, case: Case[ConnectionOpened]) -> bool:
    return case.run is None


def not_newest(station: Station, case: Case[ConnectionOpened]) -> bool:
    return not case.fresh


def its_own(station: Station, case: Case[ConnectionClosed | ConnectionPingTimedOut]) -> bool:
    return station.connection is not None and station.connection.id == case.event.connection


def another(station: Station, case: Case[ConnectionClosed | ConnectionPingTimedOut]) -> bool:
    return not its_own(station, case)


def its_own_for_good(station: Station, case: Case[ConnectionClosed]) -> bool:
    return its_own(station, case) and case.event.cause != "shutdown"


def its_own_by_our_stop(station: Station, case: Case[ConnectionClosed]) -> bool:
    return its_own(station, case) and case.event.cause == "shutdown"


def after_its_timeout(station: Station, case: Case[ConnectionClosed]) -> bool:
    ended = station.disconnect
    return ended is not None and ended.side is None and ended.connection == case.event.connection


def of_its_run(station: Station, case: Case[Event]) -> bool:
    return case.run is not None and case.run.id == station.run


def of_others(station: Station, case: Case[Event]) -> bool:
    return not of_its_run(station, case)


# --- then: the actions -----------------------------------------------------------------------------------------------


def same(station: Station, case: Case[Event]) -> Station:
    return station


def connect(station: Station, case: Case[ConnectionOpened]) -> Station:
    run, at = case.run, case.recorded.at
    assert run is not None, "the condition `newest` saw to that"
    return replace(
        station,
        state="on",
        run=run.id,
        version=station.version if station.state != "off" else station.version + 1,
        position=case.recorded.position,
        connection=Connection(case.event.connection, at),
        last_connect_at=at,
        last_message_at=at,
        connection_url=run.public_url,
        # One string for all stations that speak alike: decoded anew they would take 110 bytes each.
        subprotocol=None if case.event.subprotocol is None else intern(case.event.subprotocol),
        security=intern(case.event.security),
        created_at=at if station.last_connect_at is None else station.created_at,
        updated_at=at,
    )


def close(station: Station, case: Case[ConnectionClosed]) -> Station:
    return _leave(station, case.recorded, "off", _as_closed(case))


def hold_closed(station: Station, case: Case[ConnectionClosed]) -> Station:
    return _leave(station, case.recorded, "held", _as_closed(case))


def time_out(station: Station, case: Case[ConnectionPingTimedOut]) -> Station:
    # Who closed it, and how, comes with its `connection.closed`.
    ended = Disconnect(
        case.event.connection, "ping_timeout", None, "", None, case.event.alive_at, detected_at=case.recorded.at
    )
    return _leave(station, case.recorded, "off", ended)


def keep_how_it_closed(station: Station, case: Case[ConnectionClosed]) -> Station:
    ended = replace(
        cast(Disconnect, station.disconnect), side=case.event.side, code=case.event.code, reason=case.event.reason
    )
    return replace(station, disconnect=ended, updated_at=case.recorded.at)


def hold(station: Station, case: Case[GatewayStarted | GatewayStopped | GatewayLost]) -> Station:
    cause: DisconnectCause = "shutdown" if isinstance(case.event, GatewayStopped) else "gateway_lost"
    return _leave(station, case.recorded, "held", _as_gone(station, case.recorded, cause))


def lapse(station: Station, case: Case[GatewayLapsed]) -> Station:
    held = station.disconnect
    at = case.recorded.at
    if held is None or station.connection is not None:
        return _leave(station, case.recorded, "off", _as_gone(station, case.recorded, "lapsed"))
    return replace(
        station,
        state="off",
        run="",
        version=station.version + 1,
        position=case.recorded.position,
        disconnect=replace(held, cause="lapsed", detected_at=at),
        updated_at=at,
    )


def step_forward(station: Station, case: Case[LogRestored]) -> Station:
    return replace(station, version=station.version + RESTORED_STEP, updated_at=case.recorded.at)


def _as_closed(case: Case[ConnectionClosed]) -> Disconnect:
    event = case.event
    return Disconnect(
        event.connection, event.cause, event.code, event.reason, event.side, event.alive_at, case.recorded.at
    )


def _as_gone(station: Station, recorded: Recorded, cause: DisconnectCause) -> Disconnect:
    """Tell of a connection that went with its run: nothing was on the wire, nothing newer is recorded of its life."""
    connection = "" if station.connection is None else station.connection.id
    alive_at = recorded.at if station.last_message_at is None else station.last_message_at
    return Disconnect(connection, cause, None, "", "gateway", alive_at, detected_at=recorded.at)


def _leave(station: Station, recorded: Recorded, state: Presence, ended: Disconnect) -> Station:
    alive_at = station.last_message_at
    return replace(
        station,
        state=state,
        run="" if state == "off" else station.run,
        version=station.version + 1 if state == "off" else station.version,
        position=recorded.position,
        connection=None,
        disconnect=ended,
        last_disconnect_at=recorded.at,
        last_message_at=ended.last_alive_at if alive_at is None else max(alive_at, ended.last_alive_at),
        updated_at=recorded.at,
    )

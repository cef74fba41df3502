"""Histories written by hand: short words for the events that tests of projections tell stories with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    DeliveryParked,
    DeliveryRequested,
    DeliverySkipped,
    DeliverySucceeded,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    LogRestored,
    Micros,
    Side,
    StationRegistered,
    StationSettled,
    WebhookAdded,
)
from stationkeeper.engine.sending import Owed

SECOND: Micros = 1_000_000
START: Micros = 1_764_000_000 * SECOND
"""When histories begin: 2025-11-24 16:00 UTC."""


def record(
    event: Event, position: int, *, id: str = "", at: Micros = 0, subject: str = "", gateway: str = "g", run: str = ""
) -> Recorded:
    """Put an event into a log's envelope; where nothing is said, its id is `e<position>`, a second after the last."""
    entry = seal(
        event, id=id or f"e{position}", at=at or START + position * SECOND, subject=subject, gateway=gateway, run=run
    )
    return Recorded(**{name: getattr(entry, name) for name in entry.__struct_fields__}, position=position)


class History:
    """A history that grows event by event. Each word returns the event as it was recorded."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.events)

    def add(self, event: Event, subject: str = "", **envelope: Any) -> Recorded:
        self.events.append(record(event, len(self.events) + 1, subject=subject, **envelope))
        return self.events[-1]

    def started(self, run: str = "r1", *, gateway: str = "g", url: str = "ws://here/ocpp", rules: int = 1) -> Recorded:
        event = GatewayStarted(
            public_url=url,
            ping_interval=25.0,
            ping_timeout=20.0,
            silence=900.0,
            grace=120.0,
            settling=300.0,
            rules=rules,
            software="0.1",
            host="host",
        )
        return self.add(event, id=run, run=run, gateway=gateway)

    def stopped(self, run: str = "r1", *, listened: float = 10.0) -> Recorded:
        return self.add(GatewayStopped(listened=listened), run=run)

    def lost(self, run: str = "r1", *, listened: float = 10.0) -> Recorded:
        return self.add(GatewayLost(run=run, alive_at=START, listened=listened, found_by="g"), id=f"{run}:lost")

    def lapsed(self, run: str = "r1") -> Recorded:
        return self.add(GatewayLapsed(run=run, grace=120.0, listened=120.0), id=f"{run}:lapsed")

    def opened(self, station: str, connection: str, *, security: str = "none", protocol: str = "ocpp1.6") -> Recorded:
        event = ConnectionOpened(
            connection=connection,
            subprotocol=protocol,
            security=security,
            ping_interval=25.0,
            ping_timeout=20.0,
            silence=900.0,
        )
        return self.add(event, station, id=f"{connection}:opened")

    def closed(
        self,
        station: str,
        connection: str,
        cause: Cause = "station_closed",
        *,
        side: Side = "station",
        code: int | None = None,
        reason: str = "",
        alive_at: Micros = START,
    ) -> Recorded:
        event = ConnectionClosed(
            connection=connection, side=side, code=code, reason=reason, cause=cause, alive_at=alive_at
        )
        return self.add(event, station, id=f"{connection}:closed")

    def timed_out(self, station: str, connection: str, *, alive_at: Micros = START) -> Recorded:
        event = ConnectionPingTimedOut(
            connection=connection, alive_at=alive_at, pinged_at=alive_at, interval=25.0, timeout=20.0, lag=0.0
        )
        return self.add(event, station, id=f"{connection}:timed_out")

    def restored(self) -> Recorded:
        return self.add(LogRestored(checkpoint_size=1, checkpoint_root="00"))

    def registered(self, station: str, **record: Any) -> Recorded:
        return self.add(StationRegistered(**record), station)

    def settled(self, station: str, version: int) -> Recorded:
        return self.add(StationSettled(version=version, settling=300.0), station, id=f"{station}:{version}:settled")

    def subscribed(self, webhook: str = "w1", *, url: str = "https://hooks.example/", **record: Any) -> Recorded:
        return self.add(WebhookAdded(url=url, **record), webhook)

    def delivered(self, message: Owed, *, round: int | None = None, attempted_at: Micros = START) -> Recorded:
        event = DeliverySucceeded(
            message=message.id,
            webhook=message.webhook,
            position=message.position,
            round=message.round if round is None else round,
            attempts=1,
            status=204,
            attempted_at=attempted_at,
            latency=0.1,
        )
        return self.add(event, message.subject)

    def parked(self, message: Owed, *, round: int | None = None, attempted_at: Micros = START) -> Recorded:
        event = DeliveryParked(
            message=message.id,
            webhook=message.webhook,
            position=message.position,
            round=message.round if round is None else round,
            attempts=10,
            attempted_at=attempted_at,
            latency=0.1,
            reason="timed out",
        )
        return self.add(event, message.subject)

    def requested(self, message: Owed, *, round: int | None = None) -> Recorded:
        event = DeliveryRequested(
            message=message.id,
            webhook=message.webhook,
            type=message.type,
            position=message.position,
            round=message.round + 1 if round is None else round,
        )
        return self.add(event, message.subject)

    def skipped(self, message: Owed, *, round: int | None = None) -> Recorded:
        event = DeliverySkipped(
            message=message.id,
            webhook=message.webhook,
            position=message.position,
            round=message.round if round is None else round,
        )
        return self.add(event, message.subject)

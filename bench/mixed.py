"""A history as a gateway of 10 000 stations would write it, of any length, the same each time.

Stations are registered, connect, and come and go in no order: closed by themselves, lost, timed out, taken over. One
webhook hears of every flip and answers at once; one delivery in fifty is given up. Strangers are refused, and every
200 000 events the gateway is restarted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    DeliveryParked,
    DeliverySucceeded,
    Event,
    GatewayStarted,
    GatewayStopped,
    HandshakeRefused,
    StationRegistered,
    Validity,
    WebhookAdded,
)
from stationkeeper.engine.names import closed_id, connection_name, opened_id, timed_out_id
from stationkeeper.projections.bodies import OFFLINE, ONLINE, message_id

STATIONS = 10_000
RUN = 200_000
"""Events of one run of the gateway."""
BEGAN = 1_760_000_000_000_000  # microseconds: in October 2025
STEP = 50_000
"""Microseconds from event to event: ten million of them last six days."""
WEBHOOK = "w0"


def mixed_history(length: int) -> Iterator[Entry]:
    """Yield the first events of the history, as entries for a log."""
    return islice(_Gateway().entries(), length)


def station(number: int) -> str:
    """Name a station."""
    return f"CP-{number}"


class _Gateway:
    def __init__(self) -> None:
        self.random = Random(1)
        self.position = 0
        self.run = ""
        self.admissions = 0
        self.connections: dict[int, str] = {}
        """By station: the connection that it has."""
        self.held: set[int] = set()
        """Stations whose connection went with an earlier run."""

    def entries(self) -> Iterator[Entry]:
        yield self.write(WebhookAdded(url="https://hooks.example/", secrets=("s1",)), "added", WEBHOOK)
        for number in range(STATIONS):
            credential = Validity(id=f"credential-{number}")
            yield self.write(StationRegistered(credentials=(credential,)), f"registered-{number}", station(number))
        while True:
            yield from self.life(self.position + RUN)

    def life(self, until: int) -> Iterator[Entry]:
        """One run of the gateway: everybody comes back, then they come and go."""
        self.run, self.admissions = f"01K{self.position:023d}", 0
        yield self.write(
            GatewayStarted(
                public_url="wss://gateway.example/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0,
                grace=120.0, settling=300.0, rules=1, software="bench", host="bench",
            ),
            self.run,
        )  # fmt: skip
        for number in range(STATIONS):
            yield from self.come(number)
        while self.position < until:
            number = self.random.randrange(STATIONS)
            if number not in self.connections or number % 10 == 0:
                yield from self.come(number)  # of those that end in a zero, the new connection takes over
            else:
                yield from self.go(number)
            if self.position % 100 == 0:
                yield self.refuse()
        yield self.write(GatewayStopped(listened=RUN * STEP / 1e6), f"{self.run}:stopped")
        self.held |= self.connections.keys()
        self.connections.clear()

    def come(self, number: int) -> Iterator[Entry]:
        self.admissions += 1
        before, connection = self.connections.get(number), connection_name(self.run, self.admissions)
        opened = ConnectionOpened(
            connection=connection, subprotocol="ocpp1.6", security="basic", ping_interval=25.0, ping_timeout=20.0,
            silence=900.0,
        )  # fmt: skip
        yield self.write(opened, opened_id(connection), station(number))
        self.connections[number] = connection
        if before is not None:
            yield self.write(self.closed(before, "superseded"), closed_id(before), station(number))
        elif number in self.held:
            self.held.remove(number)
        else:
            yield self.deliver(opened_id(connection), ONLINE, number)

    def go(self, number: int) -> Iterator[Entry]:
        connection = self.connections.pop(number)
        if self.random.random() < 0.75:
            yield self.write(self.closed(connection, "station_closed"), closed_id(connection), station(number))
            yield self.deliver(closed_id(connection), OFFLINE, number)
            return
        timed_out = ConnectionPingTimedOut(
            connection=connection, alive_at=self.at, pinged_at=self.at, interval=25.0, timeout=20.0, lag=0.01
        )
        yield self.write(timed_out, timed_out_id(connection), station(number))
        yield self.write(self.closed(connection, "ping_timeout"), closed_id(connection), station(number))
        yield self.deliver(timed_out_id(connection), OFFLINE, number)

    def closed(self, connection: str, cause: Cause) -> ConnectionClosed:
        return ConnectionClosed(
            connection=connection, side="gateway" if cause == "superseded" else "station", code=1000, cause=cause,
            alive_at=self.at, received=12, sent=12,
        )  # fmt: skip

    def deliver(self, cause: str, type: str, number: int) -> Entry:
        message = message_id(WEBHOOK, cause, type, station(number))
        parked = self.position % 50 == 0
        # The event that caused it is the newest of the station, one or two positions back.
        event: Event = DeliveryParked(
            message=message, webhook=WEBHOOK, position=self.position, round=0, attempts=10, attempted_at=self.at,
            latency=0.02, status=500, reason="it answered 500",
        ) if parked else DeliverySucceeded(
            message=message, webhook=WEBHOOK, position=self.position, round=0, attempts=1, attempted_at=self.at,
            latency=0.02, status=204,
        )  # fmt: skip
        return self.write(event, f"{message}-0:outcome", station(number))

    def refuse(self) -> Entry:
        refused = HandshakeRefused(
            claimed="stranger", reason="unknown_station", status=404, first_at=self.at, last_at=self.at
        )
        return self.write(refused, f"refused-{self.position}")

    @property
    def at(self) -> int:
        """The time of the next event."""
        return BEGAN + self.position * STEP

    def write(self, event: Event, id: str, subject: str = "") -> Entry:
        entry = seal(event, id=id, at=self.at, subject=subject, gateway="bench", run=self.run)
        self.position += 1
        return entry

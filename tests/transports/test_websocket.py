"""The WebSocket transports, judged by the suite: on TCP, and on TLS."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Collection
from typing import ClassVar

import pytest
import trustme
from raw_station import RawStation, Rejected

from stationkeeper.engine.events import Reach
from stationkeeper.engine.stations import OnMessage, StationTransport
from stationkeeper.engine.testing.stations import (
    STRANGER,
    Caller,
    HungUp,
    StationConformance,
    TurnedAway,
)
from stationkeeper.transports import DenseStations, Knock, Refusal, WebSocketStations, Welcome
from stationkeeper.transports.bounds import Bounds

SHORT = Bounds(frame_time=0.5, message_time=1.0, unread_time=0.5, sweep=0.05)


async def all_but_strangers(knock: Knock) -> Welcome | Refusal:
    if knock.station == STRANGER:
        return Refusal(status=404, reason="unknown_station")
    return Welcome(station=knock.station)


class SocketCaller(Caller):
    def __init__(self, station: RawStation) -> None:
        self.station = station

    async def send(self, text: str) -> None:
        await self.station.send(text)

    async def receive(self) -> str:
        return await self.station.receive()

    async def ping(self) -> None:
        await self.station.ping()

    async def close(self, code: int | None, reason: str) -> None:
        await self.station.close(code, reason)

    async def lose(self) -> None:
        await self.station.lose()

    def vanish(self) -> None:
        self.station.vanish()

    async def hung_up(self) -> HungUp:
        code, _ = await self.station.hung_up()
        return HungUp(code)


class OverSockets(StationConformance):
    """Either transport, on TCP or on TLS."""

    transport: ClassVar[type[WebSocketStations | DenseStations]]
    paths: ClassVar[Collection[Reach | None]] = ["acknowledged" if sys.platform == "linux" else None]
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None

    def make(self, on_message: OnMessage) -> StationTransport:
        return self.transport(
            "127.0.0.1:0", admit=all_but_strangers, on_message=on_message, bounds=SHORT, tls=self.server
        )

    async def dial(self, url: str, station: str) -> Caller:
        try:
            return SocketCaller(await RawStation.open(f"{url}/{station}", self.callers, tls=self.client))
        except Rejected as error:
            raise TurnedAway(error.status) from None


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context that trust each other."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class OverTLS(OverSockets):
    @pytest.fixture(autouse=True)
    def _certificates(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.server, self.client = tls


class TestWebSocketStations(OverSockets):
    transport = WebSocketStations


class TestWebSocketStationsOverTLS(OverTLS):
    transport = WebSocketStations


class TestDenseStations(OverSockets):
    transport = DenseStations


class TestDenseStationsOverTLS(OverTLS):
    transport = DenseStations

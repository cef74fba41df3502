"""The transport in memory: judged by the suite, and what it adds for tests."""

from __future__ import annotations

from contextlib import suppress

import trio.abc
from trio.testing import MockClock

from stationkeeper.engine.clock import Clock
from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.stations import StationTransport
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.engine.testing.stations import (
    STRANGER,
    Caller,
    HungUp,
    OnMessage,
    StationConformance,
    TurnedAway,
)
from stationkeeper.transports import Closed, Knock, MemoryStation, MemoryStations, NotLetIn, Refusal, Welcome


async def all_but_strangers(knock: Knock) -> Welcome | Refusal:
    if knock.station == STRANGER:
        return Refusal(status=404, reason="unknown_station")
    return Welcome(station=knock.station)


class MemoryCaller(Caller):
    def __init__(self, station: MemoryStation) -> None:
        self.station = station

    async def send(self, text: str) -> None:
        with suppress(Closed):
            await self.station.send(text)

    async def receive(self) -> str:
        return await self.station.receive()

    async def ping(self) -> None:
        self.station.ping()

    async def close(self, code: int | None, reason: str) -> None:
        await self.station.close(code, reason)

    async def lose(self) -> None:
        self.station.lose()

    def vanish(self) -> None:
        self.station.vanish()

    async def hung_up(self) -> HungUp:
        self.station.come_back()
        return HungUp((await self.station.wait_closed()).code)


class TestMemoryStations(StationConformance):
    liveness = Liveness(ping_interval=2, ping_timeout=2, silence=6)
    inline = True

    def make(self, on_message: OnMessage) -> StationTransport:
        self.transport = MemoryStations(admit=all_but_strangers, on_message=on_message)
        return self.transport

    async def dial(self, url: str, station: str) -> Caller:
        try:
            return MemoryCaller(await self.transport.connect(station))
        except NotLetIn as error:
            raise TurnedAway(error.status) from None

    def clock(self) -> trio.abc.Clock:
        return MockClock(autojump_threshold=0)

    def engine_clock(self) -> Clock:
        return VirtualClock()

"""The transport in memory: judged by the suite, and what it adds for tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
import trio.abc
from trio.testing import MockClock

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.clock import Clock
from stationkeeper.engine.codec import decode
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import ConnectionPingTimedOut, Reach
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import (
    Arrival,
    Busy,
    Connection,
    Hint,
    Link,
    NotAdmitted,
    OnMessage,
    StationTransport,
    Undecided,
)
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.engine.testing.stations import (
    STRANGER,
    Caller,
    HungUp,
    StationConformance,
    TurnedAway,
)
from stationkeeper.engine.watch.grace import Handshakes
from stationkeeper.transports import (
    AnyStation,
    Closed,
    Knock,
    MemoryStation,
    MemoryStations,
    NotLetIn,
    Refusal,
    Welcome,
)


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
    paths = (None,)
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


class FullAtLast:
    """A door that is open until somebody is to be admitted."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str, int]] = []

    def busy(self, station: str) -> Busy | None:
        return None

    def kept_waiting(self) -> None: ...

    def handshake(self) -> Undecided:
        return Handshakes().one()

    async def admit(self, arrival: Arrival, link: Link) -> Connection:
        raise NotAdmitted(Busy(reason="full", retry_after=60))

    def let_in(self, arrival: Arrival, link: Link, decided: Callable[[LogUnavailable | None], None]) -> Connection:
        raise NotAdmitted(Busy(reason="full", retry_after=60))

    def refused(self, claimed: str, *, reason: str, status: int, hint: Hint = "", remote: str = "") -> None:
        self.refusals.append((claimed, reason, status))


async def test_who_is_not_admitted_after_all_is_told_why() -> None:
    transport, door = MemoryStations(), FullAtLast()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.serve, door)
        with pytest.raises(NotLetIn) as caught:
            await transport.connect("CP-1")
        transport.stop_accepting()

    assert (caught.value.status, caught.value.reason) == (503, "full")
    assert door.refusals == [("CP-1", "full", 503)]


@pytest.mark.parametrize("lenient", [(), ("subprotocol",)])
async def test_foreign_subprotocols_are_forgiven_as_on_a_socket(lenient: tuple[str, ...]) -> None:
    async def admit(knock: Knock) -> Welcome | Refusal:
        return Welcome(station=knock.station, protocol="ocpp1.6", lenient=lenient)

    transport, door = MemoryStations(admit=admit), FullAtLast()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.serve, door)
        with pytest.raises(NotLetIn) as caught:
            await transport.connect("CP-1", offered=("ocpp1.5",))
        transport.stop_accepting()

    assert caught.value.reason == ("full" if lenient else "no_subprotocol")


@pytest.mark.parametrize(("liveness", "asked"), [(Liveness(), 20.0), (Liveness(ping_interval=0, silence=60), 60.0)])
async def test_at_a_timeout_the_path_is_asked_for_the_time_of_the_silence(
    liveness: Liveness, asked: float, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, log = MemoryStations(admit=AnyStation()), MemoryLog()
    waits: list[float] = []
    settings = EngineSettings(liveness=liveness)
    async with open_engine(log, transports=[transport], settings=settings, clock=VirtualClock(), inline=True) as engine:
        station = await transport.connect("CP-1")
        station.vanish()
        station.reach = "silent"
        connection = engine.connection("CP-1")
        assert connection is not None
        path = connection.link.path

        def asked_for(waited: float) -> Reach | None:
            waits.append(waited)
            return path(waited)

        monkeypatch.setattr(connection.link, "path", asked_for)
        await trio.sleep(100)
        assert connection.round_trip() is None
    (event,) = [decode(recorded) for recorded in log.read(kinds={ConnectionPingTimedOut.kind})]

    assert isinstance(event, ConnectionPingTimedOut)
    assert event.path == "silent"
    assert waits == [pytest.approx(asked, abs=0.1)]

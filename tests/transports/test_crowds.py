"""Crowds at the door of each transport: strangers, one that hammers, and more stations than are let in at once."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from struct import pack
from typing import Any

import pytest
import trio
from attrs import frozen
from fronted import contexts
from raw_station import RawStation, Rejected, dial_tcp, request
from trio.testing import MockClock

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import HandshakeRefused
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import Connection
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations
from stationkeeper.transports.gate.gate import Gate
from stationkeeper.transports.handshake.proxy import SIGNATURE

Transport = type[WebSocketStations] | type[DenseStations]
UNWATCHED = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))

pytestmark = pytest.mark.parametrize("transport", [WebSocketStations, DenseStations])


def in_virtual_time(world: Callable[[], Awaitable[None]]) -> None:
    trio.run(world, clock=MockClock(autojump_threshold=0.01))


@frozen
class Front:
    """A gateway that listens."""

    url: str
    log: MemoryLog

    def refusals(self) -> set[tuple[int, str]]:
        """Return the (status, reason) of those that were turned away."""
        events = [decode(recorded) for recorded in self.log.read(kinds={HandshakeRefused.kind})]
        return {(event.status, event.reason) for event in events if isinstance(event, HandshakeRefused)}

    async def serves_well(self, station: str = "good") -> None:
        """See that a station gets in, and is answered."""
        async with trio.open_nursery() as nursery:
            good = await RawStation.open(f"{self.url}/{station}", nursery)
            await good.send("hello")
            assert await good.receive() == "hello"
            await good.close()
            nursery.cancel_scope.cancel()


async def echo(connection: Connection, text: str) -> None:
    await connection.send(text)


@asynccontextmanager
async def fronted(transport: Transport, *, virtual: bool = False, **settings: Any) -> AsyncGenerator[Front]:
    """Serve a transport with an echo while the block lasts."""
    stations, log = transport("127.0.0.1:0", admit=AnyStation(), on_message=echo, **settings), MemoryLog()
    clock = VirtualClock() if virtual else None
    with trio.fail_after(30):
        async with open_engine(log, transports=[stations], settings=UNWATCHED, clock=clock, inline=virtual) as engine:
            yield Front(engine.urls[0], log)


@asynccontextmanager
async def strangers(front: Front, number: int, word: bytes) -> AsyncGenerator[None]:
    """Have peers at the door who say no more than a word, while the block lasts."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            stranger = await stack.enter_async_context(await dial_tcp(front.url))
            if word:
                await stranger.send_all(word)
        yield


@pytest.mark.parametrize("word", [b"", b"G", request()[:80]], ids=["silent", "a byte", "half a head"])
def test_a_flood_of_strangers_does_not_keep_a_good_station_out(transport: Transport, word: bytes) -> None:
    async def world() -> None:
        async with fronted(transport, virtual=True, max_handshakes=8) as front, strangers(front, 24, word):
            began = trio.current_time()
            await front.serves_well()

            # Three times eight strangers are before it in the queue, and leave when others wait.
            assert trio.current_time() - began < 3 * 4.5
            assert front.refusals() == {(503, "crowded")}

    in_virtual_time(world)


@pytest.mark.parametrize("said", [100, None], ids=["half a hello", "a hello"])
def test_strangers_that_begin_tls_and_get_no_further_make_room_too(
    transport: Transport, said: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = contexts()
    outward = ssl.MemoryBIO()
    hello = client.wrap_bio(ssl.MemoryBIO(), outward, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    word = outward.read()[:said]

    async def world() -> None:
        async with (
            fronted(transport, virtual=True, max_handshakes=4, tls=server) as front,
            strangers(front, 12, word),
            trio.open_nursery() as nursery,
        ):
            station = await RawStation.open(f"{front.url}/CP-1", nursery, tls=client)
            await station.close()
            nursery.cancel_scope.cancel()

            assert front.refusals() == {(503, "crowded")}

    in_virtual_time(world)
    assert caplog.records == []


def test_strangers_stay_while_there_is_room(transport: Transport) -> None:
    async def world() -> None:
        async with fronted(transport, virtual=True, max_handshakes=100) as front, strangers(front, 24, b"G"):
            await trio.sleep(5)
            await front.serves_well()

            assert front.refusals() == set()

    in_virtual_time(world)


async def test_one_that_hammers_is_told_so_and_nobody_else_notices(transport: Transport) -> None:
    async with fronted(transport) as front, trio.open_nursery() as nursery:
        told = Counter[int]()
        for number in range(40):
            try:
                await (await RawStation.open(f"{front.url}/hammer", nursery)).close()
                told[101] += 1
            except Rejected as error:
                told[error.status] += 1
            await front.serves_well(f"good-{number}")

        assert 10 <= told[101] <= 12
        assert told[429] == 40 - told[101]
        assert front.refusals() == {(429, "too_often")}
        nursery.cancel_scope.cancel()


def announced(source: str) -> bytes:
    """Return what a proxy says of a peer (PROXY protocol, version 2)."""
    content = socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + pack("!HH", 50000, 9000)
    return SIGNATURE + b"\x21\x11" + pack("!H", len(content)) + content


async def test_an_address_that_only_guesses_is_answered_before_anybody_is_asked(transport: Transport) -> None:
    async def answer(source: str, text: bytes) -> bytes:
        async with await dial_tcp(front.url) as stream:
            await stream.send_all(announced(source) + text)
            return bytes(await stream.receive_some())

    async with fronted(transport, trusted_proxies=["127.0.0.0/8"]) as front:
        before = await answer("198.51.100.7", request("/ocpp/CP-1"))
        for _ in range(550):
            await answer("198.51.100.7", request("/ocpp/"))
        neighbour = await answer("198.51.100.7", request("/ocpp/CP-2"))
        known = await answer("198.51.100.7", request("/ocpp/CP-1"))
        other = await answer("198.51.100.8", request("/ocpp/CP-3"))

    assert neighbour.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: " in neighbour
    assert [said[:13] for said in (before, known, other)] == [b"HTTP/1.1 101 "] * 3


def test_over_the_rate_of_all_each_comes_in_at_its_turn(transport: Transport) -> None:
    tries = Counter[str]()

    async def come(front: Front, nursery: trio.Nursery, station: str) -> None:
        while True:
            tries[station] += 1
            try:
                await RawStation.open(f"{front.url}/{station}", nursery)
                return
            except Rejected as error:
                await trio.sleep(int(error.headers["retry-after"]))

    async def world() -> None:
        async with (
            fronted(transport, virtual=True, gate=Gate(handshake_rate=10.0)) as front,
            trio.open_nursery() as nursery,
        ):
            began = trio.current_time()
            async with trio.open_nursery() as coming:
                for number in range(60):
                    coming.start_soon(partial(come, front, nursery, f"CP-{number}"))
            took = trio.current_time() - began
            assert front.refusals() == {(503, "overloaded")}
            nursery.cancel_scope.cancel()

            assert 5 <= took <= 12
            assert max(tries.values()) <= 4

    in_virtual_time(world)

"""Compressed messages over sockets, to each transport, from real peers and bad ones (RFC 7692).

The threads from the field that this answers: OCPP.Core issue 45 (a charger compresses though nobody agreed to it: the
server broke), citrineos-core pull request 1094 and Java-OCA-OCPP issue 413 (compression missing, or broken).
"""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import pytest
import trio
from attrs import frozen
from node_peers import WS, node
from raw_station import RawStation, frame
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import Connection
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations

UNWATCHED = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))
OCPP = Subprotocol("ocpp1.6")

Make: TypeAlias = "Callable[..., WebSocketStations | DenseStations]"


@pytest.fixture(params=[WebSocketStations, DenseStations])
def make(request: pytest.FixtureRequest) -> Make:
    """Both transports."""
    return partial(request.param, "127.0.0.1:0", admit=AnyStation(), on_message=echo)


async def echo(connection: Connection, text: str) -> None:
    await connection.send(f"heard {text}" if len(text) < 1000 else f"heard {len(text)}")


@frozen
class Stage:
    engine: Engine
    log: MemoryLog
    nursery: trio.Nursery

    @property
    def url(self) -> str:
        return f"{self.engine.urls[0]}/CP-1"

    async def station(self, *, offer: bool = True) -> RawStation:
        return await RawStation.open(self.url, self.nursery, deflate=offer)

    async def closed(self) -> ConnectionClosed:
        while True:
            position = self.engine.position
            for recorded in self.log.read(kinds={ConnectionClosed.kind}):
                event = decode(recorded)
                assert isinstance(event, ConnectionClosed)
                return event
            await self.engine.beyond(position)


@asynccontextmanager
async def serving(stations: WebSocketStations | DenseStations) -> AsyncGenerator[Stage]:
    log = MemoryLog()
    with trio.fail_after(60):
        async with (
            open_engine(log, transports=[stations], settings=UNWATCHED) as engine,
            trio.open_nursery() as nursery,
        ):
            yield Stage(engine, log, nursery)
            nursery.cancel_scope.cancel()


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


# --- real peers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [True, 9, 15])
async def test_the_client_of_websockets_compresses_and_is_understood(make: Make, window: int) -> None:
    def speak(url: str) -> tuple[list[str], str]:
        offer = ClientPerMessageDeflateFactory(client_max_window_bits=window)
        with connect(url, subprotocols=[OCPP], compression=None, extensions=[offer], ping_interval=None) as station:
            answers = list[str]()
            for message in ('[2,"1","Heartbeat",{}]', "ünïcödé €" * 50, "x" * 60_000, [*"abc" * 100]):
                station.send(message)
                answers.append(str(station.recv()))
            station.ping()
            response = station.response
            assert response is not None
            return answers, response.headers["Sec-WebSocket-Extensions"]

    async with serving(make()) as stage:
        answers, agreed = await trio.to_thread.run_sync(speak, stage.url)

        assert answers == [
            'heard [2,"1","Heartbeat",{}]',
            f"heard {'ünïcödé €' * 50}",
            "heard 60000",
            "heard " + "abc" * 100,
        ]
        assert "client_no_context_takeover" in agreed
        assert (await stage.closed()).received == 4


async def test_npm_ws_compresses_and_is_understood(make: Make) -> None:
    script = """
        const [path, url] = process.argv.slice(1);
        const WebSocket = require(path);
        const station = new WebSocket(url, ["ocpp1.6"], { perMessageDeflate: { threshold: 0 } });
        const said = [];
        station.on("open", () => ["one", "two".repeat(300), "x".repeat(60000)].forEach((text) => station.send(text)));
        station.on("message", (data) => said.push(String(data)) === 3 && station.close(1000));
        station.on("close", () => console.log(JSON.stringify({ extensions: station.extensions, said })));
    """
    async with serving(make()) as stage:
        done = await trio.run_process([node(), "-e", script, str(WS), stage.url], capture_stdout=True)
        told: dict[str, Any] = json.loads(done.stdout)

        assert told["said"] == ["heard one", f"heard {'two' * 300}", "heard 60000"]
        assert told["extensions"].startswith("permessage-deflate")
        assert (await stage.closed()).cause == "station_closed"


async def test_who_offers_nothing_is_told_nothing(make: Make) -> None:
    def speak(url: str) -> tuple[str, bool]:
        with connect(url, subprotocols=[OCPP], compression=None, ping_interval=None) as station:
            station.send("plain")
            response = station.response
            assert response is not None
            return str(station.recv()), "Sec-WebSocket-Extensions" in response.headers

    async with serving(make()) as stage:
        assert await trio.to_thread.run_sync(speak, stage.url) == ("heard plain", False)


async def test_where_it_is_switched_off_the_offer_is_declined(make: Make) -> None:
    def speak(url: str) -> tuple[str, bool]:
        with connect(url, subprotocols=[OCPP], ping_interval=None) as station:
            station.send("plain")
            response = station.response
            assert response is not None
            return str(station.recv()), "Sec-WebSocket-Extensions" in response.headers

    async with serving(make(compression=False)) as stage:
        assert await trio.to_thread.run_sync(speak, stage.url) == ("heard plain", False)


# --- bytes ------------------------------------------------------------------------------------------------------------


async def test_compressed_and_plain_messages_mix_in_fragments_with_pings_between(make: Make) -> None:
    async with serving(make()) as stage:
        station = await stage.station()
        data = deflated(b"a compressed message in three parts")
        for piece in (
            frame(data[:5], fin=False, rsv=4) + frame(b"hi", opcode=9),
            frame(data[5:9], opcode=0, fin=False),
            frame(b"", opcode=10) + frame(data[9:], opcode=0) + frame(b"a plain one"),
            frame(deflated(b"and compressed"), rsv=4) + frame(deflated(b""), rsv=4),
        ):
            await station.send_raw(piece)
            await trio.sleep(0.01)

        assert [await station.receive() for _ in range(4)] == [
            "heard a compressed message in three parts",
            "heard a plain one",
            "heard and compressed",
            "heard ",
        ]


async def test_a_message_that_comes_byte_by_byte_keeps_what_is_needed_of_it(make: Make) -> None:
    async with serving(make()) as stage:
        station = await stage.station()
        for byte in frame(deflated(b"drop by drop"), rsv=4) * 2:
            await station.send_raw(bytes([byte]))
            await trio.sleep(0.001)

        assert [await station.receive() for _ in range(2)] == ["heard drop by drop"] * 2


@pytest.mark.parametrize("offer", [False, True])
async def test_a_compressed_frame_that_nobody_agreed_to_is_a_recorded_cause(make: Make, offer: bool) -> None:
    """OCPP.Core issue 45."""
    async with serving(make(compression=False)) as stage:
        station = await stage.station(offer=offer)
        await station.send_raw(frame(deflated(b"hello"), rsv=4))
        closed = await stage.closed()

        assert (closed.side, closed.cause, closed.code) == ("gateway", "protocol_error", 1002)
        assert closed.reason == "a compressed frame, though compression was not agreed on"
        assert await station.hung_up() == (1002, closed.reason)


@pytest.mark.parametrize(
    ("data", "code", "cause", "reason"),
    [
        (frame(b"\xff" * 20, rsv=4), 1002, "protocol_error", "compressed data is corrupt"),
        (frame(deflated(b"x"), rsv=6), 1002, "protocol_error", ""),
        (frame(b"", opcode=9, rsv=4), 1002, "protocol_error", ""),
        (frame(deflated(b"xx")[:1], fin=False, rsv=4) + frame(b"x", opcode=0, rsv=4), 1002, "protocol_error", ""),
        (frame(deflated(b"\xff\xfe"), rsv=4), 1007, "protocol_error", ""),
        (frame(deflated(b"x" * 65_537), rsv=4), 1009, "message_too_big", "compressed or not"),
    ],
)
async def test_what_cannot_be_borne_ends_its_connection_with_its_cause(
    make: Make, data: bytes, code: int, cause: str, reason: str
) -> None:
    """Java-OCA-OCPP issue 413: broken compression."""
    async with serving(make()) as stage:
        station = await stage.station()
        await station.send_raw(data)
        closed = await stage.closed()

        assert (closed.side, closed.cause, closed.code) == ("gateway", cause, code)
        assert reason in closed.reason
        assert (await station.hung_up())[0] == code


async def test_bombs_cost_bounded_memory(make: Make) -> None:
    """A gigabyte of zeros in a megabyte; and as many in small pieces as a message may have."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = b"\0" * (1 << 20)
    bomb = b"".join(compressor.compress(piece) for _ in range(1 << 10)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    async with serving(make(max_message=2 << 20)) as stage:
        station = await stage.station()
        tracemalloc.start()
        try:
            await station.send_raw(frame(bomb, rsv=4))
            closed = await stage.closed()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert (closed.cause, closed.code) == ("message_too_big", 1009)
        assert peak < 20 << 20


async def test_between_messages_a_dense_transport_keeps_nothing() -> None:
    async with serving(DenseStations("127.0.0.1:0", admit=AnyStation(), on_message=echo)) as stage:
        station = await stage.station()
        await station.send_raw(frame(deflated(b"x" * 50_000), rsv=4))
        await station.receive()
        tracemalloc.start()
        try:
            for _ in range(5):
                await station.send_raw(frame(deflated(os.urandom(30_000).hex().encode()), rsv=4))
                await station.receive()
            await trio.sleep(0.05)
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

        assert kept < 50_000


async def test_a_ping_has_room_beside_a_message_of_the_limit(make: Make) -> None:
    async with serving(make()) as stage:
        station = await stage.station(offer=False)
        await station.send_raw(frame(b"x" * 65_535, fin=False) + frame(b"p" * 125, opcode=9) + frame(b"x", opcode=0))

        assert await station.receive() == "heard 65536"

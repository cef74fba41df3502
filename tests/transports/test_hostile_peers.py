"""Slow, broken and hostile peers on real sockets: the server lives, nothing is left behind, the cause is right."""

from __future__ import annotations

import os
import random
import resource
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

import pytest
import trio
import trio.testing
from attrs import frozen
from raw_station import RawStation, dial_tcp, frame, request

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, Event, HandshakeRefused
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import Connection
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations
from stationkeeper.transports.bounds import Bounds

UNWATCHED = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))
SHORT = Bounds(frame_time=0.3, message_time=0.6, unread_time=0.5, sweep=0.05)


E = TypeVar("E", bound=Event)


Stations: type[WebSocketStations | DenseStations] = WebSocketStations


@pytest.fixture(autouse=True, params=[WebSocketStations, DenseStations])
def _each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here is for both transports."""
    monkeypatch.setitem(globals(), "Stations", request.param)


@frozen
class Gateway:
    engine: Engine
    log: MemoryLog
    url: str
    nursery: trio.Nursery

    async def station(self, id: str = "CP-1") -> RawStation:
        return await RawStation.open(f"{self.url}/{id}", self.nursery)

    async def closed(self) -> ConnectionClosed:
        """Wait for the only `connection.closed` and return it."""
        (event,) = await self.until(ConnectionClosed)
        return event

    async def refused(self) -> HandshakeRefused:
        """Wait for the only `handshake.refused` and return it."""
        (event,) = await self.until(HandshakeRefused)
        return event

    async def until(self, kind: type[E]) -> list[E]:
        """Wait until the log holds events of a kind, and return them."""
        while True:
            position = self.engine.position
            events = [decode(recorded) for recorded in self.log.read()]
            found = [event for event in events if isinstance(event, kind)]
            if found:
                return found
            await self.engine.beyond(position)


async def echo(connection: Connection, text: str) -> None:
    await connection.send(f"heard {text}")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def gateway(
    *, handshake_timeout: float = 5.0, max_handshakes: int = 1024, bounds: Bounds = SHORT
) -> AsyncIterator[Gateway]:
    """Serve while the block lasts; then see that a good station still gets in, and that nothing was left behind."""
    log = MemoryLog()
    stations = Stations(
        "127.0.0.1:0",
        admit=AnyStation(),
        on_message=echo,
        handshake_timeout=handshake_timeout,
        max_handshakes=max_handshakes,
        bounds=bounds,
    )
    with trio.fail_after(30):
        async with (
            open_engine(log, transports=[stations], settings=UNWATCHED) as engine,
            trio.open_nursery() as nursery,
        ):
            await trio.testing.wait_all_tasks_blocked()
            files, tasks = open_files(), trio.lowlevel.current_statistics().tasks_living
            yield Gateway(engine, log, engine.urls[0], nursery)
            good = await RawStation.open(f"{engine.urls[0]}/good", nursery)
            await good.send("hello")
            assert await good.receive() == "heard hello"
            await good.close()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await until(lambda: (open_files(), trio.lowlevel.current_statistics().tasks_living) <= (files, tasks))


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await trio.sleep(0.01)


async def exchange(url: str, data: bytes, *, close_early: bool = False) -> bytes:
    """Send bytes on a new connection, and return all that comes back."""
    answer = b""
    async with await dial_tcp(url) as stream:
        await stream.send_all(data)
        if close_early:
            await stream.send_eof()
        with suppress(trio.BrokenResourceError):
            async for part in stream:
                answer += part
    return answer


# --- before the 101 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"\x00\x01\x02 nonsense\r\n\r\n", 400, "malformed_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500 + b"\n\n", 400, "tls_on_plain_port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, "not_websocket"),
        (request(method="DELETE"), 405, "wrong_method"),
        (request(extra=["X: " + "x" * 9000]), 431, "oversized_head"),
        (b"GET /ocpp/CP-1 HTTP/1.1\r\nX: " + b"x" * 40_000, 431, "oversized_head"),
        (request("/ocpp/%ff"), 400, "malformed_id"),
        (request("/ocpp/"), 404, "unknown_station"),
        (request("/elsewhere/CP-1"), 404, "wrong_path"),
    ],
)
async def test_a_bad_request_is_answered_and_recorded(data: bytes, status: int, reason: str) -> None:
    async with gateway() as stage:
        answer = await exchange(stage.url, data)
        refused = await stage.refused()

        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert (refused.status, refused.reason) == (status, reason)
        assert refused.hint


async def test_a_head_that_comes_drop_by_drop_is_cut_off_at_its_deadline() -> None:
    async with gateway(handshake_timeout=0.4) as stage, await dial_tcp(stage.url) as stream:
        with suppress(trio.BrokenResourceError):
            for byte in request():
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.02)
        refused = await stage.refused()

        assert (refused.status, refused.reason) == (408, "handshake_timeout")


async def test_tls_on_a_plain_port_is_told_at_once() -> None:
    async with gateway(handshake_timeout=3600) as at:
        answer = await exchange(at.url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500)

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_who_is_turned_away_and_never_closes_cannot_hold_our_descriptors() -> None:
    async with gateway(max_handshakes=4) as at, AsyncExitStack() as kept:
        before = open_files()
        for _ in range(30):
            stream = await kept.enter_async_context(await dial_tcp(at.url))
            await stream.send_all(b"nonsense\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")

        assert open_files() - before <= 30 + 4 + 1  # ours, those that are waited for, and one whose turn it is


async def test_half_a_request_and_gone() -> None:
    async with gateway() as stage:
        await exchange(stage.url, request()[:40], close_early=True)

        assert (await stage.refused()).reason == "incomplete_request"


async def test_port_scans_leave_nothing_behind() -> None:
    async with gateway() as stage:
        for _ in range(100):
            await (await dial_tcp(stage.url)).aclose()
        await until(lambda: stage.engine.tally["handshakes_refused"] == 0)

    assert not [event for event in map(decode, stage.log.read()) if isinstance(event, HandshakeRefused)]


async def test_a_reset_in_the_middle_of_everything_leaves_nothing_behind() -> None:
    async with gateway() as stage:
        for cut in range(0, len(request()) + 20, 7):
            stream = await dial_tcp(stage.url)
            await stream.send_all((request() + frame(b"x" * 10))[:cut])
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            await trio.aclose_forcefully(stream)


async def test_a_crowd_that_says_nothing_keeps_no_station_out() -> None:
    async with gateway(handshake_timeout=60, max_handshakes=4) as stage:
        crowd = [await dial_tcp(stage.url) for _ in range(10)]
        with trio.fail_after(8):
            await stage.station("honest")
        for stream in crowd:
            await stream.aclose()


async def test_what_comes_before_the_101_is_not_lost() -> None:
    async with gateway() as stage, await dial_tcp(stage.url) as stream:
        await stream.send_all(request() + frame(b"early"))
        answer = b""
        while b"heard early" not in answer:
            answer += await stream.receive_some()

        assert answer.startswith(b"HTTP/1.1 101 ")


# --- after the 101 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "cause"),
    [
        (frame(b"\xff\xfe"), 1007, "protocol_error"),
        (frame(b"hello", masked=False), 1002, "protocol_error"),
        (frame(b"hello", rsv=4), 1002, "protocol_error"),
        (frame(b"hello", opcode=3), 1002, "protocol_error"),
        (frame(b"hello", opcode=0), 1002, "protocol_error"),
        (frame(b"x" * 126, opcode=9), 1002, "protocol_error"),
        (frame(b"ping", opcode=9, fin=False), 1002, "protocol_error"),
        (frame(b"x", opcode=8), 1002, "protocol_error"),
        (frame(struct.pack("!H", 1006), opcode=8), 1002, "protocol_error"),
        (frame(struct.pack("!H", 1000) + b"\xff", opcode=8), 1007, "protocol_error"),
        (frame(b"\xff\xfe", opcode=2), 1003, "protocol_error"),
        (frame(b"a", fin=False) + frame(b"b"), 1002, "protocol_error"),
        (b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask", 1009, "message_too_big"),
        (frame(b"x" * 65_537), 1009, "message_too_big"),
        (frame(b"x" * 40_000, fin=False) + frame(b"x" * 40_000, opcode=0), 1009, "message_too_big"),
    ],
)
async def test_a_bad_frame_ends_its_connection_with_the_code_it_deserves(data: bytes, code: int, cause: str) -> None:
    async with gateway() as stage:
        station = await stage.station()
        await station.send_raw(data)
        closed = await stage.closed()

        assert (await station.hung_up())[0] == code
        assert (closed.side, closed.cause, closed.code) == ("gateway", cause, code)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81",
        frame(b"hello")[:-1],
        frame(b"x" * 60_000)[:50_000],
        frame(b"a", fin=False) + frame(b"", opcode=9) + b"\x80",
    ],
)
async def test_a_frame_that_never_ends_is_noticed(data: bytes) -> None:
    async with gateway() as stage:
        station = await stage.station()
        await station.send_raw(data)
        closed = await stage.closed()

        assert (await station.hung_up())[0] == 1002
        assert (closed.side, closed.cause, closed.code) == ("gateway", "stalled_frame", 1002)


async def test_a_message_that_never_ends_is_noticed_though_its_frames_do() -> None:
    async with gateway() as stage:
        station = await stage.station()
        await station.send_raw(frame(b"a", fin=False))
        while station.closed is None:
            await station.send_raw(frame(b"a", opcode=0, fin=False))
            await trio.sleep(0.05)

        assert (await stage.closed()).cause == "stalled_frame"


async def test_a_frame_may_come_slowly_if_it_comes_in_time() -> None:
    async with gateway() as stage:
        station = await stage.station()
        for _ in range(3):
            for byte in frame(b"slow"):
                await station.send_raw(bytes([byte]))
                await trio.sleep(0.015)

        assert [await station.receive() for _ in range(3)] == ["heard slow"] * 3


async def test_many_senders_cannot_pile_up_messages_that_nobody_reads() -> None:
    async with gateway(bounds=Bounds(unread_time=60, sweep=0.05)) as stage:
        station = await stage.station()
        station.vanish()
        connection = stage.engine.connection("CP-1")
        assert connection is not None

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                await connection.send("x" * 100_000)

        for _ in range(40):
            stage.nursery.start_soon(send)

        assert (await stage.closed()).cause == "slow_reader"


async def test_one_message_of_any_size_reaches_a_station_that_reads() -> None:
    async with gateway() as stage:
        station = await stage.station()
        connection = stage.engine.connection("CP-1")
        assert connection is not None
        await connection.send("x" * 1_000_000)

        assert len(await station.receive()) == 1_000_000


async def test_pings_after_our_close_hurt_nobody() -> None:
    async with gateway() as stage:
        station = await stage.station()
        station.vanish()
        stage.engine.drop("CP-1", "kicked")
        for _ in range(200):
            await station.ping()

        assert (await stage.closed()).cause == "kicked"
        assert (await station.hung_up())[0] in {1008, None}


async def test_a_flood_of_pings_that_reads_no_answer_is_bounded() -> None:
    async with gateway() as stage:
        station = await RawStation.open(f"{stage.url}/CP-1", stage.nursery, receive_buffer=4096)
        station.vanish()
        flood = frame(b"x" * 125, opcode=9) * 500

        async def pour() -> None:
            while True:
                await station.send_raw(flood)

        stage.nursery.start_soon(pour)
        closed = await stage.closed()

        assert (closed.side, closed.cause) == ("gateway", "slow_reader")


@pytest.mark.parametrize("seed", range(40))
async def test_no_garbage_after_the_101_reaches_anybody_else(seed: int) -> None:
    draw = random.Random(seed)
    good = b"".join(
        frame(draw.randbytes(draw.randrange(200)), opcode=draw.choice([0, 1, 2, 8, 9, 10])) for _ in range(8)
    )
    data = bytearray(good)
    for _ in range(draw.randrange(6)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    async with gateway() as stage:
        bystander = await stage.station("bystander")
        async with await dial_tcp(stage.url) as stream:
            await stream.send_all(request("/ocpp/noise") + bytes(data))
            await stream.receive_some()
        await bystander.send("still there?")

        assert await bystander.receive() == "heard still there?"
        await stage.closed()
        kinds = [type(event) for event in map(decode, stage.log.read(subject="noise"))]
        assert kinds == [ConnectionOpened, ConnectionClosed]


async def test_out_of_files_nobody_is_lost_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as stage:
        callers = [trio.socket.socket() for _ in range(8)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        address = ("127.0.0.1", int(stage.url.split(":")[2].split("/")[0]))
        taken = [os.dup(0) for _ in range(2)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
        try:
            for caller in callers:
                await caller.connect(address)
            await until(lambda: "open files" in caplog.text)
            await trio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        for number, caller in enumerate(callers):
            await caller.send(request(f"/ocpp/CP-{number}"))
        await until(lambda: len(stage.engine.connections) == 8)
        for caller in callers:
            caller.close()

        assert len(caplog.records) == 1

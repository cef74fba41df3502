"""What the kernel is asked to watch, and what it says of paths that are dead and of devices that hang."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionClosed, ConnectionPingTimedOut
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations
from stationkeeper.transports.bounds import Bounds
from stationkeeper.transports.sockets import kernel
from stationkeeper.transports.sockets.kernel import reach, round_trip, tcp_info, watch_over

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO and TCP_USER_TIMEOUT are Linux's")

Transport: TypeAlias = type[WebSocketStations] | type[DenseStations]

PEER = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=["ocpp1.6"], ping_interval=None, proxy=None) as station:
    print("open", flush=True)
    for message in station:
        pass
"""


@pytest.fixture(params=[WebSocketStations, DenseStations])
def transport(request: pytest.FixtureRequest) -> Transport:
    kind: Transport = request.param
    return kind


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    with peer, sock:
        yield sock, peer


def seconds_until_given_up(sock: socket.socket) -> float:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000


# --- what is asked ----------------------------------------------------------------------------------------------------

durations = st.floats(1, 1e5)


@given(durations, durations, st.floats(0, 1e5))
def test_a_path_that_is_pinged_is_never_given_up_before_our_watchdog_would(
    interval: float, timeout: float, silence: float
) -> None:
    with socket.socket() as sock:
        watch_over(sock, Liveness(ping_interval=interval, ping_timeout=timeout, silence=silence))

        assert seconds_until_given_up(sock) > interval + timeout + 10
        assert seconds_until_given_up(sock) > Bounds().unread_time + 10
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@given(st.floats(60, 60_000))
def test_a_path_that_is_never_pinged_is_found_dead_by_the_kernel_before_it_was_silent_for_too_long(
    silence: float,
) -> None:
    with socket.socket() as sock:
        watch_over(sock, Liveness(ping_interval=0, ping_timeout=0, silence=silence))
        options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
        idle, between, times = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        # The kernel gives up at the first probe that is due after TCP_USER_TIMEOUT (tcp_timer.c), if one is unanswered.
        assert silence / 3 < idle + times * between + between < silence
        assert seconds_until_given_up(sock) + between < silence


def test_where_nobody_watches_the_usual_keepalive_does(pair: tuple[socket.socket, socket.socket]) -> None:
    sock, _ = pair
    usual = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    watch_over(sock, Liveness(ping_interval=0, ping_timeout=0, silence=0))

    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert (sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), seconds_until_given_up(sock)) == (usual, 0)


def test_a_lost_connection_and_a_foreign_system_are_passed_over(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, other = pair
    closed.close()
    watch_over(closed, Liveness())
    monkeypatch.setattr(kernel, "_LINUX", False)
    watch_over(other, Liveness())

    assert (tcp_info(closed), tcp_info(other), reach(other, 1), round_trip(other)) == (None, None, None, None)
    assert seconds_until_given_up(other) == 0


# --- what it says -----------------------------------------------------------------------------------------------------


def test_an_open_connection_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    sock, peer = pair
    sock.send(b"x")
    peer.recv(1)
    peer.send(b"x")
    sock.recv(1)
    info, trip = tcp_info(sock), round_trip(sock)

    assert info is not None
    assert (info.state, info.unacked, info.lost, info.retransmits, info.probes) == (1, 0, 0, 0, 0)
    assert info.last_data_recv < 5
    assert trip is not None
    assert 0 < trip < 1


class Answering:
    """Answers TCP_INFO with bytes of a test's own."""

    def __init__(self, *, unacked: int = 0, probes: int = 0, acked_ago: float = 0, size: int = 104) -> None:
        raw = bytearray(104)
        raw[0], raw[3] = 1, probes
        raw[24:28] = unacked.to_bytes(4, sys.byteorder)
        raw[56:60] = int(acked_ago * 1000).to_bytes(4, sys.byteorder)
        self._raw = bytes(raw[:size])

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return self._raw[:size]


@pytest.mark.parametrize(
    ("answering", "said"),
    [
        (Answering(acked_ago=9.9), "acknowledged"),
        (Answering(acked_ago=10.02), "acknowledged"),
        (Answering(acked_ago=30, unacked=1), "silent"),
        (Answering(acked_ago=30, probes=2), "silent"),
        (Answering(acked_ago=30), None),
        (Answering(acked_ago=5, unacked=1), None),
        (Answering(acked_ago=1, size=60), None),
    ],
)
def test_what_follows_from_what_the_kernel_says_10_s_after_a_ping(answering: socket.socket, said: str | None) -> None:
    assert reach(answering, 10.0) == said


# --- through the engine -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(transport: Transport, host: str = "127.0.0.1") -> AsyncGenerator[tuple[Engine, MemoryLog]]:
    log = MemoryLog()
    stations = transport(f"{host}:0", admit=AnyStation())
    settings = EngineSettings(liveness=Liveness(ping_interval=0.3, ping_timeout=1.2))
    with trio.fail_after(30):
        async with open_engine(log, transports=[stations], settings=settings) as engine:
            yield engine, log


async def timed_out(engine: Engine, log: MemoryLog) -> ConnectionPingTimedOut:
    while True:
        position = engine.position
        events = [decode(recorded) for recorded in log.read()]
        found = [event for event in events if isinstance(event, ConnectionPingTimedOut)]
        if any(isinstance(event, ConnectionClosed) for event in events):
            (event,) = found
            return event
        await engine.beyond(position)


@asynccontextmanager
async def station(url: str, *before: str) -> AsyncGenerator[trio.Process]:
    """Run a station in a process of its own; killed at the end."""
    command = [*before, sys.executable, "-c", PEER, f"{url}/CP-1"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert (await process.stdout.receive_some()).startswith(b"open")
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await trio.aclose_forcefully(process.stdout)


async def test_a_device_that_hangs_is_told_from_a_dead_path(transport: Transport) -> None:
    async with serving(transport) as (engine, log), station(engine.urls[0]) as process:
        os.kill(process.pid, signal.SIGSTOP)  # its kernel goes on

        assert (await timed_out(engine, log)).path == "acknowledged"


@pytest.fixture
def far_away() -> Iterator[tuple[str, str, Callable[[], None]]]:
    """A network namespace: its name, our address on the way there, and how to cut that way."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("a path can be cut in a network namespace only: takes root and iproute2")
    name = f"sk{uuid4().hex[:8]}"
    net = int(name[2:4], 16)
    ours, theirs = f"10.213.{net}.1", f"10.213.{net}.2"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    with ExitStack() as after:
        try:
            ip("netns", "add", name)
            after.callback(ip, "netns", "del", name)
            ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p", "netns", name)
            ip("addr", "add", f"{ours}/24", "dev", name)
            ip("link", "set", name, "up")
            ip("-n", name, "addr", "add", f"{theirs}/24", "dev", f"{name}p")
            ip("-n", name, "link", "set", f"{name}p", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace with a link can be made here: {error.stderr.decode().strip()}")
        yield name, ours, lambda: ip("-n", name, "link", "set", f"{name}p", "down")


async def test_a_path_that_is_cut_is_told_from_a_device_that_hangs(
    transport: Transport, far_away: tuple[str, str, Callable[[], None]]
) -> None:
    name, ours, cut = far_away
    async with serving(transport, ours) as (engine, log), station(engine.urls[0], "ip", "netns", "exec", name):
        connection = engine.connection("CP-1")
        assert connection is not None
        assert connection.liveness.ping_interval == 0.3
        cut()

        assert (await timed_out(engine, log)).path == "silent"


def test_the_kernel_finds_a_path_dead_that_is_never_pinged(
    far_away: tuple[str, str, Callable[[], None]],
) -> None:
    name, ours, cut = far_away
    with socket.create_server((ours, 0)) as listener:
        port = listener.getsockname()[1]
        reader = f"import socket; socket.create_connection(('{ours}', {port})).recv(1)"
        process = subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", reader])
        try:
            sock, _ = listener.accept()
            with sock:
                watch_over(sock, Liveness(ping_interval=0, ping_timeout=0, silence=4))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)
                cut()
                sock.settimeout(20)
                with pytest.raises(OSError, match=r"timed out|No route|unreachable") as caught:
                    sock.recv(1)

                assert caught.value.errno  # the kernel's word, not that of Python's patience
        finally:
            process.kill()
            process.wait()


async def test_the_kernel_watches_who_was_let_in(transport: Transport) -> None:
    async with serving(transport) as (engine, _), station(engine.urls[0]):
        connection = engine.connection("CP-1")
        assert connection is not None
        link: Any = connection.link
        sock: socket.socket = link._sock if transport is DenseStations else link._wire.sock

        assert seconds_until_given_up(sock) == 35


async def test_an_operator_sees_a_round_trip_of_a_station_that_is_never_pinged(transport: Transport) -> None:
    log = MemoryLog()
    settings = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))
    stations = transport("127.0.0.1:0", admit=AnyStation())
    with trio.fail_after(30):
        async with (
            open_engine(log, transports=[stations], settings=settings) as engine,
            station(engine.urls[0]),
        ):
            connection = engine.connection("CP-1")
            assert connection is not None
            trip = connection.round_trip()

            assert connection.rtt is None
            assert trip is not None
            assert 0 < trip < 1

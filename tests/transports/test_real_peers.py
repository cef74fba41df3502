"""Real OCPP client libraries against the transport, the responder and the engine: PyPI `ocpp`, npm `ocpp-rpc`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from node_peers import OCPP_RPC, node

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.transports import DenseStations, Knock, Refusal, Responder, WebSocketStations, Welcome

HERE = Path(__file__).parent
VERSIONS = ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
KEY = bytes.fromhex("0001020304050607ffffffffffffffffffffffff")
"""The key of the specification's example (OCPP-J 1.6, 6.2.2): no text in any encoding."""
PINGED_OFTEN = EngineSettings(liveness=Liveness(ping_interval=0.2, ping_timeout=5.0))

Command: TypeAlias = list[str]


def python_station() -> Command:
    return [sys.executable, str(HERE / "ocpp_station.py")]


def node_station() -> Command:
    return [node(), str(OCPP_RPC / "station.js")]


Stations: type[WebSocketStations | DenseStations] = WebSocketStations


@pytest.fixture(autouse=True, params=[WebSocketStations, DenseStations])
def _each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here is for both transports."""
    monkeypatch.setitem(globals(), "Stations", request.param)


@pytest.fixture(params=["ocpp", "ocpp-rpc"])
def command(request: pytest.FixtureRequest) -> Command:
    return python_station() if request.param == "ocpp" else node_station()


class Station:
    """A process that is a station."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._lines = self._read()

    async def _read(self) -> AsyncIterator[dict[str, Any]]:
        buffer = b""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                yield json.loads(line)

    async def told(self, key: str) -> dict[str, Any]:
        """Wait for the next line that has this key."""
        async for line in self._lines:
            assert "invalid" not in line
            if key in line:
                return line
        raise AssertionError(f"the station ended and never said {key!r}")

    async def order(self, order: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(order.encode() + b"\n")

    async def asked(self, order: str) -> dict[str, Any]:
        await self.order(order)
        return await self.told("answer")


class Stage:
    def __init__(self, engine: Engine, log: MemoryLog, knocks: list[Knock]) -> None:
        self.engine = engine
        self.log = log
        self.knocks = knocks

    @asynccontextmanager
    async def station(self, command: Command, version: str, *more: str) -> AsyncIterator[Station]:
        """Run a station that dials in as `CP 1`; it is killed at the end if it still lives."""
        arguments = [*command, version, self.engine.urls[0], "CP 1", *more]
        if "node" not in command[0]:
            arguments[-1 - len(more)] = "CP%201"  # websockets takes a URL; ocpp-rpc encodes the identity itself
        process = await trio.lowlevel.open_process(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield Station(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None
                    await trio.aclose_forcefully(stream)

    async def closed(self, times: int) -> ConnectionClosed:
        while True:
            position = self.engine.position
            ends = [event for event in map(decode, self.log.read()) if isinstance(event, ConnectionClosed)]
            if len(ends) >= times:
                return ends[times - 1]
            await self.engine.beyond(position)


@asynccontextmanager
async def stage(settings: EngineSettings = PINGED_OFTEN) -> AsyncIterator[Stage]:
    log, knocks = MemoryLog(), list[Knock]()

    async def admit(knock: Knock) -> Welcome | Refusal:
        knocks.append(knock)
        return Welcome(station=knock.station)

    responder = Responder(now=lambda: 1_767_225_600_000_000)
    stations = Stations("127.0.0.1:0", admit=admit, on_message=responder.respond)
    with trio.fail_after(60):
        async with open_engine(log, transports=[stations], settings=settings) as engine:
            yield Stage(engine, log, knocks)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_boots_beats_reports_and_leaves(command: Command, version: str) -> None:
    async with stage() as at, at.station(command, version) as station:
        assert (await station.told("connected"))["connected"] == version
        boot = await station.asked("boot")
        beat = await station.asked("heartbeat")
        status = await station.asked("status")
        unknown = await station.asked("unknown")
        await station.order("close")
        closed = await at.closed(1)

        assert (boot["status"], boot["time"]) == ("Accepted", "2026-01-01T00:00:00.000000Z")
        assert beat["time"] == "2026-01-01T00:00:00.000000Z"
        assert "error" not in status
        assert unknown["error"] in {"NotSupported", "NotSupportedError"}
        assert (closed.cause, closed.code, closed.reason) == ("station_closed", 1000, "going home")
        assert (closed.received, closed.sent) == (4, 4)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_is_pinged_dies_and_comes_back(command: Command, version: str) -> None:
    async with stage() as at:
        async with at.station(command, version) as station:
            await station.told("connected")
            connection = at.engine.connection("CP 1")
            assert connection is not None
            while connection.rtt is None:  # noqa: ASYNC110 - nobody tells of it
                await trio.sleep(0.02)
            station.process.kill()
            assert (await at.closed(1)).cause == "network_lost"
        async with at.station(command, version) as again:
            await again.told("connected")
            assert (await again.asked("boot"))["status"] == "Accepted"
            assert len(at.engine.connections) == 1


async def test_a_stations_own_pings_are_answered_and_are_proof_of_life(command: Command) -> None:
    never_pinged = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=30))
    async with stage(never_pinged) as at, at.station(command, "ocpp1.6") as station:
        await station.told("connected")
        connection = at.engine.connection("CP 1")
        assert connection is not None
        before = connection.alive_at
        await station.order("ping")
        await station.told("ponged")

        assert connection.alive_at > before


async def test_a_station_that_is_superseded_is_told(command: Command) -> None:
    async with stage() as at, at.station(command, "ocpp2.0.1") as older:
        await older.told("connected")
        async with at.station(command, "ocpp2.0.1") as newer:
            await newer.told("connected")
            told = await older.told("closed")

            assert (told["closed"], told["reason"]) == (1001, "superseded")
            assert (await newer.asked("heartbeat"))["time"]


async def test_a_key_of_raw_bytes_arrives_as_it_is() -> None:
    async with stage() as at, at.station(node_station(), "ocpp1.6", KEY.hex()) as station:
        await station.told("connected")

        assert (at.knocks[0].station, at.knocks[0].password) == ("CP 1", KEY)

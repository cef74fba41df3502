"""`simulate` against a server that is not ours: the central system of PyPI's `ocpp`, on `websockets`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ocpp.routing import on
from ocpp.v16 import ChargePoint as Station16
from ocpp.v16 import call_result as results16
from ocpp.v201 import ChargePoint as Station201
from ocpp.v201 import call_result as results201
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from stationkeeper.daemon.cli import cli
from stationkeeper.daemon.commands.simulate import draw_members
from stationkeeper.daemon.simulation.gateway import free_port


def now() -> str:
    return datetime.now(UTC).isoformat()


class Central16(Station16):  # type: ignore[misc]
    @on("BootNotification")  # type: ignore[untyped-decorator]
    def boot(self, **_: Any) -> object:
        return results16.BootNotification(current_time=now(), interval=10, status="Accepted")

    @on("Heartbeat")  # type: ignore[untyped-decorator]
    def beat(self) -> object:
        return results16.Heartbeat(current_time=now())


class Central201(Station201):  # type: ignore[misc]
    @on("BootNotification")  # type: ignore[untyped-decorator]
    def boot(self, **_: Any) -> object:
        return results201.BootNotification(current_time=now(), interval=10, status="Accepted")

    @on("Heartbeat")  # type: ignore[untyped-decorator]
    def beat(self) -> object:
        return results201.Heartbeat(current_time=now())


class Central:
    """The central system, in a thread with an event loop of its own; it notes who dialled in with what."""

    def __init__(self) -> None:
        self.dials: list[tuple[str, str | None, str | None]] = []
        """Path, subprotocol, Authorization."""
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Central:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        versions = [Subprotocol("ocpp2.0.1"), Subprotocol("ocpp1.6")]
        async with serve(self._take, "127.0.0.1", 0, subprotocols=versions) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ocpp"
            self._ready.set()
            await self._over.wait()

    async def _take(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        self.dials.append((path, connection.subprotocol, connection.request.headers.get("Authorization")))
        central = Central16 if connection.subprotocol == "ocpp1.6" else Central201
        with suppress(ConnectionClosed):
            await central(path, connection).start()


@pytest.fixture
def central() -> Iterator[Central]:
    with Central() as central:
        yield central


def run(*arguments: str) -> Result:
    # In a process of its own it would be the same; here its code is seen by the coverage, too.
    return CliRunner().invoke(cli, ["simulate", *arguments], standalone_mode=False)


@pytest.mark.parametrize("protocol", ["ocpp1.6", "ocpp2.0.1"])
def test_a_fleet_dials_in_at_a_server_that_is_not_ours(central: Central, protocol: str) -> None:
    result = run(
        central.url, "--stations", "5", "--protocol", protocol, "--ramp", "0", "--seconds", "1", "--format", "json"
    )

    assert result.return_value == 0
    assert sorted(dial[:2] for dial in central.dials) == [(f"/ocpp/CP-{number}", protocol) for number in range(1, 6)]
    assert json.loads(result.stdout)["all"] == {
        "stations": 5, "connected": 5, "dials": 5, "admitted": 5, "accepted": 5, "refused": {}, "unanswered": 0,
        "dropped": 0,
    }  # fmt: skip


def test_flaky_stations_come_back_and_steady_ones_stay(central: Central) -> None:
    flags = ("--stations", "12", "--flaky", "0.5", "--seed", "3", "--up", "0.2", "--down", "0.1", "--ramp", "0")
    result = run(central.url, *flags, "--heartbeat", "0.5", "--seconds", "4", "--format", "json")
    seen = json.loads(result.stdout)

    assert set(seen) > {"steady", "flapping", "all"}
    assert seen["steady"]["dials"] == seen["steady"]["stations"]
    assert seen["flapping"]["dials"] > seen["flapping"]["stations"]


def test_each_station_sends_its_own_password(central: Central) -> None:
    run(central.url, "--stations", "1", "--prefix", "X", "--password", "key of {id}", "--ramp", "0", "--seconds", "0.5")

    assert central.dials[0][2] == "Basic " + b64encode(b"X1:key of X1").decode()


def test_a_server_that_lets_nobody_in_is_code_1() -> None:
    result = run(f"ws://127.0.0.1:{free_port()}", "--stations", "2", "--ramp", "0", "--seconds", "0.5")

    assert result.return_value == 1
    assert re.search(r"2x no answer: .*refused", result.stdout)


def test_ctrl_c_ends_it_with_the_table(central: Central) -> None:
    command = [sys.executable, "-m", "stationkeeper", "simulate", central.url, "--stations", "3", "--seed", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "seed 5" in process.stdout.readline()
        while len(central.dials) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert "What the stations saw" in rest


def test_the_same_seed_draws_the_same_fleet() -> None:
    draw = {"flaky": 0.5, "prefix": "CP-", "password": None, "protocols": ("ocpp1.6",)}
    fleets = [[member.behaviour for member in draw_members(50, seed=seed, **draw)] for seed in (1, 1, 2)]  # type: ignore[arg-type]

    assert fleets[0] == fleets[1] != fleets[2]

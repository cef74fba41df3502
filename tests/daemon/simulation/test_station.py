"""Virtual stations, against a little gateway on trio-websocket that writes down what happens to it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from itertools import islice, pairwise
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from stationkeeper.daemon.simulation.behaviours import BEHAVIOURS
from stationkeeper.daemon.simulation.line import Caller
from stationkeeper.daemon.simulation.station import Backoff, Pace, Station
from stationkeeper.daemon.simulation.waiting import until

QUICK = Pace(
    ramp=0, heartbeat=0.02, up=0.05, down=0.02, linger=0.3, slowness=0.02, backoff=Backoff(minimum=0.01, spread=0.01)
)
PATIENT = Pace(ramp=0, up=60, backoff=Backoff(minimum=0.01, spread=0.01))


class SmallGateway:
    """Lets everybody in whose password is right, accepts boots, answers heartbeats."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.open = 0
        self.most_open = 0
        self.url = ""

    async def take(self, request: WebSocketRequest) -> None:
        offered = request.proposed_subprotocols
        if dict(request.headers).get(b"authorization") == b"Basic " + b64encode(b"CP-1:wrong"):
            await request.reject(401)
            return
        ws = await request.accept(subprotocol=offered[0] if offered else None)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            if not offered:
                await ws.aclose(1002)
            while True:
                call = json.loads(await ws.get_message())
                self.calls.append(call)
                await ws.send_message(json.dumps([3, call[1], {"status": "Accepted", "interval": 5}]))
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1


@pytest.fixture
async def gateway(nursery: trio.Nursery) -> SmallGateway:
    gateway = SmallGateway()
    server = await nursery.start(
        lambda task_status: serve_websocket(gateway.take, "127.0.0.1", 0, ssl_context=None, task_status=task_status)
    )
    gateway.url = f"ws://127.0.0.1:{server.port}"
    return gateway


@pytest.fixture
def alive(gateway: SmallGateway, nursery: trio.Nursery) -> Callable[..., Station]:
    """Let a station live until the test is over."""

    def start(behaviour: str, *, pace: Pace = QUICK, seed: int = 1, **caller: Any) -> Station:
        who = Caller(station="CP-1", **caller)
        station = Station(gateway.url, who, BEHAVIOURS[behaviour], random=Random(seed), pace=pace)
        nursery.start_soon(station.run)
        return station

    return start


Alive = Callable[..., Station]


@pytest.mark.parametrize(("protocol", "field"), [("ocpp1.6", "chargePointModel"), ("ocpp2.1", "chargingStation")])
async def test_a_steady_station_boots_once_and_beats(
    alive: Alive, gateway: SmallGateway, protocol: str, field: str
) -> None:
    station = alive("steady", subprotocols=(protocol,))
    await until(lambda: len(gateway.calls) >= 3, within=10, what="a boot and two heartbeats")

    assert [call[2] for call in gateway.calls[:3]] == ["BootNotification", "Heartbeat", "Heartbeat"]
    assert field in gateway.calls[0][3]
    assert station.connected
    assert station.sightings[0].accepted


async def test_a_flapping_station_comes_back_again_and_again(alive: Alive, gateway: SmallGateway) -> None:
    station = alive("flapping")
    await until(lambda: len(station.sightings) > 8, within=20, what="eight drops")

    reasons = {sighting.reason for sighting in station.sightings[:-1]}
    assert {"hang up", "cut", "reset"} <= reasons | {"fell silent"}
    assert all(sighting.silent_at for sighting in station.sightings[:-1])


async def test_a_half_open_station_dials_anew_while_its_old_socket_stands(alive: Alive, gateway: SmallGateway) -> None:
    station = alive("half-open")
    await until(lambda: gateway.most_open >= 2, within=10, what="two sockets of one station")

    zombie = station.sightings[0]
    assert zombie.deaf_at is not None
    await until(lambda: zombie.ended_at is not None, within=10, what="the zombie is buried")


async def test_a_slow_station_comes_through(alive: Alive, gateway: SmallGateway) -> None:
    station = alive("slow")
    await until(lambda: len(gateway.calls) >= 2, within=10, what="a boot and a heartbeat, in pieces")

    assert station.connected


async def test_a_wrong_password_is_tried_for_ever(alive: Alive) -> None:
    station = alive("wrong password", password=b"wrong")
    await until(lambda: len(station.sightings) > 3, within=10, what="three refusals")

    assert {sighting.status for sighting in station.sightings[:3]} == {401}
    assert not station.connected


async def test_a_101_without_a_subprotocol_is_a_refusal(alive: Alive) -> None:
    station = alive("no subprotocol", subprotocols=())
    await until(lambda: len(station.sightings) > 1, within=10, what="the next dial")

    first = station.sightings[0]
    assert (first.status, first.admitted, first.code) == (101, False, 1002)


@pytest.mark.parametrize("seed", range(6))
async def test_a_settled_station_stays_as_it_is(alive: Alive, gateway: SmallGateway, seed: int) -> None:
    station = alive("flapping", pace=PATIENT, seed=seed)
    await until(lambda: station.connected, within=10, what="the station is let in")
    station.settle()
    await until(lambda: len(station.sightings) == 2 and station.resting, within=10, what="it comes to rest")
    await trio.testing.wait_all_tasks_blocked(0.05)

    assert len(station.sightings) == 2
    zombies = sum(sighting.deaf_at is not None and sighting.ended_at is None for sighting in station.sightings)
    assert gateway.open == station.connected + zombies


@given(minimum=st.floats(0.1, 60), spread=st.floats(0, 60), doublings=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_waits_double_and_then_stay(minimum: float, spread: float, doublings: int, seed: int) -> None:
    backoff = Backoff(minimum=minimum, spread=spread, doublings=doublings)
    waits = list(islice(backoff.waits(Random(seed)), doublings + 4))

    assert minimum <= waits[0] <= minimum + spread
    for shorter, longer in pairwise(waits[: doublings + 1]):
        assert 2 * shorter <= longer <= 2 * shorter + spread
    assert len(set(waits[doublings:])) == 1
    assert waits == list(islice(backoff.waits(Random(seed)), doublings + 4))

"""What a handshake needed goes with it: nothing waits, in a cycle of references, for the garbage collector, whose work
after a storm would cost more than the checks of a handshake do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from doorstep import Registry, doorstep

from stationkeeper.engine.events import ConnectionOpened, HandshakeRefused
from stationkeeper.transports import DenseStations, Welcome
from stationkeeper.transports.dense.visit import Visit


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def visits() -> int:
    return sum(isinstance(found, Visit) for found in gc.get_objects())


async def test_of_the_handshakes_that_are_decided_nothing_is_left() -> None:
    async with doorstep(DenseStations, Registry(Welcome(station="CP-1"))) as at:
        for _ in range(3):
            assert (await at.ask()).startswith(b"HTTP/1.1 101 ")
        await at.until(ConnectionOpened, 3)
        assert visits() == 0


async def test_of_the_handshakes_that_are_refused_nothing_is_left() -> None:
    async with doorstep(DenseStations, Registry()) as at:
        for number in range(3):
            assert (await at.ask(f"/ocpp/CP-{number}")).startswith(b"HTTP/1.1 404 ")
        await at.until(HandshakeRefused, 3)
        assert visits() == 0

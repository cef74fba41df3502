"""The daemon as a child process, from the side of whoever keeps it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stationkeeper.daemon.simulation.api import Api, Refused, Unanswered
from stationkeeper.daemon.simulation.gateway import Gateway, GatewayFailed, Terms, free_port


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path / "x.db", Terms(), stations_port=free_port(), http_port=free_port())
    yield gateway
    await gateway.kill()


async def test_it_starts_is_killed_starts_again_and_stops_in_order(gateway: Gateway) -> None:
    await gateway.start()
    first = gateway.process
    await gateway.kill()
    await gateway.start()

    assert (await gateway.api.get("/chargestations"))["data"] == []
    assert first is not None
    assert first.returncode == -9
    assert await gateway.stop() == 0


async def test_an_answer_that_is_no_success_says_what_was_asked(gateway: Gateway) -> None:
    await gateway.start()

    with pytest.raises(Refused, match="GET /chargestations/CP-1 was answered 404"):
        await gateway.api.get("/chargestations/CP-1")
    assert (await gateway.api.ask("POST", "/chargestations", {"id": "CP-1", "generate": True})).status == 201


async def test_pages_are_read_to_the_last(gateway: Gateway) -> None:
    await gateway.start()
    for number in range(5):
        await gateway.api.ask("POST", "/chargestations", {"id": f"CP-{number}", "generate": True})

    found = await gateway.api.pages("/chargestations?limit=2")
    assert [station["id"] for station in found] == [f"CP-{number}" for number in range(5)]


async def test_one_that_cannot_start_says_why_in_its_own_words(gateway: Gateway) -> None:
    gateway.log.write_bytes(b"this is no log of ours" * 100)

    with pytest.raises(GatewayFailed, match=r"(?s)ended with code 3.*is not a"):
        await gateway.start()
    assert gateway.log.read_bytes().startswith(b"this is no log of ours")


async def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(Unanswered, match=r"GET /readyz: .*connect"):
        await Api(f"http://127.0.0.1:{free_port()}").ask("GET", "/readyz")


def test_the_preferred_port_is_taken_only_if_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert free_port(port) != port
    assert free_port(port) == port

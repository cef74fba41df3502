"""The daemon as a process: a station that is turned away is told nothing, and whoever runs the daemon everything."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from histories import START
from served import PATIENCE, Served, register, serving, until
from websockets.exceptions import ConnectionClosed

from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import HandshakeRefused
from stationkeeper.engine.log import driver
from stationkeeper.engine.log.sqlite import SqliteLog

CANARY = "EVB-P1234567"
TRANSPORTS = pytest.mark.parametrize(
    "transport", [{"STATIONKEEPER_STATIONS_TRANSPORT": name} for name in ("dense", "trio-websocket")], ids=str
)


def knock(served: Served, id: str) -> bytes:
    """Dial in as a station does, and return all that is answered."""
    where = urlsplit(served.ready()["stations"][0])
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 80), timeout=PATIENCE) as peer:
        peer.sendall(
            f"GET {where.path}/{id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
        )
        answer = b""
        while piece := peer.recv(4096):
            answer += piece
        return answer


def refusals(served: Served) -> list[dict[str, Any]]:
    status, page = served.get("/refusals")
    assert status == 200
    data: list[dict[str, Any]] = page["data"]
    return data


@TRANSPORTS
def test_the_station_that_was_meant_is_named_to_the_operator_and_never_to_the_peer(
    tmp_path: Path, transport: dict[str, str]
) -> None:
    """steve#33, citrineos-core#1093: nobody finds out ids by asking, and the operator reads what is wrong."""
    register(tmp_path, CANARY)
    with serving(tmp_path, environ=transport) as served:
        # One is like a registered id, the other like none: a peer cannot tell which.
        near, far = knock(served, CANARY.lower()), knock(served, "x" * len(CANARY))
        told = until(lambda: refusals(served) if len(refusals(served)) == 2 else [], "both are in the log")
        _, why = served.get(f"/chargestations/{CANARY.lower()}/why")
        served.stop()

    assert near == far
    assert near.startswith(b"HTTP/1.1 404 ")
    assert CANARY.encode() not in near
    assert {row["claimed"]: CANARY in row["hint"] for row in told} == {CANARY.lower(): True, "x" * len(CANARY): False}
    assert why["answer"] == f"{CANARY.lower()} is not registered, and was never let in."
    assert f"did you mean {CANARY}?" in why["refused"]


def test_the_how_to_says_how_the_addresses_are_found(tmp_path: Path) -> None:
    how_to = Path(__file__).parents[2] / "docs" / "how-to" / "find-out-why-a-station-does-not-connect.md"
    (query,) = re.findall(r'stationkeeper\.db "(\s+SELECT[^"]+)"', how_to.read_text("utf-8"))
    refused = HandshakeRefused(claimed="CP-7", reason="unknown_station", status=404, first_at=START, last_at=START)
    with closing(SqliteLog.open(tmp_path / "x.db")) as log:
        log.append([seal(refused, id="r", at=START, gateway="g", run="r1", private=b"192.0.2.66")])
    with closing(driver.connect(tmp_path / "x.db")) as connection:
        rows = connection.execute(query).fetchall()

    assert [tuple(row) for row in rows] == [("2025-11-24 16:00:00", "192.0.2.66", "CP-7", "unknown_station")]


@TRANSPORTS
def test_two_devices_that_fight_over_an_identity_are_told_of(tmp_path: Path, transport: dict[str, str]) -> None:
    """ts-ocpp#19, citrineos#190, ocpp-go#314: the newest wins, none is refused, and the operator is told."""
    password = register(tmp_path, "CP-7").encode()
    with serving(tmp_path, environ=transport) as served, ExitStack() as devices:
        device = devices.enter_context(served.dial("CP-7", password))
        for _ in range(5):
            device.send('[2,"1","Heartbeat",{}]')
            device.recv(PATIENCE)
            other = devices.enter_context(served.dial("CP-7", password))
            with pytest.raises(ConnectionClosed) as closed:
                device.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "superseded")
            device = other

        def takeovers() -> int:
            conflict = served.get("/chargestations/CP-7")[1]["conflict"]
            return 0 if conflict is None else int(conflict["takeovers"])

        until(lambda: takeovers() == 5, "it is a conflict")
        warned = until(lambda: [line for line in served.said if "two devices" in line["event"]], "the log says so")
        assert refusals(served) == []
        served.stop()

    assert warned[0]["level"] == "warning"
    assert "'CP-7'" in warned[0]["event"]

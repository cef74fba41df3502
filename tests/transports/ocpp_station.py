"""A station made of the field's own libraries (PyPI `ocpp` on `websockets`), driven over standard input.

    python ocpp_station.py ocpp1.6 ws://127.0.0.1:9000/ocpp CP-1

It prints one JSON line for all that happens, and obeys `boot`, `heartbeat`, `status`, `unknown`, `ping` and `close`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

import websockets

FOLDERS = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def calls(version: str) -> dict[str, Any]:
    """Return what each order sends."""
    call = import_module(f"ocpp.{FOLDERS[version]}.call")
    now = "2026-01-01T00:00:00Z"
    if version == "ocpp1.6":
        return {
            "boot": call.BootNotification(charge_point_model="M", charge_point_vendor="V"),
            "heartbeat": call.Heartbeat(),
            "status": call.StatusNotification(connector_id=1, error_code="NoError", status="Available"),
            "unknown": call.Authorize(id_tag="tag"),
        }
    return {
        "boot": call.BootNotification(charging_station={"model": "M", "vendorName": "V"}, reason="PowerUp"),
        "heartbeat": call.Heartbeat(),
        "status": call.StatusNotification(timestamp=now, connector_status="Available", evse_id=1, connector_id=1),
        "unknown": call.Authorize(id_token={"idToken": "tag", "type": "Central"}),
    }


async def orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def obey(order: str, point: Any, socket: Any, version: str) -> None:
    if order == "close":
        await socket.close(1000, "going home")
    elif order == "ping":
        await (await socket.ping())
        say(ponged=True)
    else:
        try:
            answer = await point.call(calls(version)[order], suppress=False)
        except Exception as error:
            say(answer=order, error=getattr(error, "code", repr(error)))
        else:
            say(answer=order, status=getattr(answer, "status", None), time=getattr(answer, "current_time", None))


async def main(version: str, url: str, id: str) -> None:
    point_class = import_module(f"ocpp.{FOLDERS[version]}").ChargePoint
    async with websockets.connect(f"{url}/{id}", subprotocols=[version], ping_interval=None) as socket:  # type: ignore[list-item]
        say(connected=socket.subprotocol)
        point = point_class(id, socket)
        listening = asyncio.create_task(point.start())
        reader = await orders()
        while True:
            waiting = asyncio.create_task(reader.readline())
            await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                say(closed=socket.close_code, reason=socket.close_reason)
                return
            await obey(waiting.result().decode().strip(), point, socket, version)


asyncio.run(main(*sys.argv[1:]))

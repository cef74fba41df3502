"""`ocpp` on `websockets` with asyncio, as it is deployed: a `ChargePoint` a station, credentials checked before.

It records nothing. `--ping SECONDS` sets another interval than the library's 20. It prints its port, and ends when its
standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hmac
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol


class Station(ChargePoint):  # type: ignore[misc]
    """Answers what a charger says at the least."""

    @on("BootNotification")  # type: ignore[untyped-decorator]
    def boot(self, **_: Any) -> call_result.BootNotification:
        return call_result.BootNotification(current_time=now(), interval=300, status="Accepted")

    @on("Heartbeat")  # type: ignore[untyped-decorator]
    def heartbeat(self) -> call_result.Heartbeat:
        return call_result.Heartbeat(current_time=now())


def now() -> str:
    return datetime.now(UTC).isoformat()


def station_of(path: str) -> str:
    return unquote(path.rpartition("/")[2])


async def main(password: str, ping: float) -> None:
    def check(connection: ServerConnection, request: Request) -> Response | None:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        expected = base64.b64encode(f"{station_of(request.path)}:{password}".encode())
        if scheme.lower() == "basic" and hmac.compare_digest(shown.encode(), expected):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?\n")

    async def attend(connection: ServerConnection) -> None:
        assert connection.request is not None
        with suppress(ConnectionClosed):
            await Station(station_of(connection.request.path), connection).start()

    server = await serve(
        attend,
        "127.0.0.1",
        0,
        process_request=check,
        subprotocols=[Subprotocol("ocpp1.6")],
        ping_interval=ping,
        backlog=4096,
    )
    async with server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("password")
    options.add_argument("--ping", type=float, default=20.0)
    chosen = options.parse_args()
    logging.disable(logging.INFO)
    asyncio.run(main(chosen.password, chosen.ping))

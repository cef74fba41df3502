"""The yardstick: trio-websocket's `serve_websocket` with an echo handler, as its documentation shows it.

Basic credentials are compared in constant time. With `--ping SECONDS` each connection has the heartbeat task of that
documentation; with `--tls FILE` (certificate and key in one) there is trio's SSLStream underneath. It prints its port,
and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import ssl
import sys
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

PING_TIMEOUT = 20.0
"""Seconds: ours, and that of `websockets`."""


async def heartbeat(connection: WebSocketConnection, interval: float) -> None:
    while True:
        with trio.fail_after(PING_TIMEOUT):
            await connection.ping()
        await trio.sleep(interval)


def is_who(request: WebSocketRequest, password: str) -> bool:
    station = request.path.rpartition("/")[2]
    expected = b"Basic " + base64.b64encode(f"{station}:{password}".encode())
    return hmac.compare_digest(dict(request.headers).get(b"authorization", b""), expected)


async def echo(request: WebSocketRequest, *, password: str, ping: float) -> None:
    if not is_who(request, password):
        await request.reject(401)
        return
    connection = await request.accept(subprotocol="ocpp1.6")
    try:
        async with trio.open_nursery() as nursery:
            if ping:
                nursery.start_soon(heartbeat, connection, ping)
            while True:
                await connection.send_message(await connection.get_message())
    except* ConnectionClosed:
        pass


async def main(password: str, ping: float, tls: ssl.SSLContext | None) -> None:
    async with trio.open_nursery() as nursery:
        handler = partial(echo, password=password, ping=ping)
        server = await nursery.start(partial(serve_websocket, handler, "127.0.0.1", 0, ssl_context=tls))
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


def context(file: str | None) -> ssl.SSLContext | None:
    if file is None:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(file)
    return made


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("password")
    options.add_argument("--ping", type=float, default=0.0)
    options.add_argument("--tls")
    chosen = options.parse_args()
    trio.run(main, chosen.password, chosen.ping, context(chosen.tls))

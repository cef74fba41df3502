"""The yardstick: trio-websocket's `serve_websocket` with an echo handler, as its documentation shows it.

With `--ping SECONDS` each connection has the heartbeat task of that documentation. It prints its port, and ends when
its standard input does.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket


async def heartbeat(connection: WebSocketConnection, interval: float) -> None:
    while True:
        with trio.fail_after(interval):
            await connection.ping()
        await trio.sleep(interval)


async def echo(request: WebSocketRequest, *, ping: float) -> None:
    connection = await request.accept(subprotocol="ocpp1.6")
    try:
        async with trio.open_nursery() as nursery:
            if ping:
                nursery.start_soon(heartbeat, connection, ping)
            while True:
                await connection.send_message(await connection.get_message())
    except* ConnectionClosed:
        pass


async def main(ping: float) -> None:
    async with trio.open_nursery() as nursery:
        handler = partial(echo, ping=ping)
        server = await nursery.start(partial(serve_websocket, handler, "127.0.0.1", 0, ssl_context=None))
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ping", type=float, default=0.0)
    trio.run(main, options.parse_args().ping)

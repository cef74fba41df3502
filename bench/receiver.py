"""A webhook receiver that costs as little as one can in Python: it answers 204 to whatever is posted.

It prints its port, and serves until its standard input ends. With `--tls FILE`, of certificate and key, it speaks TLS;
with `--arrivals FILE` it writes there in the end when each request's first bytes came, in the machine's monotonic time.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

ARRIVALS: list[float] = []
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """Finds the ends of requests by their Content-Length; enough for senders that are known."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            ARRIVALS.append(time.monotonic())
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            self._transport.write(ANSWER)


async def serve(options: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if "--tls" in options:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options["--tls"])
    server = await loop.create_server(Receiver, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    asyncio.run(serve(options))
    if "--arrivals" in options:
        Path(options["--arrivals"]).write_text(json.dumps(ARRIVALS))


if __name__ == "__main__":
    main()

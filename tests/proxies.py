"""Proxies on loopback: one of our own that misbehaves as it is told to, and tinyproxy where there is one."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

TINYPROXY = shutil.which("tinyproxy")
CONFIGURATION = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 20
Allow 127.0.0.1
BasicAuth user canary
LogFile "{log}"
"""


class Tunnels:
    """A proxy that knows CONNECT and one user; it leads to loopback, whatever name is asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        """The head of each request."""
        self.answer: bytes | None = b"HTTP/1.1 200 Connection established\r\nproxy-agent: test\r\n\r\n"
        """None: it says nothing, and waits."""
        self.known = b"Basic " + b64encode(b"user:c@nary:1")
        self.port = 0

    async def serve(self, client: trio.SocketStream) -> None:
        async with client:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := await client.receive_some(65536)):
                    return
                head += data
            self.asked.append(head)
            lines = head.decode().split("\r\n")
            if f"proxy-authorization: {self.known.decode()}" not in lines:
                await client.send_all(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
                return
            if self.answer is None:
                await client.receive_some(1)
                return
            await client.send_all(self.answer)
            if b" 200 " not in self.answer:
                return
            port = int(lines[0].split(" ")[1].rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as receiver, trio.open_nursery() as nursery:
                nursery.start_soon(carry, client, receiver)
                nursery.start_soon(carry, receiver, client)


async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


@asynccontextmanager
async def tunnels() -> AsyncGenerator[Tunnels]:
    """Run a proxy of our own."""
    proxy = Tunnels()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tinyproxy(folder: Path) -> AsyncGenerator[int]:
    """Run tinyproxy, which knows one user, and return its port."""
    assert TINYPROXY is not None
    with trio.socket.socket() as probe:
        await probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = folder / "tinyproxy.conf"
    settings.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth user canary\n")
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, [TINYPROXY, "-d", "-c", str(settings)], capture_stdout=True, check=False)
        nursery.start_soon(run)
        with trio.fail_after(30):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.01)
        yield port
        nursery.cancel_scope.cancel()

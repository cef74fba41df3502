"""Webhook receivers on loopback: real sockets, and a script for what each connection does."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TypeAlias

import h11
import trio

from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.transports import WebhookSender

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SECRET, OLDER = b"0123456789abcdef01234567", b"fedcba9876543210fedcba98"
BODY = json.dumps({"type": "chargestation.online", "data": {"id": "Ladesäule 7"}}).encode()

Script: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]


class Request:
    """A request as it arrived."""

    def __init__(self, head: h11.Request, body: bytes) -> None:
        self.method = head.method.decode()
        self.target = head.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in head.headers}
        self.body = body


async def read_request(stream: trio.abc.Stream) -> Request | None:
    """Read one request; none if the sender closed the connection first."""
    http = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(head, body)
        else:
            return None


class Receiver:
    """Listens on loopback; each connection follows the script."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self.connections = 0
        self.open = 0
        self.port = 0
        self._counted = trio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hooks?tenant=1"

    async def handle(self, raw: trio.SocketStream) -> None:
        self.connections += 1
        self._count(1)
        stream: trio.abc.Stream = raw
        if self._tls is not None:
            stream = trio.SSLStream(raw, self._tls, server_side=True, https_compatible=True)
        try:
            await self._script(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)
            self._count(-1)

    async def until_open(self, number: int) -> None:
        """Return once so many connections are open, no more and no less."""
        with trio.fail_after(300):
            while self.open != number:
                await self._counted.wait()

    def _count(self, difference: int) -> None:
        self.open += difference
        self._counted.set()
        self._counted = trio.Event()


@asynccontextmanager
async def receiving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(script, tls)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, receiver.handle, 0, host="127.0.0.1"))
        receiver.port = listeners[0].socket.getsockname()[1]
        yield receiver
        nursery.cancel_scope.cancel()


def answering(answer: bytes, requests: list[Request] | None = None, *, then_close: bool = False) -> Script:
    """Answer every request with the same bytes."""

    async def script(stream: trio.abc.Stream) -> None:
        while (request := await read_request(stream)) is not None:
            if requests is not None:
                requests.append(request)
            await stream.send_all(answer)
            if then_close:
                return

    return script


def attempt_at(url: str) -> Attempt:
    return Attempt(message="msg_1", url=url, body=BODY, secrets=(SECRET,), at=int(time.time()))


def sender() -> WebhookSender:
    return WebhookSender(allow_http=True, allow_private_networks=True)


async def answer_of(script: Script) -> Answer:
    """Return what one attempt at a receiver comes to, once the sender has let go of the connection."""
    async with receiving(script) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(attempt_at(receiver.url))
        await sending.aclose()
        await receiver.until_open(0)
    return answer


async def hang(stream: trio.abc.Stream) -> None:
    """Read a request, and nothing more ever happens."""
    await read_request(stream)
    await stream.receive_some(1)


async def close_after_request(stream: trio.abc.Stream) -> None:
    """Read a request, and close without an answer."""
    await read_request(stream)

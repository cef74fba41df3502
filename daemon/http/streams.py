"""Server-sent events, as an answer that ends in order.

A feed pushes; there is no generator that somebody might leave to the garbage collector. The answer ends when the feed
returns, when the reader goes, or when the server stops, and the feed is cancelled where it waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import trio
from starlette.responses import Response

Push: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Sends what `sse_event` made, and waits while the reader is slow."""

BEAT: Final = 15.0
"""Seconds of silence until a comment is sent, under the 30 s at which the first proxies give up."""


class EventStream(Response):
    """An answer of server-sent events, fed by an async function."""

    def __init__(self, feed: Callable[[Push], Awaitable[None]]) -> None:
        super().__init__(
            headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type="text/event-stream"
        )
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def push(data: bytes) -> None:
            async with turn:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        async def beat() -> None:
            while True:
                await trio.sleep(BEAT)
                await push(b":\n\n")

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        turn = trio.Lock()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Its readers know at once that they are heard, and after how many milliseconds to come back.
        await push(b"retry: 2000\n\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_gone)
            nursery.start_soon(beat)
            await self._feed(push)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})


def sse_event(data: bytes, *, event: str = "", id: str = "") -> bytes:
    """Write an event; *data* is one line."""
    lines = [b"id: " + id.encode()] if id else []
    if event:
        lines.append(b"event: " + event.encode())
    return b"\n".join([*lines, b"data: " + data, b"", b""])

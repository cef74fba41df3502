"""What stands before the API: while there is none, because the daemon starts or stops, it says so."""

from __future__ import annotations

from .asgi import App, Message, Receive, Send
from .problems import problem


class Front:
    """An ASGI application that passes requests to another, as long as there is one."""

    def __init__(self) -> None:
        self.app: App | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["path"] == "/healthz":
            await _answer(send, 200, b"application/json", b'{"status":"alive"}')
        else:
            detail = "Stationkeeper is starting or stopping; ask again in a moment."
            await _answer(send, 503, b"application/problem+json", problem(503, detail))


async def _answer(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"retry-after", b"1")] if status == 503 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

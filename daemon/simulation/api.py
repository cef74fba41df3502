"""Asking a gateway's HTTP API: JSON over h11, one connection a request."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import h11
import trio
from attrs import frozen


@frozen(kw_only=True)
class Reply:
    """What the API answered."""

    status: int
    body: Any
    """What the JSON says; None where there was none."""


class Api:
    """The HTTP API of a gateway."""

    def __init__(self, url: str, *, token: str | None = None, patience: float = 10.0) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._headers = [("Host", parts.netloc), ("Connection", "close")]
        if token is not None:
            self._headers.append(("Authorization", f"Bearer {token}"))
        self._patience = patience

    async def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Make one request.

        Raises:
            Unanswered: nobody listens there, or no whole answer came in time.
        """
        content = b"" if body is None else json.dumps(body).encode()
        headers = [*self._headers, ("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method=method, target=path, headers=headers)
        sent = [connection.send(event) or b"" for event in (request, h11.Data(data=content), h11.EndOfMessage())]
        try:
            with trio.fail_after(self._patience):
                async with await trio.open_tcp_stream(self._host, self._port) as stream:
                    await stream.send_all(b"".join(sent))
                    return await _reply(connection, stream)
        except trio.TooSlowError:
            raise Unanswered(f"{method} {path}: no answer within {self._patience:g} s") from None
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise Unanswered(f"{method} {path}: {error or type(error).__name__}") from error

    async def get(self, path: str) -> Any:
        """Return what a GET gives.

        Raises:
            Refused: the answer is no success.
            Unanswered: as `ask`.
        """
        reply = await self.ask("GET", path)
        if reply.status != 200:
            raise Refused("GET", path, reply)
        return reply.body

    async def pages(self, path: str) -> list[Any]:
        """Return all of a list, page after page. Raises as `get`."""
        found: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            joined = f"{path}{'&' if '?' in path else '?'}cursor={cursor}" if cursor else path
            page = await self.get(joined)
            found += page["data"]
            cursor = page["next"]
        return found


class ApiFailed(Exception):
    """What was asked of the API was not to be had."""


class Unanswered(ApiFailed):
    """Nobody listens there, or no whole answer came in time."""


class Refused(ApiFailed):
    """The API answered, but not with what was asked for."""

    def __init__(self, method: str, path: str, reply: Reply) -> None:
        super().__init__(f"{method} {path} was answered {reply.status}: {json.dumps(reply.body)}")
        self.status = reply.status


async def _reply(connection: h11.Connection, stream: trio.SocketStream) -> Reply:
    status = 0
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(64 * 1024)))
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage():
                return Reply(status=status, body=json.loads(body) if body else None)
            case _:
                raise trio.BrokenResourceError("the connection ended before an answer came")

"""The API in this very process, over a log that no daemon holds: the same requests, with no socket between."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from secrets import token_urlsafe
from typing import Any, Final, cast
from urllib.parse import unquote

import trio

from ...engine.core import Engine
from ..app import create_app
from ..configuration.sources import load
from ..http.asgi import App
from ..http.tokens import Token, Tokens
from ..registry.offline import open_book
from ..registry.registrar import Registrar
from ..registry.standing import policy_of
from ..secrets_key import find_key_source
from .answers import answer_of

CLI: Final = Token(name="cli", scope="admin", digest=b"")
"""Who changes a log from the command line, as its events name it."""


class OneCaller(Tokens):
    """The token of the one who calls this API: there is no other way to it."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = token_urlsafe()

    @property
    def checked(self) -> bool:
        return True

    def find(self, secret: str) -> Token | None:
        return CLI if secret == self.secret else None


@contextmanager
def open_log_desk(log: str, *, make: bool = False) -> Generator[LogDesk]:
    """Open a log, and the API over it. With *make* a log that is not there is made.

    Raises:
        LogError: the log cannot be used; `LogLocked` if a daemon serves it.
    """
    config = load(environ=os.environ).config
    with open_book(log, make=make, key=find_key_source(config.log.secrets_key_file)) as book:
        policy = policy_of(config.webhooks)
        caller = OneCaller()
        # The book answers what the API asks of an engine.
        yield LogDesk(create_app(cast(Engine, book), Registrar(book, policy=policy), tokens=caller), caller.secret)


class LogDesk:
    """An API that is called, not connected to."""

    def __init__(self, app: App, secret: str) -> None:
        self._app = app
        self._secret = secret

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        status, answer = trio.run(self._ask, method, path, content)
        return answer_of(status, answer)

    async def _ask(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        status = 500
        parts: list[bytes] = []
        asked = iter([{"type": "http.request", "body": content, "more_body": False}])

        async def receive() -> MutableMapping[str, Any]:
            return next(asked, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._app(self._scope(method, path, content), receive, send)
        return status, b"".join(parts)

    def _scope(self, method: str, path: str, content: bytes) -> dict[str, Any]:
        route, _, query = path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(route),
            "raw_path": route.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"authorization", f"Bearer {self._secret}".encode()),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("localhost", 80),
        }

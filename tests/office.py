"""A running engine with the HTTP application over it, asked in this process; for tests of the API."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from stationkeeper.daemon.app import create_app
from stationkeeper.daemon.http.asgi import App, Message
from stationkeeper.daemon.http.tokens import Tokens
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.webhook_requests import UrlPolicy
from stationkeeper.engine import Engine, Log, open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Answer as SendersAnswer
from stationkeeper.engine.sending import Attempt
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import conflicts, deliveries, feed, outbox, presence, refusals, registry, webhooks
from stationkeeper.transports import MemoryStations


@frozen
class Answer:
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """Asks an ASGI application, with no socket between."""

    def __init__(self, app: App, *, token: str | None = None, host: str = "localhost") -> None:
        self._app = app
        self._headers = {"host": host, **({} if token is None else {"authorization": f"Bearer {token}"})}

    async def __call__(
        self, method: str, path: str, given: object = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask, and return the whole answer."""
        parts: list[bytes] = []
        head: list[Message] = []

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                head.append(message)
            else:
                parts.append(message["body"])

        scope, body = self.scope(method, path, given, headers or {})
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            message: Message | None = next(asked, None)
            if message is None:
                await trio.sleep_forever()
            assert message is not None
            return message

        await self._app(scope, receive, send)
        said = {name.decode(): value.decode() for name, value in head[0]["headers"]}
        return Answer(head[0]["status"], said, b"".join(parts))

    async def stream(self, path: str, take: Callable[[bytes], Any]) -> None:
        """Hand each piece of a stream to *take*, until it returns something true."""
        gone = trio.Event()

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.body" and take(message["body"]):
                gone.set()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        await self._app(self.scope("GET", path)[0], receive, send)

    def scope(
        self, method: str, path: str, given: object = None, headers: dict[str, str] | None = None
    ) -> tuple[Message, bytes]:
        """Return what an application is told of a request, and the request's body."""
        body = given if isinstance(given, bytes) else b"" if given is None else json.dumps(given).encode()
        route, _, query = path.partition("?")
        named = {**self._headers, "content-type": "application/json", "content-length": str(len(body))}
        named |= headers or {}
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": route,
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8080),
        }
        return scope, body


class Receiver:
    """A sender whose receivers answer what a test says."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.answer: SendersAnswer | None = None
        """If there is one, it is given instead of the status."""
        self.attempts: list[Attempt] = []
        self.on_attempt: Callable[[Attempt], Any] | None = None

    async def send(self, attempt: Attempt) -> SendersAnswer:
        self.attempts.append(attempt)
        if self.on_attempt is not None:
            await self.on_attempt(attempt)
        return self.answer or SendersAnswer(status=self.status, latency=0.01)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@frozen(kw_only=True)
class Office:
    """All that a test of the API needs."""

    engine: Engine
    registrar: Registrar
    stations: MemoryStations
    receiver: Receiver
    app: App
    ask: Client

    async def until_offline(self, station: str) -> None:
        """Wait until the flag says that a station has gone."""
        while self.engine.state(presence)[station].online:
            await self.engine.beyond(self.engine.position)


@asynccontextmanager
async def open_office(
    log: Log | Path | None = None, *, tokens: Path | None = None, adopt: bool = False, virtual: bool = False
) -> AsyncIterator[Office]:
    """Run an engine with everything that the API needs; *virtual*: by trio's clock."""
    stations, receiver = MemoryStations(), Receiver()
    async with open_engine(
        MemoryLog() if log is None else log,
        transports=[stations, receiver],
        projections=[presence, registry, webhooks, outbox, feed, conflicts, refusals, deliveries],
        adopt=adopt,
        clock=VirtualClock() if virtual else None,
        inline=virtual,
    ) as engine:
        registrar = Registrar(engine, policy=UrlPolicy())
        app = create_app(engine, registrar, tokens=Tokens(tokens))
        with trio.fail_after(math.inf if virtual else 60):
            yield Office(
                engine=engine, registrar=registrar, stations=stations, receiver=receiver, app=app, ask=Client(app)
            )

"""A gateway on a real socket with the stations of a small registry, and what its log says of who came."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from attrs import frozen
from raw_station import dial_tcp, request

from stationkeeper.engine import EngineSettings, Liveness, open_engine
from stationkeeper.engine.clock import SystemClock
from stationkeeper.engine.codec import decode
from stationkeeper.engine.core import Engine
from stationkeeper.engine.events import ConnectionOpened, Event, HandshakeRefused
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import presence, registry
from stationkeeper.transports import DenseStations, Knock, Refusal, Responder, WebSocketStations, Welcome
from stationkeeper.transports.admission import Admit

TRANSPORTS = [WebSocketStations, DenseStations]
Transport = type[WebSocketStations] | type[DenseStations]
UNWATCHED = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))

E = TypeVar("E", bound=Event)


class Registry:
    """Lets in whom it knows, and remembers who knocked."""

    def __init__(self, *known: Welcome) -> None:
        self.known = {welcome.station: welcome for welcome in known}
        self.passwords: dict[str, bytes] = {}
        self.knocks: list[Knock] = []

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        self.knocks.append(knock)
        welcome = self.known.get(knock.station)
        if welcome is None:
            return Refusal(status=404, reason="unknown_station", hint="register it")
        if knock.station in self.passwords and knock.password != self.passwords[knock.station]:
            return Refusal(status=401, reason="wrong_credentials", hint="the password is another")
        return welcome


@frozen
class Doorstep:
    """A gateway that serves."""

    engine: Engine
    log: MemoryLog
    url: str

    async def say(self, data: bytes) -> bytes:
        """Say bytes on a new connection; return what is answered, up to the empty line, or the end."""
        answer = b""
        async with await dial_tcp(self.url) as stream:
            await stream.send_all(data)
            while b"\r\n\r\n" not in answer:
                more = await stream.receive_some(4096)
                if not more:
                    break
                answer += more
        return answer

    async def ask(self, target: str = "/ocpp/CP-1", *extra: str, subprotocol: str | None = "ocpp1.6") -> bytes:
        """Ask for a WebSocket; return the answer's head."""
        return await self.say(request(target, subprotocol=subprotocol, extra=extra))

    async def opened(self) -> ConnectionOpened:
        """Wait for the first connection, and return how it was opened."""
        return (await self.until(ConnectionOpened))[0]

    async def refused(self) -> HandshakeRefused:
        """Wait for the only refusal, and return it."""
        (event,) = await self.until(HandshakeRefused)
        return event

    async def until(self, kind: type[E], count: int = 1) -> list[E]:
        """Wait until the log holds so many events of a kind, and return them."""
        while True:
            position = self.engine.position
            found = [event for event in map(decode, self.log.read()) if isinstance(event, kind)]
            if len(found) >= count:
                return found
            await self.engine.beyond(position)


@asynccontextmanager
async def doorstep(transport: Transport, admit: Admit, **options: Any) -> AsyncGenerator[Doorstep]:
    """Serve while the block lasts."""
    log = MemoryLog()
    responder = Responder(now=SystemClock().wall)
    stations = transport("127.0.0.1:0", admit=admit, on_message=responder.respond, **options)
    with trio.fail_after(20):
        async with open_engine(
            log, transports=[stations], projections=[presence, registry], settings=UNWATCHED
        ) as engine:
            yield Doorstep(engine, log, engine.urls[0])

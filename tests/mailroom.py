"""Deliveries with as little as they need around them, and receivers that follow a script; under virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.delivery.loop import Deliveries
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    DeliveryParked,
    DeliverySucceeded,
    Event,
    GatewayStarted,
    WebhookAdded,
)
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log import Attempted, Log
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Answer, Attempt, Owed
from stationkeeper.engine.settings import EngineSettings
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox
from stationkeeper.projections.outbox import recall

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SECRETS = {"s1": b"k" * 24}


class Receiver:
    """A sender whose receivers answer as told; it keeps all that reached them."""

    def __init__(self) -> None:
        self.answer: Callable[[Attempt], Answer | Awaitable[Answer]] = lambda attempt: Answer(status=200)
        self.attempts: list[tuple[float, Attempt]] = []
        self.accepted: list[Attempt] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def send(self, attempt: Attempt) -> Answer:
        self.attempts.append((trio.current_time(), attempt))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.lowlevel.checkpoint()
            answer = self.answer(attempt)
            if not isinstance(answer, Answer):
                answer = await answer
        finally:
            self.in_flight -= 1
        if answer.accepted:
            self.accepted.append(attempt)
        return answer

    async def aclose(self) -> None: ...

    def versions(self, station: str) -> list[int]:
        """The versions of a station that were accepted, in order."""
        bodies = [json.loads(attempt.body).get("data", {}) for attempt in self.accepted]
        return [body["version"] for body in bodies if body.get("id") == station]


class Gateway:
    """As much of an engine as deliveries need: a log, a fold, and a way to record."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        log: Log | None = None,
        settings: EngineSettings | None = None,
        clock: VirtualClock | None = None,
        mute: bool = False,
    ) -> None:
        self.log: Log = log or MemoryLog()
        self.clock = clock or VirtualClock()
        self.fold = Fold([outbox])
        for recorded in self.log.read():
            self.fold.advance(recorded)
        self.writable = True
        self.broken = False
        self.secrets_broken = False
        self.notes: list[Attempted] = []
        self.checkpoint = b""
        self.deliveries = Deliveries(
            lambda: self.fold.state(outbox),
            receiver,
            record=self.record,
            note=self.note,
            secret=self.secret,
            recall=self.recall,
            history=self.history,
            checkpoint=lambda: self.checkpoint,
            writable=lambda: self.writable,
            clock=self.clock,
            now=self.clock.wall,
            settings=settings or EngineSettings(),
            attempts=self.log.attempts(),
            mute=mute,
        )

    def append(self, event: Event, subject: str = "", *, id: str | None = None, run: str = "") -> None:
        """Append, fold, tell."""
        before = self.log.position
        id = id or f"event-{before + 1}"
        self.log.append([seal(event, id=id, at=self.clock.wall(), subject=subject, gateway="g", run=run)])
        for recorded in self.log.read(before):
            below = self.fold.advance(recorded)
            self.deliveries.committed(recorded, below.changes(outbox))

    async def record(self, event: Event, *, subject: str = "", id: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken or not self.writable:
            raise LogUnavailable("the disk is full")
        self.append(event, subject, id=id)
        await wait_all_tasks_blocked()  # whoever recorded wakes after the fold, when others may have run already

    def secret(self, id: str) -> bytes | None:
        if self.secrets_broken:
            raise LogUnavailable("another program holds a lock on the secrets")
        return SECRETS.get(id)

    def note(self, attempted: Attempted) -> None:
        self.notes.append(attempted)
        self.log.append([], attempts=[attempted])

    async def recall(self, message: Owed) -> bytes:
        return recall(self.log.read(), message)

    async def history(self, message: str) -> Sequence[Attempted]:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise LogUnavailable("the disk is gone")
        return self.log.attempts_at(message)

    def told(self, *kinds: type[Event]) -> list[Event]:
        """Return the events of these kinds, in order."""
        return [decode(recorded) for recorded in self.log.read(kinds={kind.kind for kind in kinds})]

    def outcomes(self) -> list[Any]:
        kinds = {DeliverySucceeded.kind, DeliveryParked.kind}
        return [decode(recorded) for recorded in self.log.read(kinds=kinds)]

    # --- what happens ---

    def start(self) -> None:
        started = GatewayStarted(
            public_url="ws://x/ocpp",
            ping_interval=25.0,
            ping_timeout=20.0,
            silence=900.0,
            grace=120.0,
            settling=300.0,
            rules=1,
            software="0",
            host="h",
        )
        self.append(started, id="run", run="run")

    def subscribe(self, webhook: str = "w", **changes: Any) -> None:
        record = WebhookAdded(url=f"https://{webhook}.example/hook", secrets=("s1",))
        self.append(evolve(record, **changes), webhook)

    def flip(self, station: str = "CP-1") -> None:
        """Open the station's connection, or close it if it is open."""
        fleet = self.fold.state(outbox.needs[0])
        known = fleet.get(station)
        if known is not None and known.connection is not None:
            closed = ConnectionClosed(
                connection=known.connection.id, side="station", cause="station_closed", alive_at=self.clock.wall()
            )
            self.append(closed, station, run="run")
        else:
            opened = ConnectionOpened(
                connection=f"run-{self.log.position + 1}", ping_interval=25.0, ping_timeout=20.0, silence=900.0
            )
            self.append(opened, station, run="run")


@asynccontextmanager
async def sending(gateway: Gateway) -> AsyncIterator[None]:
    """Run the gateway's deliveries around a block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.deliveries.run)
        yield
        await gateway.deliveries.stop(trio.current_time() + 10.0)


def ill(attempt: Attempt) -> Answer:
    return Answer(status=500, error="answered 500")

"""A gateway at work while system calls fail: a history for `test_faults.py`, run under `faults.c`.

Virtual time, stations in memory, a receiver that accepts everything; the log, its secrets and its checkpoints on files.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import trio
from faulted import Say, arm, disarm, serve, struck
from faulting import Fault
from trio.testing import MockClock

from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.errors import Conflict, LogError, LogUnavailable
from stationkeeper.engine.events import WebhookAdded
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.engine.testing.clock import BEGIN, VirtualClock
from stationkeeper.projections import outbox, presence
from stationkeeper.transports.memory import MemoryStations, NotLetIn

SETTINGS = EngineSettings(
    liveness=Liveness(ping_interval=5.0, ping_timeout=4.0), reconnect_grace=10.0, snapshot_interval=15.0
)
LASTS = 12.0
"""Seconds after which a fault that lasts is over."""
LIFE = 40.0
HOUR = 3_600_000_000
STATIONS = ("steady", "leaving", "lost", "silent", "closing")


class Receiver:
    """Accepts every message at the second attempt, and says whether the log could be written when one began."""

    def __init__(self, say: Say) -> None:
        self.engine: Engine | None = None
        self._say = say
        self._seen: set[str] = set()

    async def send(self, attempt: Attempt) -> Answer:
        assert self.engine is not None
        self._say("sent", attempt.message, self.engine.committer.writable)
        await trio.lowlevel.checkpoint()
        if attempt.message in self._seen:
            return Answer(status=200)
        self._seen.add(attempt.message)
        return Answer(status=503, error="answered 503")

    async def aclose(self) -> None: ...


def serving(folder: Path, fault: Fault, say: Say, *, lives: int = 2, begin: int = BEGIN) -> None:
    """Serve for a while, started again after it failed to start or stopped, as a supervisor does; then once more."""
    logging.disable()
    arm(folder, fault)
    for attempt in range(6):
        # Each start is later than the one before.
        clock = VirtualClock(begin=begin + attempt * HOUR)
        try:
            trio.run(life, folder / "fleet.db", clock, say, clock=MockClock(autojump_threshold=0))
            lives -= 1
        except* LogError as group:
            say("stopped", *[f"{type(error).__name__}: {error}" for error in group.exceptions])
        if attempt == 2:
            disarm()
        if lives == 0:
            return
    raise AssertionError("it does not live though nothing fails")


def once(folder: Path, fault: Fault, say: Say) -> None:
    serving(folder, fault, say, lives=1)


def once_later(folder: Path, fault: Fault, say: Say) -> None:
    serving(folder, fault, say, lives=1, begin=BEGIN + 10 * HOUR)


async def life(path: Path, clock: VirtualClock, say: Say) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relieve)
        await serve_stations(path, clock, say)
        nursery.cancel_scope.cancel()


async def serve_stations(path: Path, clock: VirtualClock, say: Say) -> None:
    receiver, stations = Receiver(say), MemoryStations()
    async with open_engine(
        path,
        transports=[stations, receiver],
        projections=[presence, outbox],
        settings=SETTINGS,
        clock=clock,
        inline=True,
    ) as engine:
        receiver.engine = engine
        say("begun", engine.run)
        with trio.move_on_after(LIFE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(observe, engine, say)
                nursery.start_soon(subscribe, engine, say)
                for station in STATIONS:
                    nursery.start_soon(station_life, engine, stations, station, say)
        await trio.sleep(SETTINGS.reconnect_grace)
        with trio.move_on_after(2 * LASTS):
            while not engine.ready:  # noqa: ASYNC110 - it is not told
                await trio.sleep(1)
        say("rest", {station: engine.connection(station) is not None for station in STATIONS}, shown(engine))
        say("ready", engine.ready)


def shown(engine: Engine) -> dict[str, bool]:
    return {station: known.online for station, known in engine.state(presence).items()}


async def observe(engine: Engine, say: Say) -> None:
    """Tell what anybody could see, whenever it changes."""
    before: tuple[object, ...] = ()
    while True:
        committer = engine.committer
        seen = engine.position, shown(engine), engine.ready, committer.writable, engine.busy("x") is None
        if seen != before:
            say("seen", *seen)
            before = seen
        say("queued", committer.queued, len(engine.doorway._owing))
        await trio.sleep(0.5)


async def subscribe(engine: Engine, say: Say) -> None:
    """Add a webhook, unless it is there; whoever is told that the outcome is unknown looks later."""
    while engine.owing().destination("w") is None:
        with suppress(LogUnavailable, Conflict):
            engine.secrets.keep("s1", b"k" * 24)
            webhook = WebhookAdded(url="https://w.example/hook", secrets=("s1",))
            say("kept", "webhook", await engine.record(webhook, subject="w", id="webhook"))
        await trio.sleep(1)


async def station_life(engine: Engine, stations: MemoryStations, name: str, say: Say) -> None:
    """Dial, again and again until let in; then leave in a way of its own, and come back once."""
    for stay in (6.0, LIFE):
        while True:
            try:
                socket = await stations.connect(name)
                break
            except NotLetIn as error:
                say("turned away", name, error.status)
                await trio.sleep(2)
        connection = engine.connection(name)
        assert connection is not None
        say("let in", name, connection.id)
        await trio.sleep(stay)
        match name:
            case "leaving":
                with trio.move_on_after(1):
                    await socket.close()
            case "lost":
                socket.lose()
            case "silent":
                socket.vanish()
                await trio.sleep(4)
            case _:
                pass


async def relieve() -> None:
    """End a fault some time after it has begun."""
    while not struck():  # noqa: ASYNC110 - whoever strikes is no task
        await trio.sleep(0.5)
    await trio.sleep(LASTS)
    disarm()


if __name__ == "__main__":
    serve({"serving": serving, "once": once, "once_later": once_later})

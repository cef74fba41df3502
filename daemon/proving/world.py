"""A world from a plan: the whole engine under virtual time, stations, network, receivers and a log that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from random import Random
from typing import Any, cast

import trio

from ...engine import Engine, Log, Projection, open_engine
from ...engine.errors import ClockBehind, LogUnavailable
from ...engine.events import PingSettings, WebhookAdded, WebhookEnabled, WebhookPaused
from ...engine.log.memory import MemoryLog
from ...engine.log.secrets import MemorySecrets
from ...engine.sending import Sender
from ...engine.stations import Arrival, StationTransport
from ...engine.testing.clock import VirtualClock
from ...projections import outbox, presence
from .clock import Leaping, deterministic
from .history import Asked, AtRest, Began, Died, History, Stalled, Stopping
from .links import Links
from .network import Network, Socket
from .plan import HOUR, LATEST, WEBHOOKS, Fate, Plan
from .receivers import Receivers
from .stations import BEHAVIOURS, Habits, Station
from .witness import Witness

RESTART = 5.0
"""Seconds until a gateway that could not start is started again."""
SECRET = "secret"
"""The id of the signing secret."""


class World:
    """One world. `run` lets it happen, once.

    The seams are for whoever proves parts of their own, or that the judge would find a fault in ours.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        log: Callable[[], Log] = MemoryLog,
        transport: Callable[[StationTransport], StationTransport] = lambda links: links,
        sender: Callable[[Sender], Sender] = lambda receivers: receivers,
        projections: Iterable[Projection[Any, Any]] = (presence, outbox),
    ) -> None:
        """Make a world, in which nothing happens yet.

        Args:
            plan: what happens in it.
            log: makes the log, once; it outlives the gateway.
            transport: may wrap the transport, once for each life.
            sender: may wrap the sender, once for each life.
            projections: what is folded. `presence` and `outbox` must be among them.
        """
        self.plan = plan
        self.history = History()
        self.history.turn = plan.turn
        self.history.attempts = len(plan.settings.retry.delays) + 1
        self.network = Network(self.history)
        self.engine: Engine | None = None
        self.lives = 0
        self._time = Leaping()
        self._clock = VirtualClock()
        self._wrap_transport, self._wrap_sender = transport, sender
        self._projections = tuple(projections)
        self._random = Random(f"{plan.seed} stations")
        self._log = Witness(log(), self.history)
        self._secrets = MemorySecrets()
        self._secrets.keep(SECRET, b"k" * 24)
        self._entropy = Random(f"{plan.seed} ids").randbytes
        self._pending = list(plan.fates)
        self._down = 0.0
        self._receivers = Receivers(
            self.history, Random(f"{plan.seed} receivers"), run=self._run, ask=self._ask, durable=self._durable
        )
        self.network.durable = self._durable
        self.stations = self._settle_stations()

    def run(self) -> History:
        """Let everything happen, until it has come to rest, and return what happened."""
        with deterministic(self.plan.seed), _silence():
            try:
                trio.run(self._live, clock=self._time)
            except Exception as error:
                self.history.failure = f"the engine fell over {error!r}"
        self.history.rows = list(self._log.inner.read())
        return self.history

    @property
    def elapsed(self) -> float:
        """Seconds that have gone by in this world."""
        return self._time.current_time()

    # --- who lives here ----------------------------------------------------------------------------------------------

    def _settle_stations(self) -> list[Station]:
        plan, draw = self.plan, self._random
        liveness = plan.settings.liveness
        habits = Habits(way=plan.way, timeout=liveness.ping_timeout, backoff=plan.backoff, patience=plan.patience)
        unpinged = PingSettings(ping_interval=0.0, silence=liveness.silence)
        stations: list[Station] = []
        for n in range(plan.stations):
            name = draw.choice(plan.behaviours) if draw.random() < plan.flaky else "steady"
            own = unpinged if name == "unpinged" else None
            station = Station(f"CP-{n}", BEHAVIOURS[name], self.network, draw, habits, liveness=own)
            self.network.at(draw.random() * 60.0, station.dial)
            stations.append(station)
        return stations

    def _bound(self, arrival: Arrival) -> float:
        """Return how long a station may be silent without being found."""
        liveness = self.plan.settings.liveness.for_station(arrival.liveness)
        return liveness.ping_interval + liveness.ping_timeout if liveness.ping_interval else liveness.silence

    def _run(self) -> str:
        return self.engine.run if self.engine is not None else ""

    def _durable(self) -> int:
        return self._log.durable

    def _ask(self, station: str) -> tuple[bool, int]:
        """GET a station."""
        assert self.engine is not None
        known = self.engine.state(presence).get(station)
        return (known.online, known.version) if known is not None else (False, 0)

    # --- lives of the gateway ----------------------------------------------------------------------------------------

    async def _live(self) -> None:
        accept_clock = False
        while True:
            self.network.advance(trio.current_time())
            try:
                if await self._one_life(accept_clock):
                    return
            except ClockBehind:
                accept_clock = True
                continue
            except LogUnavailable:
                # The log failed under the start, and the process said so and ended; somebody starts it again.
                if self.engine is not None:
                    raise
                self._down = RESTART
            except BaseException:
                if not self._log.crashed:
                    raise
            finally:
                if self.engine is not None:
                    self.history.note(Died(trio.current_time(), self.engine.run))
                self.engine = None
            accept_clock = False
            self._log.crashed = False
            await trio.sleep(self._down)
            self._down = 0.0

    async def _one_life(self, accept_clock: bool) -> bool:
        """Run the gateway until it ends, and return whether that was the end of the world."""
        links = Links(self.network, self._random, turn=self.plan.turn, bound=self._bound)
        based, wall = trio.current_time(), self._clock.wall()
        self._log.durable = self._log.inner.position
        async with open_engine(
            cast(Log, self._log),
            transports=[self._wrap_transport(links), self._wrap_sender(self._receivers)],
            projections=self._projections,
            settings=self.plan.settings,
            clock=self._clock,
            secrets=self._secrets,
            inline=True,
            accept_clock=accept_clock,
            entropy=self._entropy,
        ) as engine:
            self.engine = engine
            self.lives += 1
            self.history.note(Began(trio.current_time(), engine.run, based, wall))
            await self._subscribe(engine)
            over = await self._play(engine)
            if not engine.hurried:
                self.history.note(Stopping(trio.current_time(), engine.run))
        return over

    async def _subscribe(self, engine: Engine) -> None:
        if not list(self._log.inner.read(kinds={WebhookAdded.kind})):
            for webhook, stations in WEBHOOKS.items():
                added = WebhookAdded(
                    url=f"https://example.com/{webhook}", stations=(stations,), secrets=(SECRET,),
                    mode="latest" if webhook in LATEST else "every",
                )  # fmt: skip
                await engine.record(added, subject=webhook)

    async def _play(self, engine: Engine) -> bool:
        """Let happen what is to happen, until this life of the gateway is over; return whether the world is."""
        while self._pending:
            await trio.sleep_until(self._pending[0].at)
            fate = self._pending.pop(0)
            if fate.kind in ("crash", "stop"):
                self._down = fate.amount
                if fate.kind == "crash":
                    engine.hurry()
                return False
            self._happen(fate)
        await trio.sleep_until(self.plan.hours * HOUR)
        await self._rest(engine)
        return True

    def _happen(self, fate: Fate) -> None:
        now = trio.current_time()
        self.network.advance(now)
        match fate.kind:
            case "ask":
                self._note_answer(self._random.choice(self.stations).name)
            case "stall":
                self._time.jump(fate.amount)
                self.history.note(Stalled(now + fate.amount, now))
            case "clock":
                self._clock.set_wall(fate.amount)
            case "storm":
                self._storm(now, fate.amount)
            case "partition":
                self._partition(now, fate.amount)
            case "receiver":
                self._receivers.moods[fate.webhook] = fate.mood
            case "crash before" | "crash after":
                self._log.next, self._down = fate.kind, fate.amount
            case "lost" | "written":
                self._log.next, self._log.outage = fate.kind, fate.amount
            case _:
                raise AssertionError(fate)

    def _storm(self, now: float, share: float) -> None:
        for socket in list(self.network.open.values()):
            if self._random.random() < share and not socket.cut and socket.station_open:
                socket.to_gateway(now, "reset")
                socket.station.reached(now, socket, "reset")

    def _partition(self, now: float, seconds: float) -> None:
        for socket in list(self.network.open.values()):
            if not socket.cut:
                socket.break_path(now)
                self.network.at(now + seconds, socket.mend_path)
                self.network.at(now + self._random.random() * self.plan.patience, self._notice, socket)

    def _notice(self, when: float, socket: Socket) -> None:
        cast(Station, socket.station).notice(when, socket)

    # --- rest --------------------------------------------------------------------------------------------------------

    async def _rest(self, engine: Engine) -> None:
        """Let everybody be well, wait until everything has come to rest, and note how it stands."""
        now, plan, liveness = trio.current_time(), self.plan, self.plan.settings.liveness
        self.network.advance(now)
        self._log.next, self._receivers.moods = None, {}
        self.network.calm = True
        for station in self.stations:
            station.calm_down(now)
        settling = 2 * plan.backoff + plan.patience + plan.settings.reconnect_grace + 120.0
        self.network.quiet_from = now + settling
        await trio.sleep(60.0)
        for webhook in WEBHOOKS:
            for word in (WebhookPaused(), WebhookEnabled()):
                # Whoever is enabled anew starts afresh, and is sent at once what waits.
                await self._insist(engine, word, webhook)
        await trio.sleep(settling + 2 * (liveness.ping_interval + liveness.ping_timeout) + liveness.silence + 60.0)
        now = trio.current_time()
        self.network.advance(now)
        for station in self.stations:
            self.history.note(AtRest(now, engine.position, station.name, station.connected))
            self._note_answer(station.name)

    async def _insist(self, engine: Engine, event: WebhookPaused | WebhookEnabled, webhook: str) -> None:
        while True:
            try:
                await engine.record(event, subject=webhook)
                return
            except LogUnavailable:
                await trio.sleep(5.0)

    def _note_answer(self, station: str) -> None:
        assert self.engine is not None
        online, version = self._ask(station)
        self.history.note(Asked(trio.current_time(), self.engine.position, station, online, version))


@contextmanager
def _silence() -> Generator[None]:
    """Keep the engine from logging what the script made happen."""
    logger = logging.getLogger("stationkeeper")
    kept = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(kept)

"""Drawn lives of a few stations against the whole engine, under virtual time (truths 7, 9, 10, 12, 13, 15).

A scenario is a list of steps, played inside one `trio.run` under a fresh clock: stations connect, close, fall silent,
come back on a new socket while the old one lingers; our loop stalls; the gateway crashes or stops and starts again.
At rest the flag must equal the socket, every connection must have one story, and nobody who answers may have been
timed out. The judge below reads the log alone and knows nothing of our projections.
"""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import ConnectionClosed, ConnectionPingTimedOut
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import presence
from stationkeeper.transports.admission import AnyStation
from stationkeeper.transports.memory import MemoryStation, MemoryStations

INTERVAL, TIMEOUT, GRACE = 25.0, 20.0, 60.0
SETTINGS = EngineSettings(liveness=Liveness(ping_interval=INTERVAL, ping_timeout=TIMEOUT), reconnect_grace=GRACE)
STATIONS = ["CP-1", "CP-2", "CP-3"]
VERBS = ["connect", "close", "lose", "vanish", "come_back", "wait", "stall", "crash", "stop"]

steps = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(STATIONS), st.floats(0.0, 100.0)), min_size=1, max_size=40
)


def gateway(log: MemoryLog, transport: MemoryStations, clock: VirtualClock) -> AbstractAsyncContextManager[Engine]:
    return open_engine(log, transports=[transport], projections=[presence], settings=SETTINGS, clock=clock, inline=True)


class World:
    """Some stations, and the one gateway that they dial."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.clock = VirtualClock()
        self.sockets: dict[str, MemoryStation] = {}
        self.stalled = 0.0

    async def play(self, plan: list[tuple[str, str, float]]) -> Engine:
        pending = list(plan)
        while True:
            transport = MemoryStations(admit=AnyStation())
            async with open_engine(
                self.log,
                transports=[transport],
                projections=[presence],
                settings=SETTINGS,
                clock=self.clock,
                inline=True,
            ) as engine:
                while pending:
                    verb, station, amount = pending.pop(0)
                    if verb in ("crash", "stop"):
                        break
                    await self.step(transport, verb, station, amount)
                else:
                    await self.rest(engine, transport)
                    return engine
                if verb == "crash":
                    engine.hurry()
            self.sockets.clear()

    async def step(self, transport: MemoryStations, verb: str, station: str, amount: float) -> None:
        socket = self.sockets.get(station)
        match verb:
            case "connect":
                self.sockets[station] = await transport.connect(station)
                self.sockets[station].latency = min(amount, TIMEOUT - 1)
            case "wait":
                await trio.sleep(amount)
            case "stall":
                self.stalled += amount
                clock: Any = trio.lowlevel.current_clock()
                clock.jump(amount)
            case _ if socket is None:
                pass
            case "close" if socket.closed is None:
                with trio.move_on_after(1):
                    await socket.close()
            case "lose":
                socket.lose()
            case "vanish":
                socket.vanish()
            case "come_back":
                socket.come_back()
            case _:
                pass

    async def rest(self, engine: Engine, transport: MemoryStations) -> None:
        """Let everything settle: what is silent is found, what is graced lapses."""
        await trio.sleep(INTERVAL + TIMEOUT + GRACE + 5)
        for station in STATIONS:
            known = engine.state(presence).get(station)
            socket = self.sockets.get(station)
            stands = socket is not None and socket.closed is None and not _is_vanished(socket)
            assert stands == (known is not None and known.online), f"{station}: socket {stands}, flag {known}"
        assert len(_unended(self.log.read())) == sum(known.online for known in engine.state(presence).values())


def _is_vanished(socket: MemoryStation) -> bool:
    return socket._line.vanished


def _unended(events: Iterable[Recorded]) -> set[str]:
    """The connections of the newest run that were opened and not closed."""
    unended: set[str] = set()
    for recorded in events:
        name, _, what = recorded.id.partition(":")
        match recorded.kind:
            case "gateway.started":
                unended.clear()
            case "connection.opened":
                unended.add(name)
            case "connection.closed":
                unended.discard(name)
            case _:
                assert what not in ("opened", "closed")
    return unended


def judge(events: Iterable[Recorded]) -> None:
    """One story per connection; flips that alternate; nothing in the name of a run that has ended."""
    story: dict[str, list[str]] = defaultdict(list)
    ended: set[str] = set()
    lost: set[str] = set()
    for recorded in events:
        event: Any = decode(recorded)
        assert recorded.run not in ended, f"{recorded.kind} after its run had ended"
        if recorded.kind == "gateway.stopped":
            ended.add(recorded.run)
        elif recorded.kind == "gateway.lost":
            ended.add(event.run)
            lost.add(event.run)
        elif recorded.kind.startswith("connection."):
            story[event.connection].append(recorded.kind)
    for connection, kinds in story.items():
        if connection.rpartition("-")[0] in lost and "connection.closed" not in kinds:
            assert kinds == ["connection.opened"], (connection, kinds)
        else:
            assert kinds in (
                ["connection.opened", "connection.closed"],
                ["connection.opened", "connection.ping_timed_out", "connection.closed"],
            ), (connection, kinds)


@settings(max_examples=examples(150), deadline=None)
@given(steps)
def test_at_rest_the_flag_is_the_socket_and_every_story_is_whole(plan: list[tuple[str, str, float]]) -> None:
    world = World()
    trio.run(world.play, plan, clock=MockClock(autojump_threshold=0))

    judge(world.log.read())


@settings(max_examples=examples(100), deadline=None)
@given(
    st.floats(0.1, TIMEOUT - 1),
    st.lists(st.tuples(st.floats(0.0, INTERVAL + TIMEOUT), st.floats(1.0, 200.0)), min_size=3, max_size=20),
)
def test_an_on_time_answer_is_never_a_timeout(latency: float, stalls: list[tuple[float, float]]) -> None:
    """Truth 9: however late our loop is, an answer that came in time counts, also when nobody has read it yet."""

    async def main() -> list[str]:
        transport, log = MemoryStations(admit=AnyStation()), MemoryLog()
        async with gateway(log, transport, VirtualClock()):
            for n in range(10):
                (await transport.connect(f"CP-{n}")).latency = latency
            for calm, stall in stalls:
                await trio.sleep(calm)
                clock: Any = trio.lowlevel.current_clock()
                clock.jump(stall)
            await trio.sleep(INTERVAL + TIMEOUT)
        return [recorded.id for recorded in log.read(kinds={ConnectionPingTimedOut.kind})]

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == []


@settings(max_examples=examples(50), deadline=None)
@given(st.floats(0, 200), st.lists(st.floats(0, 30), max_size=10))
def test_silence_is_found_within_the_bound(talks: float, stalls: list[float]) -> None:
    """Truth 10: within interval + timeout + measured lag + 1 s of the last proof of life."""

    async def main() -> tuple[float, float]:
        transport, log = MemoryStations(admit=AnyStation()), MemoryLog()
        async with gateway(log, transport, VirtualClock()):
            station = await transport.connect("CP-1")
            await trio.sleep(talks)
            station.vanish()
            lag = 0.0
            for stall in stalls:
                clock: Any = trio.lowlevel.current_clock()
                clock.jump(stall)
                lag += stall
                await trio.sleep(0.1)
            await trio.sleep(INTERVAL + TIMEOUT + 2)
        (closed,) = log.read(kinds={ConnectionClosed.kind})
        event = decode(closed)
        assert isinstance(event, ConnectionClosed)
        assert event.cause == "ping_timeout"
        return (closed.at - event.alive_at) / 1e6, lag

    silent_for, lag = trio.run(main, clock=MockClock(autojump_threshold=0))

    assert TIMEOUT <= silent_for <= INTERVAL + TIMEOUT + lag + 1

"""The suite that every station transport must pass, ours or yours.

Derive a class from `StationConformance` in a test module of your own, say how the transport is made, and how a
station reaches it:

    class TestMyStations(StationConformance):
        def make(self, on_message: OnMessage) -> StationTransport:
            return MyStations(on_message=on_message)

        async def dial(self, url: str, station: str) -> Caller:
            return await MyCaller.open(f"{url}/{station}")

pytest then runs each promise of `stations` as one test, against a real engine on a log in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial, wraps
from typing import Any, ClassVar, TypeVar

import pytest
import trio
import trio.abc
from attrs import frozen

from ..clock import Clock
from ..codec import decode
from ..core import Engine
from ..entry import Entry
from ..events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayStopped,
    HandshakeRefused,
    Reach,
)
from ..log.memory import Fault, MemoryLog
from ..run import open_engine
from ..settings import EngineSettings, Liveness
from ..stations import Connection, OnMessage, StationTransport

STRANGER = "stranger"
"""The id that the transport under test must turn away with 404; any other it admits."""
_UNWATCHED = Liveness(ping_interval=0, ping_timeout=0, silence=0)
PATIENCE = 30.0
"""Seconds after which a test has failed, by the clock it runs under."""


@frozen
class TurnedAway(Exception):
    """A caller was not let in."""

    status: int
    """The HTTP status, or what corresponds to it."""


@frozen
class HungUp:
    """How a connection ended, as the caller saw it."""

    code: int | None
    """The close code that it was told; None if its socket just ended."""


class Caller(ABC):
    """A station at the other end of the transport under test. Unless it has vanished it answers pings by itself."""

    @abstractmethod
    async def send(self, text: str) -> None:
        """Send a message; into the void if the connection has ended."""

    @abstractmethod
    async def receive(self) -> str:
        """Return the gateway's next message."""

    @abstractmethod
    async def ping(self) -> None:
        """Send a ping of its own."""

    @abstractmethod
    async def close(self, code: int | None, reason: str) -> None:
        """Send a Close, as a station does that leaves in order."""

    @abstractmethod
    async def lose(self) -> None:
        """End the socket without a Close."""

    @abstractmethod
    def vanish(self) -> None:
        """Go half open: read and answer nothing more, and leave the socket as it is."""

    @abstractmethod
    async def hung_up(self) -> HungUp:
        """Wait until the gateway has ended the connection, also if this caller had vanished, and return how."""


T = TypeVar("T", bound="StationConformance")


def _scenario(test: Callable[[T], Awaitable[None]]) -> Callable[[T], None]:
    """Run an async test under the clock that the transport needs."""

    @wraps(test)
    def run(self: T) -> None:
        async def bounded() -> None:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as self.callers:
                    await test(self)
                    self.callers.cancel_scope.cancel()

        trio.run(bounded, clock=self.clock())

    return run


class Stage:
    """An engine with the transport under test, and what the log says of its stations."""

    def __init__(self, engine: Engine, log: MemoryLog, dial: Callable[[str], Awaitable[Caller]]) -> None:
        self.engine = engine
        self.log = log
        self.dial = dial

    def story(self, station: str) -> list[Event]:
        """Return what the log holds of a station, in order."""
        return [decode(recorded) for recorded in self.log.read(subject=station)]

    async def ended(self, station: str, *, times: int = 1) -> ConnectionClosed:
        """Wait for a station's *times*-th `connection.closed`, and return it."""
        while True:
            position = self.engine.position
            ends = [event for event in self.story(station) if isinstance(event, ConnectionClosed)]
            if len(ends) >= times:
                return ends[times - 1]
            await self.engine.beyond(position)


class StationConformance(ABC):
    """The promises of a `StationTransport`, as tests."""

    liveness: ClassVar[Liveness] = Liveness(ping_interval=0.2, ping_timeout=1.0, silence=0.9)
    """How stations are watched here: short times, for a transport that needs a real clock."""
    inline: ClassVar[bool] = False
    """Whether the engine commits in the loop's own thread, as a virtual clock needs it."""
    paths: ClassVar[Collection[Reach | None]] = (None, "acknowledged", "silent")
    """What the transport may say of the path to a caller that has vanished (`Link.path`)."""
    callers: trio.Nursery
    """Where callers may run tasks of their own; it outlasts the engine."""

    @abstractmethod
    def make(self, on_message: OnMessage) -> StationTransport:
        """Make a transport that admits any station but `STRANGER`, and whose bounds on time are short."""

    @abstractmethod
    async def dial(self, url: str, station: str) -> Caller:
        """Dial in as a station.

        Raises:
            TurnedAway: it was not let in.
        """

    def clock(self) -> trio.abc.Clock | None:
        """Return the clock to run under; None for trio's own."""
        return None

    def engine_clock(self) -> Clock | None:
        """Return the engine's clock; None for the machine's."""
        return None

    @asynccontextmanager
    async def stage(
        self, on_message: OnMessage | None = None, *, liveness: Liveness | None = None, log: MemoryLog | None = None
    ) -> AsyncGenerator[Stage]:
        log = log or MemoryLog()
        transport = self.make(on_message or _echo)
        settings = EngineSettings(liveness=liveness or self.liveness)
        clock = self.engine_clock()
        async with open_engine(
            log, transports=[transport], settings=settings, clock=clock, inline=self.inline
        ) as engine:
            yield Stage(engine, log, partial(self.dial, engine.urls[0]))

    # --- one story per connection -------------------------------------------------------------------------------------

    @_scenario
    async def test_a_station_that_was_let_in_is_in_the_log_already(self) -> None:
        async with self.stage() as stage:
            await stage.dial("CP-1")
            (opened,) = stage.story("CP-1")

            assert isinstance(opened, ConnectionOpened)
            assert opened.subprotocol is not None
            connection = stage.engine.connection("CP-1")
            assert connection is not None
            assert (connection.id, connection.station) == (opened.connection, "CP-1")

    @_scenario
    async def test_a_close_of_the_station_is_recorded_with_its_code_and_reason(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            await caller.close(4001, "rebooting")
            closed = await stage.ended("CP-1")

            assert (closed.side, closed.cause) == ("station", "station_closed")
            assert (closed.code, closed.reason) == (4001, "rebooting")
            assert _kinds(stage.story("CP-1")) == ["connection.opened", "connection.closed"]

    @_scenario
    async def test_a_close_without_a_code_has_none(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            await caller.close(None, "")
            closed = await stage.ended("CP-1")

            assert (closed.cause, closed.code, closed.reason) == ("station_closed", None, "")

    @_scenario
    async def test_a_socket_that_ends_without_a_close_is_a_loss(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            await caller.lose()
            closed = await stage.ended("CP-1")

            assert (closed.side, closed.cause, closed.code) == ("network", "network_lost", None)

    @_scenario
    async def test_who_is_turned_away_has_no_story(self) -> None:
        async with self.stage() as stage:
            with pytest.raises(TurnedAway) as caught:
                await stage.dial(STRANGER)

            assert caught.value.status == 404
            assert stage.story(STRANGER) == []
        (refused,) = [event for event in _events(stage.log) if isinstance(event, HandshakeRefused)]
        assert (refused.claimed, refused.status) == (STRANGER, 404)

    @_scenario
    async def test_each_of_many_connections_has_one_begin_and_one_end(self) -> None:
        async with self.stage() as stage, trio.open_nursery() as nursery:

            async def come_and_go(station: str) -> None:
                for visit in range(1, 6):
                    caller = await stage.dial(station)
                    await (caller.lose() if visit % 2 else caller.close(1000, ""))
                    await stage.ended(station, times=visit)

            for number in range(10):
                nursery.start_soon(come_and_go, f"CP-{number}")
        for number in range(10):
            story = _kinds(stage.story(f"CP-{number}"))
            assert story == ["connection.opened", "connection.closed"] * 5

    # --- messages -----------------------------------------------------------------------------------------------------

    @_scenario
    async def test_messages_are_handled_in_order_and_counted(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            texts = ['[3,"1",{}]', "ünïcödé €", "x" * 30_000]
            for text in texts:
                await caller.send(text)
            answers = [await caller.receive() for _ in texts]
            await caller.close(1000, "")
            closed = await stage.ended("CP-1")

            assert answers == [f"heard {text}" for text in texts]
            assert (closed.received, closed.sent) == (3, 3)

    @_scenario
    async def test_what_was_sent_before_a_close_is_handled_before_it(self) -> None:
        handled: list[str] = []

        async def handle(connection: Connection, text: str) -> None:
            handled.append(text)
            await trio.sleep(0.01)

        async with self.stage(handle) as stage:
            caller = await stage.dial("CP-1")
            for number in range(5):
                await caller.send(str(number))
            await caller.close(1000, "")
            await _until(lambda: len(handled) == 5)

            assert handled == ["0", "1", "2", "3", "4"]
            assert (await stage.ended("CP-1")).received == 5

    @_scenario
    async def test_an_end_is_recorded_at_once_whatever_is_being_handled(self) -> None:
        async def never(connection: Connection, text: str) -> None:
            await trio.sleep_forever()

        async with self.stage(never) as stage:
            for end, station in ("close", "CP-1"), ("lose", "CP-2"):
                caller = await stage.dial(station)
                await caller.send("handled for ever")
                began = trio.current_time()
                await (caller.close(1000, "") if end == "close" else caller.lose())
                closed = await stage.ended(station)

                assert closed.cause == ("station_closed" if end == "close" else "network_lost")
                assert closed.received == 1
                assert trio.current_time() - began < 5

    @_scenario
    async def test_sending_after_the_end_is_an_error(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            connection = stage.engine.connection("CP-1")
            await caller.close(1000, "")
            await stage.ended("CP-1")

            assert connection is not None
            with pytest.raises(trio.BrokenResourceError):
                await connection.send("too late")

    @_scenario
    async def test_a_sender_that_waits_is_released_by_the_end(self) -> None:
        async with self.stage(liveness=_UNWATCHED) as stage, trio.open_nursery() as nursery:
            caller = await stage.dial("CP-1")
            caller.vanish()
            connection = stage.engine.connection("CP-1")
            assert connection is not None
            released = trio.Event()

            async def send() -> None:
                try:
                    while True:
                        await connection.send("x" * 32_000)
                except trio.BrokenResourceError:
                    released.set()

            nursery.start_soon(send)
            await _until(lambda: connection.sent > 0)
            stage.engine.drop("CP-1")
            await released.wait()

    @_scenario
    async def test_a_fault_of_the_message_handler_ends_its_connection_alone(self) -> None:
        async def handle(connection: Connection, text: str) -> None:
            if connection.station == "CP-1":
                raise LookupError(text)
            await _echo(connection, text)

        async with self.stage(handle) as stage:
            unlucky, other = await stage.dial("CP-1"), await stage.dial("CP-2")
            await unlucky.send("boom")
            closed = await stage.ended("CP-1")
            await other.send("hello")

            assert (closed.side, closed.cause, closed.code) == ("gateway", "internal_error", 1011)
            assert await other.receive() == "heard hello"

    @_scenario
    async def test_messages_that_nobody_fetches_are_bounded(self) -> None:
        async def never(connection: Connection, text: str) -> None:
            await trio.sleep_forever()

        async with self.stage(never) as stage:
            caller = await stage.dial("CP-1")
            for _ in range(100):
                await caller.send('[2,"1","Heartbeat",{}]')
            closed = await stage.ended("CP-1")

            assert (closed.side, closed.cause, closed.code) == ("gateway", "overrun", 1008)

    @_scenario
    async def test_a_station_that_does_not_read_is_dropped(self) -> None:
        async def flood(connection: Connection, text: str) -> None:
            while True:
                await connection.send("x" * 32_000)

        async with self.stage(flood, liveness=_UNWATCHED) as stage:
            caller = await stage.dial("CP-1")
            await caller.send("go")
            caller.vanish()
            closed = await stage.ended("CP-1")

            assert (closed.side, closed.cause) == ("gateway", "slow_reader")

    # --- liveness -----------------------------------------------------------------------------------------------------

    @_scenario
    async def test_a_station_that_answers_pings_stays(self) -> None:
        async with self.stage() as stage:
            await stage.dial("CP-1")
            await trio.sleep(5 * self.liveness.ping_interval)
            connection = stage.engine.connection("CP-1")

            assert _kinds(stage.story("CP-1")) == ["connection.opened"]
            assert stage.engine.tally["pings"] >= 4
            assert connection is not None
            assert connection.rtt is not None

    @_scenario
    async def test_a_half_open_station_times_out_and_its_socket_is_aborted(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            caller.vanish()
            closed = await stage.ended("CP-1")
            story = stage.story("CP-1")

            assert _kinds(story)[1:] == ["connection.ping_timed_out", "connection.closed"]
            assert isinstance(story[1], ConnectionPingTimedOut)
            assert story[1].alive_at == closed.alive_at
            assert story[1].path in self.paths
            assert (closed.side, closed.cause, closed.code) == ("network", "ping_timeout", None)
            assert await caller.hung_up() == HungUp(None)

    @_scenario
    async def test_pings_of_the_station_are_proof_of_life(self) -> None:
        never_pinged = Liveness(ping_interval=0, ping_timeout=0, silence=self.liveness.silence)
        async with self.stage(liveness=never_pinged) as stage:
            caller = await stage.dial("CP-1")
            for _ in range(6):
                await trio.sleep(never_pinged.silence / 3)
                await caller.ping()
            alive = _kinds(stage.story("CP-1"))
            await stage.ended("CP-1")

            assert alive == ["connection.opened"]
            assert _kinds(stage.story("CP-1"))[1:] == ["connection.ping_timed_out", "connection.closed"]

    @_scenario
    async def test_pings_are_answered_while_a_message_is_handled(self) -> None:
        async def slowly(connection: Connection, text: str) -> None:
            await trio.sleep(6 * self.liveness.ping_interval)

        async with self.stage(slowly) as stage:
            caller = await stage.dial("CP-1")
            await caller.send("take your time")
            await trio.sleep(6 * self.liveness.ping_interval)

            assert _kinds(stage.story("CP-1")) == ["connection.opened"]

    # --- orders -------------------------------------------------------------------------------------------------------

    @_scenario
    async def test_the_newest_connection_wins(self) -> None:
        async with self.stage() as stage:
            older = await stage.dial("CP-1")
            newer = await stage.dial("CP-1")
            closed = await stage.ended("CP-1")
            await newer.send("still here")

            assert await older.hung_up() == HungUp(1001)
            assert (closed.side, closed.cause, closed.code) == ("gateway", "superseded", 1001)
            assert await newer.receive() == "heard still here"
            assert _kinds(stage.story("CP-1")) == ["connection.opened", "connection.opened", "connection.closed"]

    @_scenario
    async def test_the_late_end_of_a_superseded_connection_is_no_second_end(self) -> None:
        async with self.stage() as stage:
            older = await stage.dial("CP-1")
            newer = await stage.dial("CP-1")
            await older.hung_up()
            await older.lose()
            await stage.ended("CP-1")
            await newer.send("still here")
            await newer.receive()

            assert _kinds(stage.story("CP-1")) == ["connection.opened", "connection.opened", "connection.closed"]
            assert stage.engine.connection("CP-1") is not None

    @_scenario
    async def test_a_zombie_does_not_keep_its_station_out(self) -> None:
        async with self.stage() as stage:
            zombie = await stage.dial("CP-1")
            zombie.vanish()
            station = await stage.dial("CP-1")
            await station.send("back")

            assert await station.receive() == "heard back"
            assert (await stage.ended("CP-1")).cause == "superseded"

    @_scenario
    async def test_a_station_that_is_dropped_is_told(self) -> None:
        async with self.stage() as stage:
            caller = await stage.dial("CP-1")
            stage.engine.drop("CP-1", "kicked")
            closed = await stage.ended("CP-1")

            assert await caller.hung_up() == HungUp(1008)
            assert (closed.side, closed.cause, closed.code) == ("gateway", "kicked", 1008)

    @_scenario
    async def test_orders_to_a_station_that_does_not_read_never_wait(self) -> None:
        async def flood(connection: Connection, text: str) -> None:
            while True:
                await connection.send("x" * 32_000)

        async with self.stage(flood, liveness=_UNWATCHED) as stage:
            caller = await stage.dial("CP-1")
            connection = stage.engine.connection("CP-1")
            assert connection is not None
            await caller.send("go")
            caller.vanish()
            await _until(lambda: connection.sent > 0)
            for _ in range(100):
                connection.link.ping()
                connection.link.look()
            stage.engine.drop("CP-1", "kicked")
            connection.link.ping()

            assert (await stage.ended("CP-1")).cause == "kicked"

    @_scenario
    async def test_the_end_of_the_engine_is_told_to_everyone(self) -> None:
        async with self.stage() as stage:
            callers = [await stage.dial(f"CP-{number}") for number in range(5)]
            callers[0].vanish()
        ends = [event for event in _events(stage.log) if isinstance(event, ConnectionClosed)]

        assert [await caller.hung_up() for caller in callers[1:]] == [HungUp(1001)] * 4
        assert [end.cause for end in ends] == ["shutdown"] * 5
        assert isinstance(_events(stage.log)[-1], GatewayStopped)

    # --- a log that cannot be written -------------------------------------------------------------------------------

    @_scenario
    async def test_nobody_is_let_in_who_is_not_in_the_log(self) -> None:
        broken: set[str] = set()

        def fault(entries: Sequence[Entry]) -> Fault | None:
            return "lost" if "disk" in broken else None

        async with self.stage(log=MemoryLog(fault=fault)) as stage:
            broken.add("disk")
            for _ in range(2):  # the first is queued and fails; the second is turned away before that
                with pytest.raises(TurnedAway) as caught:
                    await stage.dial("CP-1")
                assert caught.value.status == 503
            broken.clear()
            await _until(lambda: stage.engine.ready)
            await stage.dial("CP-2")

            assert "connection.opened" not in _kinds(stage.story("CP-1")) or await stage.ended("CP-1")
            assert _kinds(stage.story("CP-2")) == ["connection.opened"]


async def _echo(connection: Connection, text: str) -> None:
    await connection.send(f"heard {text}")


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells of it
        await trio.sleep(0.01)


def _kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def _events(log: MemoryLog) -> list[Any]:
    return [decode(recorded) for recorded in log.read()]

"""A virtual station: it dials in, boots, sends heartbeats, misbehaves as it was told, and writes down what it saw.

What it writes down is the truth that a gateway is judged by, so nothing here asks the gateway what it believes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from math import inf, isfinite
from random import Random
from ssl import SSLContext
from typing import Any

import trio
from attrs import define, frozen

from ...engine.events import Micros, Side
from .line import Caller, Hangup, Line, dial


def wall() -> Micros:
    """Return the machine's wall clock."""
    return time.time_ns() // 1000


@define(kw_only=True)
class Sighting:
    """One dial, as its station saw it."""

    station: str
    dialled_at: Micros
    answered_at: Micros | None = None
    """When the answer to the handshake was there, or the dial had failed."""
    status: int | None = None
    """The HTTP status of the answer; none if no answer came."""
    subprotocol: str | None = None
    reason: str = ""
    """Why no connection came of it, or how the connection ended, in words."""
    port: int | None = None
    """The TCP port at the station's end."""
    deaf_at: Micros | None = None
    """From when on the station neither read nor answered, with the socket left open."""
    ended_at: Micros | None = None
    """When the station closed the connection, or found it closed."""
    ended_by: Side | None = None
    code: int | None = None
    """The close code that the gateway sent."""
    accepted: bool = False
    """Was its BootNotification accepted?"""

    @property
    def admitted(self) -> bool:
        """Was the station let in? A 101 that names no subprotocol is a refusal (OCPP-J 1.6, 3.1.2)."""
        return self.status == 101 and self.subprotocol is not None

    @property
    def silent_at(self) -> Micros | None:
        """From when on the gateway could hear nothing more; none while the station answers."""
        moments = [moment for moment in (self.deaf_at, self.ended_at) if moment is not None]
        return min(moments, default=None)

    @property
    def answering(self) -> bool:
        """Is it connected, and does it answer?"""
        return self.admitted and self.silent_at is None


@frozen(kw_only=True)
class Backoff:
    """How long a station waits before it dials again (OCPP 2.0.1 part 4, 5.3)."""

    minimum: float = 1.0
    """Seconds: RetryBackOffWaitMinimum."""
    spread: float = 2.0
    """Seconds: RetryBackOffRandomRange, drawn anew for each wait."""
    doublings: int = 3
    """RetryBackOffRepeatTimes; from then on the wait stays."""

    def waits(self, random: Random) -> Iterator[float]:
        """Yield the seconds before each dial in turn, without end."""
        wait = self.minimum + random.uniform(0, self.spread)
        for turn in count():
            yield wait
            if turn < self.doublings:
                wait = 2 * wait + random.uniform(0, self.spread)


@frozen(kw_only=True)
class Pace:
    """How fast a station lives. All in seconds."""

    ramp: float = 1.0
    """The first dials of a fleet are spread over this time."""
    heartbeat: float = 60.0
    up: float = 60.0
    """How long a flaky station stays connected, on average."""
    down: float = 10.0
    """How long a flaky station stays away, on average."""
    linger: float = 30.0
    """How long a socket is left open that nobody reads any more, unless the gateway closes it."""
    slowness: float = 1.0
    """What a slow station takes to read a message, or to write one."""
    backoff: Backoff = Backoff()


DEFAULT_PACE = Pace()


class Station:
    """A virtual station with one way of behaving."""

    def __init__(
        self,
        url: str,
        caller: Caller,
        behaviour: Behaviour,
        *,
        random: Random,
        pace: Pace = DEFAULT_PACE,
        trust: SSLContext | None = None,
        now: Callable[[], Micros] = wall,
    ) -> None:
        self.id = caller.station
        self.pace = pace
        self.random = random
        self.now = now
        self.sightings: list[Sighting] = []
        """Every dial so far, oldest first."""
        self.settled = trio.Event()
        """Set once the station was told to come to rest."""
        self.retired = False
        """Has it hung up for good?"""
        self._url = url
        self._caller = caller
        self._behaviour = behaviour
        self._trust = trust
        self._patience = trio.CancelScope()
        self._aside: trio.Nursery | None = None
        self._serial = count(1)

    @property
    def latest(self) -> Sighting | None:
        """The newest dial."""
        return self.sightings[-1] if self.sightings else None

    @property
    def connected(self) -> bool:
        """Has it a connection on which it answers?"""
        return self.latest is not None and self.latest.answering

    @property
    def resting(self) -> bool:
        """Once it was told to come to rest: is it connected or away for good, and not on its way?"""
        return self.connected or self.retired

    async def run(self) -> None:
        """Live until cancelled."""
        async with trio.open_nursery() as self._aside:
            await self.away(self.random.uniform(0, self.pace.ramp))
            waits = self.pace.backoff.waits(self.random)
            while True:
                line = await self._dial()
                if line is not None:
                    await self._behave(line)
                    if self.sightings[-1].admitted:
                        waits = self.pace.backoff.waits(self.random)
                await trio.sleep(next(waits))

    def settle(self) -> None:
        """Come to rest: stop misbehaving, and from now on stay connected or away."""
        self.settled.set()
        if isfinite(self._patience.deadline):
            self._patience.cancel()

    # --- what behaviours are made of ---------------------------------------------------------------------------------

    async def talk(self, line: Line, seconds: float = inf, *, slowly: bool = False) -> Hangup | None:
        """Boot, send heartbeats and answer, for some time: None when it is over, or how the gateway ended it."""
        boot = self._boot()
        with trio.move_on_after(seconds) as self._patience:
            await self._call(line, boot, slowly=slowly)
            beat = trio.current_time() + self.pace.heartbeat
            while True:
                got = await line.receive(deadline=beat)
                if isinstance(got, Hangup):
                    self._note_end(self.sightings[-1], got)
                    return got
                if got is None:
                    await self._call(line, ("Heartbeat", {}), slowly=slowly)
                    beat = trio.current_time() + self.pace.heartbeat
                else:
                    await self._hear(line, got)
                if slowly:
                    await trio.sleep(self.random.uniform(0, self.pace.slowness))
        return None

    async def leave(self, line: Line, *, how: Callable[[], Awaitable[None]]) -> None:
        """End the connection, by one of the line's ways to do so."""
        sighting = self.sightings[-1]
        sighting.ended_at, sighting.ended_by = self.now(), "station"
        sighting.reason = how.__name__.replace("_", " ")
        await how()

    def fall_silent(self, line: Line) -> None:
        """Neither read nor answer any more, and leave the socket open."""
        assert self._aside is not None, "a station that does not run has no line"
        sighting = self.sightings[-1]
        sighting.deaf_at, sighting.reason = self.now(), "fell silent"
        self._aside.start_soon(self._linger, line, sighting)

    async def away(self, seconds: float) -> None:
        """Stay away for some time, or until told to come to rest."""
        with trio.move_on_after(seconds):
            await self.settled.wait()

    # --- below -------------------------------------------------------------------------------------------------------

    async def _behave(self, line: Line) -> None:
        kept = False
        try:
            kept = await self._behaviour(self, line)
        finally:
            if not kept:
                await line.cut()

    async def _dial(self) -> Line | None:
        sighting = Sighting(station=self.id, dialled_at=self.now())
        self.sightings.append(sighting)
        answer = await dial(self._url, self._caller, trust=self._trust)
        sighting.answered_at = self.now()
        if isinstance(answer, Line):
            sighting.status, sighting.subprotocol, sighting.port = 101, answer.subprotocol, answer.local_port
            return answer
        sighting.status, sighting.reason = answer.status, answer.reason
        return None

    async def _linger(self, line: Line, sighting: Sighting) -> None:
        """Hold the socket of a silent connection until the gateway closes it, or for as long as such sockets last."""
        try:
            deadline = trio.current_time() + self.pace.linger
            await trio.sleep(self.pace.slowness)
            got: str | Hangup | None = ""
            while isinstance(got, str):
                got = await line.receive(deadline=deadline, answer=False)
            if got is not None:
                self._note_end(sighting, got)
            else:
                sighting.ended_at, sighting.ended_by = self.now(), "station"
        finally:
            await line.cut()

    def _note_end(self, sighting: Sighting, hangup: Hangup) -> None:
        sighting.ended_at, sighting.ended_by = self.now(), hangup.side
        sighting.code, sighting.reason = hangup.code, hangup.reason

    async def _call(self, line: Line, call: tuple[str, dict[str, Any]], *, slowly: bool) -> None:
        action, payload = call
        text = json.dumps([2, f"{action[0]}{next(self._serial)}", action, payload])
        if slowly:
            pieces = self.random.randint(3, 6)
            await line.trickle(text, pieces=pieces, pause=self.pace.slowness / pieces)
        else:
            await line.send(text)

    async def _hear(self, line: Line, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return  # not our business: any server may be dialled, and only the connection counts
        match message:
            case [2, str(number), *_]:
                await line.send(json.dumps([4, number, "NotSupported", "A virtual station takes no orders.", {}]))
            case [3, str(), {"status": "Accepted"}]:
                self.sightings[-1].accepted = True
            case _:
                pass

    def _boot(self) -> tuple[str, dict[str, Any]]:
        if self.sightings[-1].subprotocol in (None, "ocpp1.6"):
            return "BootNotification", {"chargePointVendor": "Stationkeeper", "chargePointModel": "Virtual"}
        station = {"vendorName": "Stationkeeper", "model": "Virtual"}
        return "BootNotification", {"reason": "PowerUp", "chargingStation": station}


Behaviour = Callable[[Station, Line], Awaitable[bool]]
"""What a station does with a line it has got, until it is done with it. True if the line's socket stays open."""

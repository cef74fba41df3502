"""Stations in memory: a station transport without sockets, for tests, examples and the simulator.

It keeps the promises of the WebSocket transport, under a virtual clock as well: one story per connection, messages
before the end that follows them, orders that never block, and bytes that have come but were not read yet.
"""

from __future__ import annotations

import logging
from typing import Final

import trio
from attrs import frozen

from ..engine.errors import LogUnavailable
from ..engine.events import Reach
from ..engine.stations import Arrival, Connection, Door, Ending, Hint, NotAdmitted, OnMessage
from .admission import SUBPROTOCOLS, Admit, AnyStation, Knock, Refusal, Subprotocol
from .endings import DRAIN, FAULT, LOST
from .handshake.subprotocols import choose

_LOG: Final = logging.getLogger(__name__)

_QUEUE: Final = 64
"""Messages that may wait in either direction."""
_UNREAD_TIME: Final = 20.0
"""Seconds for which a message may wait because the station does not read."""


@frozen
class NotLetIn(Exception):
    """A station was turned away."""

    status: int
    """The HTTP status that it would have got; 101 if it was let go right after the upgrade."""
    reason: str


@frozen
class Closed(Exception):
    """The connection has ended, from the station's point of view."""

    code: int | None
    """The close code that it was told; None if its socket just broke."""
    reason: str = ""


class MemoryStations:
    """A station transport (`engine.stations.StationTransport`) whose stations are objects of this process."""

    def __init__(self, *, admit: Admit | None = None, on_message: OnMessage | None = None) -> None:
        self._admit = admit or AnyStation()
        self._on_message = on_message
        self._door: Door | None = None
        self._nursery: trio.Nursery | None = None
        self._serving = trio.Event()
        self._closing = trio.Event()

    async def bind(self) -> str:
        return "memory://stations"

    async def serve(self, door: Door) -> None:
        async with trio.open_nursery() as nursery:
            self._door, self._nursery = door, nursery
            self._serving.set()
            await self._closing.wait()

    def stop_accepting(self) -> None:
        self._closing.set()

    async def connect(
        self,
        station: str,
        *,
        password: bytes | None = None,
        offered: tuple[str, ...] = SUBPROTOCOLS,
        remote: str = "192.0.2.1",
    ) -> MemoryStation:
        """Dial in, waiting until somebody serves; return once the station has its 101.

        Raises:
            NotLetIn: it was turned away.
            ConnectionRefusedError: nobody is accepted any more.
        """
        await self._serving.wait()
        if self._closing.is_set() or self._door is None or self._nursery is None:
            raise ConnectionRefusedError("this transport accepts nobody any more")
        door, nursery = self._door, self._nursery
        knock = Knock(
            station=station,
            password=password,
            username_matches=password is not None,
            offered=offered,
            remote=remote,
        )
        with door.handshake():
            arrival = await self._check(door, knock)
            line = _Line()
            try:
                connection = await door.admit(arrival, line)
            except NotAdmitted as error:
                raise _turned_away(door, knock, 503, error.busy.reason) from None
            except LogUnavailable:
                raise _turned_away(door, knock, 503, "log_unavailable") from None
            await nursery.start(line.attend, connection, self._on_message)
        return MemoryStation(line)

    async def _check(self, door: Door, knock: Knock) -> Arrival:
        welcome = await self._admit(knock)
        if isinstance(welcome, Refusal):
            await trio.sleep(welcome.delay)
            raise _turned_away(door, knock, welcome.status, welcome.reason, welcome.hint)
        busy = door.busy(welcome.station)
        if busy is not None:
            raise _turned_away(door, knock, 503, busy.reason)
        subprotocol: Subprotocol | None = choose(
            knock.offered, welcome.protocol, lenient="subprotocol" in welcome.lenient
        )
        if subprotocol is None:
            raise _turned_away(door, knock, 101, "no_subprotocol")
        return Arrival(
            station=welcome.station,
            subprotocol=subprotocol,
            security=welcome.security,
            credential=welcome.credential,
            certificate=None if knock.certificate is None else knock.certificate.serial,
            names=() if knock.certificate is None else knock.certificate.names,
            tls=knock.tls,
            liveness=welcome.liveness,
            remote=knock.remote,
        )


def _turned_away(door: Door, knock: Knock, status: int, reason: str, hint: Hint = "") -> NotLetIn:
    door.refused(knock.station, reason=reason, status=status, hint=hint, remote=knock.remote)
    return NotLetIn(status, reason)


class MemoryStation:
    """The station's end of a connection.

    Attributes:
        answers_pings: whether it answers pings, while the network carries them.
        latency: seconds from a ping to its answer's arrival.
        reach: what its network is to have done at a timeout.
    """

    def __init__(self, line: _Line) -> None:
        self._line = line

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on."""
        return self._line.connection.arrival.subprotocol

    @property
    def answers_pings(self) -> bool:
        return self._line.answers_pings

    @answers_pings.setter
    def answers_pings(self, value: bool) -> None:
        self._line.answers_pings = value

    @property
    def latency(self) -> float:
        return self._line.latency

    @latency.setter
    def latency(self, value: float) -> None:
        self._line.latency = value

    @property
    def reach(self) -> Reach | None:
        return self._line.reach

    @reach.setter
    def reach(self, value: Reach | None) -> None:
        self._line.reach = value

    @property
    def pings(self) -> int:
        """How many pings have reached it."""
        return self._line.pings

    @property
    def closed(self) -> Closed | None:
        """How it ended, as far as the station can know; None while it stands."""
        return None if self._line.vanished else self._line.closed

    async def send(self, text: str) -> None:
        """Send a message; into the void while it has vanished.

        Raises:
            Closed: the connection has ended.
        """
        self._raise_if_closed()
        if not self._line.vanished:
            self._line.arrived(text)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> str:
        """Return the gateway's next message.

        Raises:
            Closed: the connection has ended, and all messages before that were received.
        """
        while self._line.vanished:
            await self._line.changed.wait()
        try:
            return await self._line.outbox_out.receive()
        except trio.EndOfChannel:
            await self.wait_closed()
            raise self._line.closed or Closed(None) from None

    def ping(self) -> None:
        """Send a ping: bytes, and so a proof of life."""
        if not self._line.vanished:
            self._line.arrived(None)

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame, behind what was sent before, and wait until the gateway has dealt with it."""
        if not self._line.vanished:
            self._line.arrived(Ending(side="station", cause="station_closed", code=code, reason=reason))
        await self.wait_closed()

    def lose(self) -> None:
        """Break the connection: both ends' sockets fail."""
        self._line.arrived(LOST)

    def vanish(self) -> None:
        """Go half open: nothing reaches either side any more, and no socket fails."""
        self._line.vanished = True

    def come_back(self) -> None:
        """End what `vanish` began: what the gateway wrote meanwhile arrives now, also that it has ended."""
        self._line.come_back()

    async def wait_closed(self) -> Closed:
        """Wait until the station knows that its connection has ended, and return how."""
        while (closed := self.closed) is None:
            await self._line.changed.wait()
        return closed

    def _raise_if_closed(self) -> None:
        if (closed := self.closed) is not None:
            raise closed


class _Line:
    """What lies between a station and the gateway; for the engine, the `Link` of its connection."""

    connection: Connection

    def __init__(self) -> None:
        self.closed: Closed | None = None
        self.changed = trio.Event()
        self.vanished = False
        self.answers_pings = True
        self.latency = 0.0
        self.reach: Reach | None = None
        self.pings = 0
        self.outbox_in, self.outbox_out = trio.open_memory_channel[str](_QUEUE)
        self._inbox_in, self._inbox_out = trio.open_memory_channel[str](_QUEUE)
        self._nursery: trio.Nursery | None = None
        self._pings_under_way = 0
        """Pings written that the station has not seen."""
        self._unread: list[float] = []
        """When answers arrived, or will, that the gateway has not read yet."""

    async def attend(
        self,
        connection: Connection,
        on_message: OnMessage | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry a connection until it ends."""
        self.connection = connection
        task_status.started()
        try:
            async with trio.open_nursery() as self._nursery:
                self._carry_pings()
                await self._handle(on_message)
                self._nursery.cancel_scope.cancel()
        except* Exception:
            _LOG.exception("serving %r failed", connection.station)
            self._end(FAULT, Closed(FAULT.code, FAULT.reason))

    # --- the station's side -------------------------------------------------------------------------------------------

    def arrived(self, what: str | Ending | None) -> None:
        """Something of the station reaches the gateway: a message, its end, or bytes that are neither."""
        if self.closed is not None:
            return
        if isinstance(what, Ending):
            if what.side == "station":
                self.connection.heard()
            self._end(what, Closed(what.code if what.side == "station" else None, what.reason), drain=True)
            return
        self.connection.heard()
        if what is None:
            return
        self.connection.received += 1
        try:
            self._inbox_in.send_nowait(what)
        except trio.WouldBlock:
            self._end(Ending(side="gateway", cause="overrun", code=1008, reason="overrun"), Closed(1008, "overrun"))

    def come_back(self) -> None:
        self.vanished = False
        self._carry_pings()
        self._tell()

    # --- the gateway's side (stations.Link) ---------------------------------------------------------------------------

    def ping(self) -> None:
        self._pings_under_way += 1
        self._carry_pings()

    def look(self) -> bool:
        now = trio.current_time()
        return not self.vanished and any(arrival <= now for arrival in self._unread)

    def path(self, waited: float) -> Reach | None:
        return self.reach

    def rtt(self) -> float | None:
        return None

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        self._close(Closed(None) if abort else Closed(code, reason), drain=False)

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.outbox_in.send_nowait(text)
        except trio.WouldBlock:
            await self._send_when_it_reads(text)
        except trio.ClosedResourceError:
            raise self._broken() from None
        self.connection.sent += 1

    async def _send_when_it_reads(self, text: str) -> None:
        try:
            with trio.move_on_after(_UNREAD_TIME) as patience:
                await self.outbox_in.send(text)
        except trio.ClosedResourceError:
            raise self._broken() from None
        if patience.cancelled_caught:
            self._end(Ending(side="gateway", cause="slow_reader"), Closed(None))
            raise self._broken()

    def _broken(self) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"the connection of {self.connection.station} has ended")

    # -----------------------------------------------------------------------------------------------------------------

    async def _handle(self, on_message: OnMessage | None) -> None:
        async for text in self._inbox_out:
            if on_message is not None:
                try:
                    await on_message(self.connection, text)
                except trio.BrokenResourceError:
                    if self.closed is None:
                        raise

    def _carry_pings(self) -> None:
        """Bring what pings were written to the station, and send its answers on their way."""
        if self.vanished or self.closed is not None or self._nursery is None:
            return
        arrived, self._pings_under_way = self._pings_under_way, 0
        self.pings += arrived
        if arrived and self.answers_pings:
            # Noted now, not by the task: our loop may stall before that runs, and the answer comes all the same.
            arrival = trio.current_time() + self.latency
            self._unread.append(arrival)
            self._nursery.start_soon(self._answer, arrival)

    async def _answer(self, arrival: float) -> None:
        try:
            await trio.sleep_until(arrival)
        finally:
            self._unread.remove(arrival)
        if not self.vanished:
            self.connection.heard()

    def _end(self, ending: Ending, closed: Closed, *, drain: bool = False) -> None:
        self.connection.ended(ending)
        self._close(closed, drain=drain)

    def _close(self, closed: Closed, *, drain: bool) -> None:
        """End it; with *drain* what came before may still be handled, for a while."""
        if self.closed is not None:
            return
        self.closed = closed
        self.outbox_in.close()
        self._inbox_in.close()
        if self._nursery is not None:
            self._nursery.cancel_scope.deadline = trio.current_time() + (DRAIN if drain else 0)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

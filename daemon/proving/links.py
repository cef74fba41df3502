"""The gateway's edge of the simulated network: a station transport (`engine.stations.StationTransport`)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from ...engine.errors import LogUnavailable
from ...engine.stations import Arrival, Door, Ending, NotAdmitted
from .network import Network, Socket
from .stations import Station


class Links:
    """Lets virtual stations in, reads what they send, and writes what the engine orders.

    It reads in turns, as a busy loop does: what arrives may wait up to *turn* seconds for its reader.
    """

    def __init__(self, network: Network, random: Random, *, turn: float, bound: Callable[[Arrival], float]) -> None:
        self._network = network
        self._random = random
        self._turn = turn
        self._bound = bound
        self._nap = trio.CancelScope()
        self._earliest = 0.0

    async def bind(self) -> str:
        return "simulated://stations"

    async def serve(self, door: Door) -> None:
        network = self._network
        network.listen(trio.current_time(), True)
        network.sooner = self._wake
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    now = trio.current_time()
                    network.advance(now)
                    while network.knocks:
                        nursery.start_soon(self._let_in, door, network.knocks.popleft())
                    while network.readable:
                        self._read(network.readable.popleft())
                    await self._sleep(now + self._turn)
        finally:
            network.sooner = lambda when: None
            network.die(trio.current_time())

    def stop_accepting(self) -> None:
        self._network.listen(trio.current_time(), False)

    async def _sleep(self, until: float) -> None:
        """Sleep until something happens, and until the next turn."""
        self._earliest = until
        with trio.CancelScope(deadline=max(self._network.next_at(), until)) as self._nap:
            await trio.sleep_forever()

    def _wake(self, when: float) -> None:
        if when < self._nap.deadline:
            self._nap.deadline = max(when, self._earliest)

    async def _let_in(self, door: Door, socket: Socket) -> None:
        station = socket.station
        assert isinstance(station, Station)
        arrival = Arrival(
            station=station.name,
            subprotocol="ocpp1.6",
            liveness=station.liveness,
            remote=f"192.0.2.{len(station.name)}",
        )
        with door.handshake():
            # Who it is takes a while to check, and not always the same while.
            if (checking := self._random.random()) < 0.3:
                await trio.sleep(10 * checking**2)
            self._network.advance(trio.current_time())
            if any(what != "bytes" for what in socket.inbox):
                socket.end(trio.current_time(), "reset")
                return
            link = _Link(socket)
            try:
                if (busy := door.busy(arrival.station)) is not None:
                    raise NotAdmitted(busy)
                connection = await door.admit(arrival, link)
            except LogUnavailable as error:
                reason = error.busy.reason if isinstance(error, NotAdmitted) else "log_unavailable"
                door.refused(arrival.station, reason=reason, status=503, remote=arrival.remote)
                socket.end(trio.current_time(), "refused")
                return
        socket.welcome(trio.current_time(), connection, self._bound(arrival))
        self._wake(trio.current_time())

    def _read(self, socket: Socket) -> None:
        connection = socket.connection
        if connection is None:
            return
        while socket.inbox:
            what = socket.inbox.popleft()
            if what == "bytes":
                connection.heard()
            elif what == "close":
                connection.heard()
                connection.ended(Ending(side="station", cause="station_closed", code=1000))
                socket.end(trio.current_time(), "close")
            else:
                connection.ended(Ending(side="network", cause="network_lost"))
                socket.end(trio.current_time(), "reset")


class _Link:
    """What the engine may ask of a socket (`engine.stations.Link`)."""

    __slots__ = ("socket",)

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    def ping(self) -> None:
        self.socket.write_ping(trio.current_time())

    def look(self) -> bool:
        self.socket.network.advance(trio.current_time())
        return bool(self.socket.inbox)

    def path(self, waited: float) -> None:
        return None

    def rtt(self) -> None:
        return None

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        network, now = self.socket.network, trio.current_time()
        network.advance(now)
        self.socket.drop(now, abort=abort)

    async def send(self, text: str) -> None:
        """Write a message; whether it is read is the station's affair."""
        await trio.lowlevel.checkpoint()
        if not self.socket.gateway_open:
            raise trio.BrokenResourceError(f"the connection of {self.socket.station.name} has ended")

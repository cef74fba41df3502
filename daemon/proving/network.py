"""The physical world between stations and a gateway: sockets, paths and what is under way on them.

It has an agenda of its own and knows nothing of tasks: `advance` plays all that has happened up to a moment, in the
order of time, however late anybody comes to look. So bytes arrive while the gateway's loop stands still, and stations
do not wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Literal, Protocol, TypeAlias

from ...engine.stations import Connection
from .history import Accepting, Broke, Dropped, History, LetIn, Silent

What: TypeAlias = Literal["bytes", "close", "reset", "ping", "welcome", "refused"]
"""What travels. To the gateway: bytes, close, reset. To the station: welcome, refused, ping, close, reset."""


class Dialler(Protocol):
    """The station's side of a socket."""

    name: str

    def reached(self, when: float, socket: Socket, what: What) -> None:
        """Something has arrived at the station."""
        ...


class Network:
    """All sockets, and what is about to happen on them."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.knocks: deque[Socket] = deque()
        """Sockets on which a handshake has arrived, that nobody has taken up yet."""
        self.readable: deque[Socket] = deque()
        """Sockets with something that the gateway has not read."""
        self.open: dict[int, Socket] = {}
        """Those whose end at the gateway stands."""
        self.sooner: Callable[[float], None] = lambda when: None
        """Told when something enters the agenda: whoever sleeps until its head may have to wake sooner."""
        self.calm = False
        """Whether nothing happens to connections any more."""
        self.quiet_from = inf
        """When the last station may dial."""
        self.durable: Callable[[], int] = lambda: 0
        """Says what position the log has acknowledged."""
        self.pings = 0
        self.sockets = 0
        self._listening = False
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ties = count()

    def at(self, when: float, do: Callable[..., None], *arguments: object) -> None:
        """Have something happen at a moment; it is handed that moment first."""
        heappush(self._agenda, (when, next(self._ties), do, arguments))
        self.sooner(when)

    def next_at(self) -> float:
        """Return when something happens next."""
        return self._agenda[0][0] if self._agenda else inf

    def advance(self, now: float) -> None:
        """Play what has happened up to *now*."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= now:
            when, _, do, arguments = heappop(agenda)
            do(when, *arguments)

    def listen(self, now: float, yes: bool) -> None:
        """Let the gateway begin, or cease, to accept."""
        self.advance(now)
        if self._listening != yes:
            self._listening = yes
            self.history.note(Accepting(now, yes))

    def knock(self, when: float, socket: Socket) -> None:
        """A handshake has arrived."""
        if socket.cut:
            socket.held_in.append("knock")
        elif self._listening:
            self.open[socket.number] = socket
            self.knocks.append(socket)
        else:
            socket.to_station(when, "refused")

    def die(self, now: float) -> None:
        """End the gateway's process: the machine resets what it had open."""
        self.listen(now, False)
        for socket in list(self.open.values()):
            socket.end(now, "reset")
        self.knocks.clear()
        self.readable.clear()


class Socket:
    """One TCP connection, both its ends, and the path between."""

    __slots__ = (
        "arrived", "bound", "connection", "cut", "dialled", "held_in", "held_out", "inbox", "mute", "network",
        "number", "pinged", "silent_since", "station", "station_open", "think", "way",
    )  # fmt: skip

    def __init__(self, network: Network, station: Dialler, when: float, *, way: float, think: float) -> None:
        network.sockets += 1
        self.network = network
        self.number = network.sockets
        self.station = station
        self.dialled = when
        self.way = way
        """Seconds from one end to the other."""
        self.think = think
        """Seconds that the station takes to answer a ping."""
        self.mute = False
        """Whether it answers no ping at all."""
        self.cut = False
        """Whether the path carries nothing now."""
        self.held_in: list[What | Literal["knock"]] = []
        self.held_out: list[What] = []
        self.station_open = True
        self.inbox: deque[What] = deque()
        """What has arrived at the gateway and was not read."""
        self.arrived: deque[float] = deque(maxlen=4)
        self.pinged: float | None = None
        self.silent_since = inf
        self.bound = inf
        """Seconds of silence that the gateway may not overlook; infinity before it was let in."""
        self.connection: Connection | None = None

    @property
    def gateway_open(self) -> bool:
        """Whether the gateway's end stands."""
        return self.number in self.network.open

    # --- what happens to the path ------------------------------------------------------------------------------------

    def break_path(self, when: float) -> None:
        """Let nothing through any more; nobody is told."""
        self.cut = True

    def mend_path(self, when: float) -> None:
        """Let through what waits, and what comes."""
        self.cut = False
        held_in, held_out = self.held_in, self.held_out
        self.held_in, self.held_out = [], []
        for what in held_in:
            if what == "knock":
                self.network.knock(when, self)
            else:
                self.arrive(when, what)
        for out in held_out:
            self._reach(when, out)

    # --- the station's end -------------------------------------------------------------------------------------------

    def to_gateway(self, when: float, what: What) -> None:
        """The station sends something."""
        if what in ("close", "reset"):
            self.station_open = False
        self.network.at(when + self.way, self.arrive, what)

    def arrive(self, when: float, what: What) -> None:
        """Something of the station arrives at the gateway's end, or would."""
        if self.cut:
            self.held_in.append(what)
        elif not self.gateway_open:
            if what == "bytes":
                self.to_station(when, "reset")
        else:
            self._note_silence(when)
            if what == "bytes":
                self.arrived.append(when)
            elif self.connection is not None:
                self.network.history.note(Broke(when, self.number, "closed" if what == "close" else "reset"))
            if not self.inbox:
                self.network.readable.append(self)
            self.inbox.append(what)

    # --- the gateway's end -------------------------------------------------------------------------------------------

    def welcome(self, now: float, connection: Connection, bound: float) -> None:
        """The gateway sends the 101."""
        self.connection = connection
        self.silent_since, self.bound = now, bound
        network = self.network
        network.history.note(LetIn(now, self.number, self.station.name, connection.id, network.durable()))
        for what in self.inbox:
            if what != "bytes":
                network.history.note(Broke(now, self.number, "closed" if what == "close" else "reset"))
        self.to_station(now, "welcome")
        if self.inbox:
            network.readable.append(self)

    def to_station(self, when: float, what: What) -> None:
        """The gateway, or the machine that it runs on, sends something."""
        self.network.at(when + self.way, self._reach, what)

    def write_ping(self, now: float) -> None:
        """The gateway writes a ping."""
        self.pinged = now
        self.network.pings += 1
        if self.cut:
            self.held_out.append("ping")
        elif self.station_open and not self.mute:
            # The same as its way there, a thought, and its way back, at a third of the price.
            self.network.at(now + 2 * self.way + self.think, self.arrive, "bytes")

    def end(self, now: float, what: What) -> None:
        """The gateway closes or resets its end."""
        if self.network.open.pop(self.number, None) is not None:
            self._note_silence(now)
            self.inbox.clear()
            self.to_station(now, what)

    def drop(self, now: float, *, abort: bool) -> None:
        """The gateway ends the connection because the engine said so."""
        if self.gateway_open:
            self.network.history.note(Dropped(now, self.number, abort, self.pinged, tuple(self.arrived)))
            self.end(now, "reset" if abort else "close")

    # -----------------------------------------------------------------------------------------------------------------

    def _reach(self, when: float, what: What) -> None:
        if self.cut:
            self.held_out.append(what)
        elif self.station_open:
            if what == "ping":
                if not self.mute:
                    self.to_gateway(when + self.think, "bytes")
                return
            if what in ("close", "reset", "refused"):
                self.station_open = False
            self.station.reached(when, self, what)
        elif what in ("welcome", "ping"):
            self.to_gateway(when, "reset")  # there is nobody any more

    def _note_silence(self, when: float) -> None:
        if when - self.silent_since > self.bound:
            self.network.history.note(Silent(when, self.number, self.silent_since, self.bound))
        if self.connection is not None:
            self.silent_since = when

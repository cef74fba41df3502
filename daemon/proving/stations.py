"""Virtual stations: how they dial, answer, go, and come back. They live in the network's time and know no task."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from random import Random
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from attrs import frozen

from ...engine.events import PingSettings
from .network import Network, Socket, What

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
DIAL_TIMEOUT: Final = 30.0
"""Seconds that a station waits for its 101."""

Trouble: TypeAlias = Literal["close", "reset", "cut", "nap", "vanish", "redial", "race"]
"""close   it says so, and is away for a while
reset   both sockets fail
cut     the path dies; the station notices after a while, and dials anew over a socket that still stands here
nap     the path dies and comes back
vanish  the power goes: no socket of the station's is left to say anything
redial  it dials anew at once, and closes the old socket later
race    it dials, gives up in silence, and dials again; the first handshake is decided last"""


@frozen(kw_only=True)
class Behaviour:
    """How a station behaves. Times are seconds; those that vary are means."""

    answers: bool = True
    """Whether it answers pings."""
    slow: bool = False
    """Whether its answers come just in time."""
    talks: float = inf
    """Between two messages of its own accord."""
    up: float
    """Until something happens to its connection."""
    down: float = MINUTE
    """Away after that."""
    troubles: tuple[Trouble, ...]


BEHAVIOURS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "steady": Behaviour(up=20 * DAY, troubles=("close", "reset", "cut", "vanish")),
        "chatty": Behaviour(talks=2 * MINUTE, up=10 * DAY, troubles=("close", "reset")),
        "slow": Behaviour(slow=True, up=5 * DAY, troubles=("close", "reset")),
        "flapping": Behaviour(up=HOUR, down=30.0, troubles=("close", "reset", "cut")),
        "half-open": Behaviour(up=2 * HOUR, down=10.0, troubles=("cut", "nap")),
        "vanishing": Behaviour(up=6 * HOUR, down=2 * HOUR, troubles=("vanish",)),
        "hasty": Behaviour(up=2 * HOUR, down=2.0, troubles=("redial", "race")),
        "mute": Behaviour(answers=False, up=inf, down=30 * MINUTE, troubles=("close",)),
        "unpinged": Behaviour(talks=4 * MINUTE, up=10 * HOUR, down=MINUTE, troubles=("close", "vanish", "nap")),
    }
)
"""By name."""


@frozen(kw_only=True)
class Habits:
    """What all stations of a world have in common."""

    way: float
    """Seconds that the network takes one way, at most."""
    timeout: float
    """The ping timeout that slow ones must keep."""
    backoff: float
    """The longest pause between two tries to dial in."""
    patience: float
    """Seconds until a station notices at the latest that nothing comes through any more."""


class Station:
    """One virtual station."""

    __slots__ = (
        "_attempts",
        "_retired",
        "behaviour",
        "habits",
        "liveness",
        "name",
        "network",
        "random",
        "socket",
        "up",
    )

    def __init__(
        self,
        name: str,
        behaviour: Behaviour,
        network: Network,
        random: Random,
        habits: Habits,
        *,
        liveness: PingSettings | None = None,
    ) -> None:
        self.name = name
        self.behaviour = behaviour
        self.network = network
        self.random = random
        self.habits = habits
        self.liveness = liveness
        """Where it is watched otherwise than by the gateway's settings."""
        self.socket: Socket | None = None
        """The one that it takes for its own."""
        self.up = False
        """Whether it has got its 101 on that."""
        self._attempts = 0
        self._retired = False

    @property
    def connected(self) -> bool:
        """Whether a whole connection stands, at both ends and between."""
        socket = self.socket
        return socket is not None and self.up and socket.station_open and socket.gateway_open and not socket.cut

    def dial(self, when: float) -> None:
        """Dial in on a new socket."""
        if self._retired or when > self.network.quiet_from:
            return
        draw, behaviour = self.random, self.behaviour
        way = self.habits.way * draw.random()
        share = 0.5 + 0.45 * draw.random() if behaviour.slow else 0.01 * draw.random()
        think = max(0.0, share * self.habits.timeout - 2 * way)
        socket = Socket(self.network, self, when, way=way, think=think)
        socket.mute = not behaviour.answers
        self.socket, self.up = socket, False
        self.network.at(when + way, self.network.knock, socket)
        self.network.at(when + DIAL_TIMEOUT, self._give_up, socket)

    def reached(self, when: float, socket: Socket, what: What) -> None:
        """Something has arrived at the station."""
        if what == "welcome":
            self._welcomed(when, socket)
        elif socket is self.socket:
            mute = self.up and not self.behaviour.answers
            self._away(when, self.behaviour.down if mute else self._backoff())

    def calm_down(self, when: float) -> None:
        """Be flaky no more: one in four goes and stays away, the others stay."""
        if self.random.random() < 0.25 or not self.behaviour.answers:
            self._retired = True
            if self.socket is not None and self.up and self.socket.station_open:
                self.socket.to_gateway(when, "close")
            self.socket = None

    def notice(self, when: float, socket: Socket) -> None:
        """Find out that a socket's path is dead, unless it is not, and dial anew."""
        if socket is self.socket and socket.cut:
            socket.to_gateway(when, "close")
            self._away(when, self._backoff())

    # -----------------------------------------------------------------------------------------------------------------

    def _welcomed(self, when: float, socket: Socket) -> None:
        if socket is not self.socket:
            socket.to_gateway(when, "close")
            return
        self.up, self._attempts = True, 0
        if self.behaviour.up < inf:
            self.network.at(when + self.random.expovariate(1 / self.behaviour.up), self._trouble, socket)
        if self.behaviour.talks < inf:
            self._talk(when, socket)

    def _talk(self, when: float, socket: Socket) -> None:
        if socket is self.socket and socket.station_open:
            if not socket.cut:
                socket.to_gateway(when, "bytes")
            self.network.at(when + self.behaviour.talks * (0.5 + self.random.random()), self._talk, socket)

    def _give_up(self, when: float, socket: Socket) -> None:
        """Wait for a 101 no longer."""
        if socket is self.socket and not self.up:
            socket.to_gateway(when, "close")
            self._away(when, self._backoff())

    def _backoff(self) -> float:
        self._attempts += 1
        longest = min(2.0 ** min(self._attempts, 20), self.habits.backoff)
        return longest * (0.5 + 0.5 * self.random.random())

    def _away(self, when: float, seconds: float) -> None:
        self.socket, self.up = None, False
        self.network.at(when + seconds, self._return)

    def _return(self, when: float) -> None:
        if self.socket is None:
            self.dial(when)

    def _trouble(self, when: float, socket: Socket) -> None:
        """Let something happen to the connection."""
        if socket is not self.socket or not socket.station_open or self.network.calm:
            return
        draw, network = self.random, self.network
        down = draw.expovariate(1 / self.behaviour.down)
        match draw.choice(self.behaviour.troubles):
            case "close":
                socket.to_gateway(when, "close")
                self._away(when, down)
            case "reset":
                socket.to_gateway(when, "reset")
                self._away(when, down)
            case "cut":
                socket.break_path(when)
                network.at(when + draw.random() * self.habits.patience, self.notice, socket)
            case "nap":
                self._nap(when, socket, draw.random() * self.habits.patience)
            case "vanish":
                socket.station_open = False
                socket.break_path(when)
                self._away(when, down)
            case "redial":
                network.at(when + draw.random() * 2 * down, self._close_old, socket)
                self.dial(when)
            case "race":
                socket.break_path(when)
                self.dial(when)
                assert self.socket is not None
                # Its handshake arrives, but whatever says that it was given up does not.
                network.at(when + 2 * self.socket.way, self.socket.break_path)
                network.at(when + 3 * self.socket.way, self._return_from, self.socket)

    def _return_from(self, when: float, socket: Socket) -> None:
        if socket is self.socket:
            self.dial(when)

    def _close_old(self, when: float, socket: Socket) -> None:
        if socket.station_open:
            socket.to_gateway(when, "close")

    def _nap(self, when: float, socket: Socket, seconds: float) -> None:
        socket.break_path(when)
        self.network.at(when + self.habits.patience, self.notice, socket)
        self.network.at(when + seconds, socket.mend_path)
        if self.behaviour.up < inf:
            again = seconds + self.random.expovariate(1 / self.behaviour.up)
            self.network.at(when + again, self._trouble, socket)

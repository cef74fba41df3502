"""What all peers of a dense transport share, and the one look around that finds what takes too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import trio
from attrs import define, field

from ...engine.stations import Door, OnMessage
from ..admission import AtOnce, Knock, Refusal, Welcome
from ..bounds import Suspects
from ..gate.gate import Gate
from ..gate.lobby import Lobby
from ..handshake.reception import Manners
from ..sockets.tls import Tls
from .reactor import Reactor

LOOK: Final = 0.25
"""Seconds between two looks at deadlines."""


class Visitor(Protocol):
    """A peer whose handshake is under way."""

    began: float

    def late(self) -> None:
        """The time for the handshake is over."""
        ...

    def close(self) -> None:
        """Close the socket without a word."""
        ...


class Leaver(Protocol):
    """A peer that has heard our last word."""

    def gone(self) -> None:
        """Close the socket."""
        ...


@define(eq=False)
class House:
    """The shared parts of one transport."""

    manners: Manners
    tls: Tls | None
    suspects: Suspects
    on_message: OnMessage | None
    gate: Gate
    lobby: Lobby
    handshake_timeout: float
    door: Door
    at_once: Callable[[Knock], Welcome | Refusal | None] | None = field(init=False)
    """How whoever decides can be asked without a task."""
    nursery: trio.Nursery = field(init=False)
    """Where messages are handled, and decisions taken that take waiting."""
    reactor: Reactor = field(factory=Reactor)
    visitors: dict[Visitor, None] = field(factory=dict[Visitor, None])
    """In the order of their coming."""
    leavers: dict[Leaver, float] = field(factory=dict[Leaver, float])
    """Who has heard our last word -> when its socket is closed in any case, in that order."""
    peers: int = 0
    """Sockets that are open."""
    emptied: trio.Event = field(factory=trio.Event)
    """Set whenever the last peer has gone."""

    def __attrs_post_init__(self) -> None:
        admit = self.manners.admit
        self.at_once = admit.at_once if isinstance(admit, AtOnce) else None

    async def look_around(self) -> None:
        """End handshakes and partings that take too long, until cancelled."""
        while True:
            await trio.sleep(LOOK)
            now = trio.current_time()
            while self.visitors:
                visitor = next(iter(self.visitors))
                if now < visitor.began + self.handshake_timeout:
                    break
                self.visitors.pop(visitor)
                visitor.late()
            while self.leavers:
                leaver, until = next(iter(self.leavers.items()))
                if now < until:
                    break
                self.leavers.pop(leaver)
                leaver.gone()

    def close(self) -> None:
        """Close whatever is open."""
        for visitor in tuple(self.visitors):
            visitor.close()
        self.reactor.close()

    def entered(self) -> None:
        """A socket was accepted."""
        self.peers += 1

    def left(self) -> None:
        """A socket was closed."""
        self.peers -= 1
        if not self.peers:
            self.emptied.set()

    async def empty(self) -> None:
        """Wait until there is no peer."""
        while self.peers:
            self.emptied = trio.Event()
            await self.emptied.wait()

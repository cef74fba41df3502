"""Connections to receivers, and the idle ones that are kept."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Final, NamedTuple

import trio

from .connecting.pipes import Pipe
from .targets import Origin

IDLE_SECONDS: Final = 30.0
"""How long an idle connection is kept; servers close theirs after 5 to 75."""
IDLE_PER_ROUTE: Final = 64
"""As many as attempts may be in flight: where several webhooks lead to one receiver, none has to connect anew."""
IDLE_IN_ALL: Final = 128
"""Bounds what idle connections hold: a descriptor, and about 60 KiB each with TLS."""


class Route(NamedTuple):
    """What a connection is good for: it carries no request that would have to go another way."""

    origin: Origin
    identity: bytes = b""
    """Digest of the identity by which we proved who we are; empty: by none."""
    authorities: bytes = b""
    """Digest of the authorities by which the receiver is believed; empty: the system's."""


def route_of(origin: Origin, identity: bytes, authorities: bytes) -> Route:
    """Return the route of an attempt from what its connection needs, in PEM; empty is nothing of its own."""
    if not identity and not authorities:
        return Route(origin)
    return Route(
        origin, sha256(identity).digest() if identity else b"", sha256(authorities).digest() if authorities else b""
    )


class Wire:
    """One connection to a receiver, between exchanges."""

    def __init__(self, route: Route, raw: trio.SocketStream, stream: trio.abc.Stream) -> None:
        self.route = route
        self.pipe = stream if isinstance(stream, Pipe) else Pipe(raw)
        self.idle_since = 0.0

    def is_stale(self) -> bool:
        """Return whether the receiver has closed it, or said something unasked, while it was idle."""
        return self.pipe.disturbed()

    def close(self) -> None:
        """Close it at once, without waiting for the receiver."""
        self.pipe.close()


class Wires:
    """Idle connections, by where they lead; bounded in number and age."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Wire, None] = OrderedDict()
        self._by_route: dict[Route, list[Wire]] = {}
        self._closed = False

    def take(self, route: Route) -> Wire | None:
        """Return the idle connection that was used last; none if there is none that still stands."""
        self.tidy()
        while wires := self._by_route.get(route):
            wire = wires[-1]
            self._forget(wire)
            if not wire.is_stale():
                return wire
            wire.close()
        return None

    def keep(self, wire: Wire) -> None:
        """Keep a connection for later; where there are too many, an older one gives way."""
        if self._closed:
            wire.close()
            return
        wire.idle_since = trio.current_time()
        wires = self._by_route.setdefault(wire.route, [])
        wires.append(wire)
        self._idle[wire] = None
        if len(wires) > IDLE_PER_ROUTE:
            self._drop(wires[0])
        if len(self._idle) > IDLE_IN_ALL:
            self._drop(next(iter(self._idle)))
        self.tidy()

    def tidy(self) -> None:
        """Close those that were idle for too long: their receivers may have closed them, which nobody reads."""
        before = trio.current_time() - IDLE_SECONDS
        while self._idle and (oldest := next(iter(self._idle))).idle_since <= before:
            self._drop(oldest)

    def close(self) -> None:
        """Close all of them, and keep no more."""
        self._closed = True
        for wire in list(self._idle):
            self._drop(wire)

    def __len__(self) -> int:
        return len(self._idle)

    def _drop(self, wire: Wire) -> None:
        self._forget(wire)
        wire.close()

    def _forget(self, wire: Wire) -> None:
        del self._idle[wire]
        wires = self._by_route[wire.route]
        wires.remove(wire)
        if not wires:
            del self._by_route[wire.route]

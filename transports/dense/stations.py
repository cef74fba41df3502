"""Stations in over WebSocket (OCPP-J), densely: one trio task over epoll serves all of them.

A station that is idle has no task, no buffer and no protocol object here. Tasks run only where something waits: a
password that has to be stretched, messages that are being handled.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial
from typing import Final

import trio
from attrs import evolve

from ...engine.stations import Door, OnMessage
from ..admission import Admit
from ..bounds import Bounds, Suspects
from ..gate.gate import Gate
from ..gate.lobby import Lobby
from ..handshake.proxy import networks
from ..handshake.reception import Manners
from ..sockets.listening import accept_from, listen, parse_address, shown
from ..sockets.tls import Tls
from .house import House
from .visit import Visit

_AT_ONCE: Final = 64
"""Accepts in a row before others get their turn."""


class DenseStations:
    """A station transport (`engine.stations.StationTransport`) on TCP, with or without TLS.

    Args:
        listen: `HOST:PORT`; port 0 picks one. Loopback by default: the outside is let in on purpose.
        admit: decides who is let in; `AnyStation()`, or your own. One that offers `at_once` is asked without a task.
        on_message: handles the stations' messages, one at a time for each station. Without it they are dropped.
        path: what stands before the station id in the URL.
        tls: how to end TLS here. Client certificates are read if it asks for them.
        max_message: bytes of a message. OCPP messages rarely reach a tenth of the default.
        handshake_timeout: seconds from accept to 101.
        max_handshakes: handshakes under way at once. Those beyond wait in the kernel's queue.
        gate: how fast peers are let in; several transports may share one. By default none is held up that behaves.
        public_url: where stations dial in, if that is not where this listens (a proxy, a port mapping).
        origins: web pages that may connect, as `https://example.com`. Stations send no `Origin`, browsers always do.
        trusted_proxies: addresses and networks of proxies in front, as `10.0.0.0/8`. They must send a PROXY header of
            version 2, and are believed; from others none is taken.
        compression: whether stations that offer permessage-deflate (RFC 7692) may compress what they send.
        bounds: what else one peer may cost.
    """

    def __init__(
        self,
        listen: str = "127.0.0.1:9000",
        *,
        admit: Admit,
        on_message: OnMessage | None = None,
        path: str = "/ocpp",
        tls: Tls | None = None,
        max_message: int = 64 * 1024,
        handshake_timeout: float = 10.0,
        max_handshakes: int = 1024,
        gate: Gate | None = None,
        public_url: str | None = None,
        origins: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        compression: bool = True,
        bounds: Bounds | None = None,
    ) -> None:
        self._address = parse_address(listen)
        self._house = House(
            manners=Manners(
                admit=admit,
                path="/" + path.strip("/"),
                origins=tuple(origins),
                proxies=networks(trusted_proxies),
                compression=compression,
            ),
            tls=tls,
            suspects=Suspects(evolve(bounds or Bounds(), message=max_message)),
            on_message=on_message,
            gate=gate or Gate(),
            lobby=Lobby(places=max_handshakes, timeout=handshake_timeout),
            handshake_timeout=handshake_timeout,
        )
        self._public_url = public_url
        self._listeners: list[socket.socket] = []
        self._stopping = trio.Event()
        self._serving = False

    @property
    def addresses(self) -> list[str]:
        """Where this listens, as `HOST:PORT`; empty before `bind` and after `stop_accepting`."""
        return [shown(listener) for listener in self._listeners]

    async def bind(self) -> str:
        self._listeners = await listen(self._address)
        scheme = "ws" if self._house.tls is None else "wss"
        return self._public_url or f"{scheme}://{self.addresses[0]}{self._house.manners.path.rstrip('/')}"

    async def serve(self, door: Door) -> None:
        self._serving = True
        house = self._house
        house.door = door
        try:
            async with trio.open_nursery() as nursery, trio.open_nursery() as house.nursery:
                nursery.start_soon(house.reactor.run)
                nursery.start_soon(house.look_around)
                nursery.start_soon(house.suspects.sweep)
                await self._accept()
                self._close_listeners()
                await house.empty()
                house.nursery.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
        finally:
            self._close_listeners()
            house.close()

    async def _accept(self) -> None:
        """Accept those who knock until told to stop."""
        house = self._house

        def welcome(sock: socket.socket, remote: str) -> None:
            house.lobby.accepted()
            house.entered()
            Visit(house, sock, remote).begin()

        accept = partial(
            accept_from,
            welcome=welcome,
            gate=house.gate,
            room=house.lobby.room,
            kept_waiting=house.door.kept_waiting,
            at_once=_AT_ONCE,
        )
        async with trio.open_nursery() as loops:
            for listener in self._listeners:
                loops.start_soon(accept, listener)
            await self._stopping.wait()
            loops.cancel_scope.cancel()

    def stop_accepting(self) -> None:
        self._stopping.set()
        if not self._serving:
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

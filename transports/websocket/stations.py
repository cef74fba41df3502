"""Stations in over WebSocket (OCPP-J): trio-websocket, hardened from outside, through its public API alone.

What is added, and why, is told where it stands: the stream under the library in `wire`, one peer's way from accept to
close in `peer`, the request's head in `handshake`. Per station there are the two tasks of the library's own server,
its reader and the one that handles messages, and none of ours.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial

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
from .peer import Peer
from .visit import Etiquette


class WebSocketStations:
    """A station transport (`engine.stations.StationTransport`) on TCP, with or without TLS.

    Args:
        listen: `HOST:PORT`; port 0 picks one. Loopback by default: the outside is let in on purpose.
        admit: decides who is let in; `AnyStation()`, or your own.
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
        self._lobby = Lobby(places=max_handshakes, timeout=handshake_timeout)
        self._gate = gate or Gate()
        self._etiquette = Etiquette(
            manners=Manners(
                admit=admit,
                path="/" + path.strip("/"),
                origins=tuple(origins),
                proxies=networks(trusted_proxies),
                compression=compression,
            ),
            tls=tls,
            max_message=max_message,
            gate=self._gate,
            lobby=self._lobby,
        )
        self._on_message = on_message
        self._suspects = Suspects(evolve(bounds or Bounds(), message=max_message))
        self._public_url = public_url
        self._listeners: list[socket.socket] = []
        self._accepting = trio.CancelScope()
        self._serving = False

    @property
    def addresses(self) -> list[str]:
        """Where this listens, as `HOST:PORT`; empty before `bind` and after `stop_accepting`."""
        return [shown(listener) for listener in self._listeners]

    async def bind(self) -> str:
        self._listeners = await listen(self._address)
        scheme = "ws" if self._etiquette.tls is None else "wss"
        return self._public_url or f"{scheme}://{self.addresses[0]}{self._etiquette.manners.path.rstrip('/')}"

    async def serve(self, door: Door) -> None:
        self._serving = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._suspects.sweep)
            async with trio.open_nursery() as peers:

                def welcome(sock: socket.socket, remote: str) -> None:
                    self._lobby.accepted()
                    peers.start_soon(Peer(self._etiquette, self._suspects, self._on_message, door, sock, remote).attend)

                accept = partial(
                    accept_from, welcome=welcome, gate=self._gate, room=self._lobby.room, kept_waiting=door.kept_waiting
                )
                try:
                    with self._accepting:
                        async with trio.open_nursery() as loops:
                            for listener in self._listeners:
                                loops.start_soon(accept, listener)
                finally:
                    self._close_listeners()
            nursery.cancel_scope.cancel()

    def stop_accepting(self) -> None:
        self._accepting.cancel()
        if not self._serving:
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

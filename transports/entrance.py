"""Where stations come in over WebSocket: what both transports are told, where they listen, and how they accept."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial

import trio
from attrs import evolve

from ..engine.stations import Door, OnMessage
from .admission import Admit
from .bounds import Bounds, Suspects
from .gate.gate import Gate
from .gate.lobby import Lobby
from .handshake.proxy import networks
from .handshake.reception import Manners
from .sockets.listening import AT_ONCE, accept_from, listen, parse_address, shown
from .sockets.tls import Tls


class Entrance:
    """The front of a station transport (`engine.stations.StationTransport`) on TCP, with or without TLS.

    Args:
        listen: `HOST:PORT`; port 0 picks one. Loopback by default: the outside is let in on purpose.
        admit: decides who is let in; `AnyStation()`, or your own (see `AtOnce` for how not to cost a task).
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
        self._manners = Manners(
            admit=admit,
            path="/" + path.strip("/"),
            origins=tuple(origins),
            proxies=networks(trusted_proxies),
            compression=compression,
        )
        self._on_message = on_message
        self._tls = tls
        self._gate = gate or Gate()
        self._lobby = Lobby(places=max_handshakes, timeout=handshake_timeout)
        self._handshake_timeout = handshake_timeout
        self._suspects = Suspects(evolve(bounds or Bounds(), message=max_message))
        self._public_url = public_url
        self._listeners: list[socket.socket] = []
        self._stopping = trio.Event()
        self._accepting = False

    @property
    def addresses(self) -> list[str]:
        """Where this listens, as `HOST:PORT`; empty before `bind` and after `stop_accepting`."""
        return [shown(listener) for listener in self._listeners]

    async def bind(self) -> str:
        self._listeners = await listen(self._address)
        scheme = "ws" if self._tls is None else "wss"
        return self._public_url or f"{scheme}://{self.addresses[0]}{self._manners.path.rstrip('/')}"

    def stop_accepting(self) -> None:
        self._stopping.set()
        if not self._accepting:
            self._close_listeners()

    async def _accept(
        self, door: Door, welcome: Callable[[socket.socket, str], None], *, at_once: int = AT_ONCE
    ) -> None:
        """Accept those who knock until told to stop, *at_once* in a row; *welcome* begins what is done for one."""
        self._accepting = True

        def accepted(sock: socket.socket, remote: str) -> None:
            self._lobby.accepted()
            welcome(sock, remote)

        accept = partial(
            accept_from,
            welcome=accepted,
            gate=self._gate,
            room=self._lobby.room,
            kept_waiting=door.kept_waiting,
            at_once=at_once,
        )
        try:
            async with trio.open_nursery() as loops:
                for listener in self._listeners:
                    loops.start_soon(accept, listener)
                await self._stopping.wait()
                loops.cancel_scope.cancel()
        finally:
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

"""Stations in over WebSocket (OCPP-J): trio-websocket, hardened from outside, through its public API alone.

What is added, and why, is told where it stands: the stream under the library in `wire`, one peer's way from accept to
close in `peer`, the request's head in `handshake`. Per station there are the two tasks of the library's own server,
its reader and the one that handles messages, and none of ours.
"""

from __future__ import annotations

import socket

import trio

from ...engine.stations import Door
from ..entrance import Entrance
from .peer import Peer
from .visit import Etiquette


class WebSocketStations(Entrance):
    """A station transport (`engine.stations.StationTransport`) on TCP, with or without TLS; see `Entrance`."""

    async def serve(self, door: Door) -> None:
        etiquette = Etiquette(
            manners=self._manners,
            tls=self._tls,
            max_message=self._suspects.bounds.message,
            gate=self._gate,
            lobby=self._lobby,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._suspects.sweep)
            async with trio.open_nursery() as peers:

                def welcome(sock: socket.socket, remote: str) -> None:
                    peers.start_soon(Peer(etiquette, self._suspects, self._on_message, door, sock, remote).attend)

                await self._accept(door, welcome)
            nursery.cancel_scope.cancel()

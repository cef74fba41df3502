"""Stations in over WebSocket (OCPP-J), densely: one trio task over epoll serves all of them.

A station that is idle has no task, no buffer and no protocol object here. Tasks run only where something waits: a
password that has to be stretched, messages that are being handled.
"""

from __future__ import annotations

import socket
from typing import Final

import trio

from ...engine.stations import Door
from ..entrance import Entrance
from .house import House
from .visit import Visit

_AT_ONCE: Final = 64
"""Accepts in a row before others get their turn: each is dealt with at once, and costs little."""


class DenseStations(Entrance):
    """A station transport (`engine.stations.StationTransport`) on TCP, with or without TLS; see `Entrance`."""

    async def serve(self, door: Door) -> None:
        house = House(
            manners=self._manners,
            tls=self._tls,
            suspects=self._suspects,
            on_message=self._on_message,
            gate=self._gate,
            lobby=self._lobby,
            handshake_timeout=self._handshake_timeout,
            door=door,
        )

        def welcome(sock: socket.socket, remote: str) -> None:
            house.entered()
            Visit(house, sock, remote).begin()

        try:
            async with trio.open_nursery() as nursery, trio.open_nursery() as house.nursery:
                nursery.start_soon(house.reactor.run)
                nursery.start_soon(house.look_around)
                nursery.start_soon(house.suspects.sweep)
                await self._accept(door, welcome, at_once=_AT_ONCE)
                await house.empty()
                house.nursery.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
        finally:
            house.close()

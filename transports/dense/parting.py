"""The end of a socket after our last word."""

from __future__ import annotations

import socket

import trio

from ..endings import LINGER
from ..sockets.nonblocking import discard, half_close, reset_on_close
from .house import House


def abort(house: House, sock: socket.socket) -> None:
    """Close a socket, which tells a peer that still listens by a reset."""
    reset_on_close(sock)
    close(house, sock)


def close(house: House, sock: socket.socket) -> None:
    """Close a socket, now."""
    if sock.fileno() >= 0:  # TLS closes a socket by itself that was reset before it began
        house.reactor.forget(sock.fileno())
    sock.close()
    house.left()


class Parting:
    """Waits, for a while, until the peer closes its side: unread bytes would turn our end into a reset, which may
    overtake our last frame (RFC 9112, 9.6). A *stranger* is waited for only while few are: who is turned away must not
    be able to hold our descriptors."""

    __slots__ = ("_house", "_sock", "_stranger")

    def __init__(self, house: House, sock: socket.socket, *, stranger: bool = False) -> None:
        self._house = house
        self._sock = sock
        self._stranger = False
        half_close(sock)
        if discard(sock) or (stranger and not house.lobby.may_linger()):
            close(house, sock)
            return
        self._stranger = stranger
        house.reactor.forget(sock.fileno())
        house.reactor.watch(sock.fileno(), self)
        house.leavers[self] = trio.current_time() + LINGER

    def ready(self, events: int) -> None:
        if discard(self._sock):
            self._house.leavers.pop(self, None)
            self.gone()

    def failed(self) -> None:
        self._house.leavers.pop(self, None)
        self.gone()

    def gone(self) -> None:
        if self._stranger:
            self._house.lobby.lingered()
        close(self._house, self._sock)

    def close(self) -> None:
        self.gone()

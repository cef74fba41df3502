"""One trio task that waits for many sockets: an epoll within trio's own, and one list from descriptor to peer.

trio's way, a task for each wait, costs 5 kB and some 30 us a wake-up; here a socket that is silent costs 8 bytes, and
those that became ready at the same time share one wake-up.
"""

from __future__ import annotations

import logging
import select
from typing import Final, Protocol

import trio

_LOG: Final = logging.getLogger(__name__)

READ: Final = select.EPOLLIN
READ_AND_WRITE: Final = select.EPOLLIN | select.EPOLLOUT
WRITE: Final = select.EPOLLOUT
_AT_ONCE: Final = 256
"""Sockets served before everybody else in the process gets a turn: some milliseconds in a storm."""
_GATHER: Final = 0.001
"""Seconds to let more sockets become ready, while looks that find some follow each other: a wake-up is shared then, and
not paid for each."""
_BUSY: Final = 8
"""Sockets found at one look from which on we gather."""


class Watched(Protocol):
    """Something with a descriptor."""

    def ready(self, events: int) -> None:
        """It may be read or written, or has failed (`EPOLLIN`, ...)."""
        ...

    def failed(self) -> None:
        """`ready` raised: a fault of ours, which has been logged."""
        ...

    def close(self) -> None:
        """Close the socket without a word: the reactor is closed under it."""
        ...


class Reactor:
    """Tells those it watches that their sockets are ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: list[Watched | None] = []
        """By descriptor: the kernel gives out the lowest free one, so this stays dense."""

    def watch(self, descriptor: int, watched: Watched, events: int = READ) -> None:
        """Tell *watched*, from now on, when its descriptor is ready (level-triggered)."""
        while len(self._watched) <= descriptor:
            self._watched.append(None)
        self._watched[descriptor] = watched
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events of a descriptor that is watched."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more. To be called before it is closed."""
        if 0 <= descriptor < len(self._watched) and self._watched[descriptor] is not None:
            self._watched[descriptor] = None
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Give the epoll back, having closed whatever was watched."""
        for watched in tuple(self._watched):
            if watched is not None:
                watched.close()
        self._epoll.close()

    async def run(self) -> None:
        """Serve until cancelled. What a peer's bytes raise is logged, and stays with that peer."""
        while True:
            looked = trio.current_time()
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            if trio.current_time() - looked < _GATHER:
                # They come one after the other: together they share a wake-up, and a commit (up to a third of a
                # handshake under TLS, which takes peers so long that hardly two are ready at once).
                await trio.sleep(_GATHER)
            found = self._epoll.poll(0, _AT_ONCE)
            self._serve(found)
            while len(found) >= _BUSY:
                if len(found) < _AT_ONCE:
                    await trio.sleep(_GATHER)
                else:
                    await trio.lowlevel.checkpoint()
                found = self._epoll.poll(0, _AT_ONCE)
                self._serve(found)

    def _serve(self, found: list[tuple[int, int]]) -> None:
        for descriptor, events in found:
            watched = self._watched[descriptor]
            if watched is not None:  # else whoever was ready before it in this batch has ended it
                try:
                    watched.ready(events)
                except Exception:
                    _LOG.exception("serving a station failed")
                    watched.failed()

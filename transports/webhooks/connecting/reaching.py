"""A connection to one of several addresses, within one limit of time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import trio

from ..targets import LocalTrouble, Trouble
from .names import Address

SHORTEST: Final = 2.0
"""Seconds that an address has if the limit lets it: time for a SYN that was lost and is sent again."""

OURS: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
"""Errors that say something of this host, and nothing of a receiver."""

_ELSEWHERE: Final = {socket.AF_INET: ("1.1.1.1", 53), socket.AF_INET6: ("2606:4700:4700::1111", 53, 0, 0)}
"""Somewhere out there, to ask the routing table for the way; nothing is sent."""


async def reach(addresses: Sequence[Address], timeout: float) -> trio.SocketStream:
    """Connect to the first of some addresses that accepts.

    *timeout* is for all of them: each may take its share of what is left, so that a dead one leaves time for the next.

    Raises:
        Trouble: none accepted.
        LocalTrouble: none could even be tried, for a reason on our side.
    """
    deadline = trio.current_time() + timeout
    troubles: list[Trouble] = []
    for tried, address in enumerate(addresses):
        left = deadline - trio.current_time()
        if left <= 0:
            break
        share = max(left / (len(addresses) - tried), min(SHORTEST, left))
        try:
            return await _connect(address, share)
        except Trouble as trouble:
            troubles.append(trouble)
    raise next((one for one in reversed(troubles) if not isinstance(one, LocalTrouble)), troubles[-1])


def reason(error: OSError) -> str:
    """Return the system's words for an error; trio's carry its own around them."""
    return os.strerror(error.errno) if error.errno else str(error)


async def _connect(address: Address, timeout: float) -> trio.SocketStream:
    family, where = address
    connected = False
    candidate = None
    try:
        candidate = trio.socket.socket(family, socket.SOCK_STREAM)
        with trio.move_on_after(timeout):
            await candidate.connect(where)
            connected = True
            return trio.SocketStream(candidate)
    except OSError as error:
        kind = LocalTrouble if error.errno in OURS and not _is_missing(family, error) else Trouble
        raise kind(f"cannot connect to {where[0]} port {where[1]}: {reason(error)}") from None
    finally:
        if candidate is not None and not connected:
            candidate.close()
    raise Trouble(f"{where[0]} port {where[1]} did not accept a connection within {timeout:g} s")


def _is_missing(family: socket.AddressFamily, error: OSError) -> bool:
    """Return whether this host has a network, but not of that family: no waiting will bring a receiver nearer then."""
    if error.errno not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        return False
    other = socket.AF_INET if family == socket.AF_INET6 else socket.AF_INET6
    return _has_way(other) and not _has_way(family)


def _has_way(family: socket.AddressFamily) -> bool:
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect(_ELSEWHERE[family])
    except OSError:
        return False
    return True

"""Listening sockets: where to listen, why that cannot be done, and an accept loop that outlives a full file table."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import cached_property
from time import thread_time
from typing import Final

import trio
from attrs import frozen

from ...engine.errors import WrongSetting
from ..gate.gate import Gate

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 4096
"""Connections that the kernel holds for us; it cuts this at net.core.somaxconn, 4096 by default."""
AT_ONCE: Final = 16
"""Accepts in a row before others get their turn; a storm of stations is one long row."""
_STORM: Final = 4
"""Accepted in a row, from which on it is worth a turn to learn how late our loop is."""
_SEND_BUFFER: Final = 128 * 1024
"""Bytes that the kernel holds for a station that does not read; of itself it would take some megabytes. Accepted
sockets inherit it (socket(7))."""
_OUT_OF_FILES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_GONE: Final = {
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENONET,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EPROTO,
}
"""A peer that was gone before we came to it, or that a firewall keeps away (accept(2), "Error handling")."""
_PAUSE: Final = 0.1
"""Seconds to wait for a file to be closed by somebody."""
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

_REMEDIES: Final = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port (0 picks a free one)",
    errno.EACCES: "ports below 1024 need a privilege; choose a higher one, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 listens on all of them",
}


@frozen
class Address:
    """Where to listen."""

    host: str
    """Empty: on all addresses."""
    port: int


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[IPv6]:PORT` or `:PORT`.

    Raises:
        WrongSetting: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise WrongSetting(f"cannot listen on {text!r}; write HOST:PORT, as 127.0.0.1:9000, [::1]:9000 or :9000")
    return Address(host, int(port))


async def listen(address: Address) -> list[socket.socket]:
    """Listen on every address that the host has; on the first alone if the port is to be picked.

    Raises:
        WrongSetting: it cannot be done; the message names the address and the remedy.
    """
    place_shown = f"{address.host or '*'}:{address.port}"
    try:
        found = await trio.socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise WrongSetting(f"cannot listen on {place_shown}: no such host is known ({error})") from error
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, place in dict.fromkeys(found):
        try:
            listeners.append(_listener(family, place))
        except OSError as error:
            if error.errno in _NOT_HERE:
                missing = error  # a host may have an address in a family that this machine lacks
                continue
            for listener in listeners:
                listener.close()
            raise _cannot_listen(place_shown, error) from error
        if address.port == 0:
            break
    if missing is not None and not listeners:
        raise _cannot_listen(place_shown, missing) from missing
    return listeners


def _cannot_listen(place: str, error: OSError) -> WrongSetting:
    remedy = _REMEDIES.get(error.errno or 0, "choose another address")
    return WrongSetting(f"cannot listen on {place}: {error.strerror or error}; {remedy}")


class _Listener(socket.socket):
    """Keeps its family and type: `accept` asks for both each time, and looking them up in enums took a third of it."""

    @cached_property
    def family(self) -> socket.AddressFamily:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().family

    @cached_property
    def type(self) -> socket.SocketKind:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().type


def _listener(family: int, place: tuple[object, ...]) -> socket.socket:
    listener = _Listener(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Of the listener, once: Linux hands both down to what it accepts.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        # Frames are small and written whole: there is nothing to gather (RFC 896).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def shown(listener: socket.socket) -> str:
    """Return where a socket listens, as it stands in a URL."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Acceptor:
    """Accepts from a listening socket without waiting, and outlives what can go wrong with that.

    Out of files it says so once and goes on when there are some again: those who wait are held by the kernel. There is
    no spare descriptor by which to turn them away: the queue is as good a place to wait, and they keep their turn.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.short = False
        """Whether the last attempt found no file for whoever waits; others have to close some first."""

    def accept_now(self, most: int) -> list[tuple[socket.socket, str]]:
        """Accept at most *most* of those who wait; return their sockets, which do not block, and their addresses.

        Raises:
            OSError: nobody can be accepted here any more, ever.
        """
        accepted: list[tuple[socket.socket, str]] = []
        for _ in range(most):
            try:
                sock, place = self.listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _GONE:
                    continue
                if error.errno not in _OUT_OF_FILES:
                    raise
                if not self.short:
                    _LOG.error("cannot accept connections: %s; raise the limit on open files (ulimit -n)", error)
                self.short = True
                return accepted
            sock.setblocking(False)
            accepted.append((sock, place[0]))
        if accepted:
            self.short = False
        return accepted


async def accept_from(
    listener: socket.socket,
    welcome: Callable[[socket.socket, str], None],
    *,
    gate: Gate,
    room: Callable[[], Awaitable[None]],
    kept_waiting: Callable[[], None],
    at_once: int = AT_ONCE,
) -> None:
    """Accept connections until cancelled.

    Args:
        listener: where they come.
        welcome: starts to attend to one.
        gate: says whether our loop can bear more, and is told how late it is.
        room: waits until one more can be attended to.
        kept_waiting: called while those who wait cannot be accepted for a reason of ours.
        at_once: accepts in a row before others get their turn.
    """
    acceptor = Acceptor(listener)
    while True:
        await trio.lowlevel.wait_readable(listener)
        while wait := gate.may_accept(trio.current_time()):
            kept_waiting()
            await _sleep(wait, gate)
        row = 0
        while row < at_once:
            await room()
            accepted = acceptor.accept_now(1)
            if not accepted:
                break
            welcome(*accepted[0])
            row += 1
        if acceptor.short:
            kept_waiting()
            await trio.sleep(_PAUSE)
        elif row >= _STORM:
            await _sleep(0, gate)


async def _sleep(seconds: float, gate: Gate) -> None:
    """Let the others have their turn; how long that takes, beyond what was asked for, is how late our loop is.

    Of that only our own work counts: where other processes take our core, we would get no less late by doing less.
    """
    asleep, worked = trio.current_time(), thread_time()
    await trio.sleep(seconds)
    await trio.lowlevel.checkpoint()  # trio shuffles who is next: in one turn some, in two everybody was before us
    now = trio.current_time()
    gate.woke(min(now - asleep - seconds, thread_time() - worked), now)

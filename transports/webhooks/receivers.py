"""Connections to webhook receivers: where a URL points, how it is reached, and the idle ones that are kept."""

from __future__ import annotations

import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import h11
import trio
from attrs import frozen

from ...engine.errors import StationkeeperError
from .addresses import special

_Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""Family, and what `socket.connect` takes in that family."""

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""

IDLE_SECONDS: Final = 30.0
"""How long an idle connection is kept; servers close theirs after 5 to 75."""
IDLE_PER_ORIGIN: Final = 64
"""As many as attempts may be in flight: where several webhooks lead to one receiver, none has to connect anew."""
IDLE_IN_ALL: Final = 128
"""Bounds what idle connections hold: a descriptor, and about 60 KiB each with TLS."""


class Trouble(StationkeeperError):
    """An attempt cannot succeed; the message says why, for the webhook's owner. It never leaves a sender."""


@frozen
class Target:
    """Where a URL points."""

    origin: Origin
    authority: str
    """The Host header."""
    path: str
    """With the query."""


@lru_cache(maxsize=1024)
def target_of(url: str, *, allow_http: bool) -> Target:
    """Return where a webhook's URL points.

    Raises:
        Trouble: it is no URL that a webhook may have; the message says what would be right.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        name = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError as error:
        raise Trouble(f"the webhook's URL cannot be read: {error}") from None
    if parts.scheme not in ("https", "http") or not name:
        raise Trouble("the webhook's URL must be https://HOST/PATH")
    if parts.scheme == "http" and not allow_http:
        raise Trouble("the webhook's URL is http://, which anybody on the way can read; use https:// or allow http")
    if parts.username is not None or parts.password is not None:
        raise Trouble("the webhook's URL holds a user name or password; receivers verify the signature instead")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (path.isascii() and path.isprintable() and " " not in path):
        raise Trouble("the webhook's URL holds characters that must be percent-encoded")
    bracketed = f"[{name}]" if ":" in name else name
    usual = 443 if parts.scheme == "https" else 80
    authority = bracketed if port in (None, usual) else f"{bracketed}:{port}"
    return Target((parts.scheme, name, port or usual), authority, path)


class Wire:
    """One connection to a receiver, and the state of HTTP on it."""

    def __init__(self, origin: Origin, raw: trio.SocketStream, stream: trio.abc.Stream, head_limit: int) -> None:
        self.origin = origin
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_limit)
        self.idle_since = 0.0
        self._raw = raw

    def next_cycle(self) -> bool:
        """Make ready for one more request; false if the connection can bear none."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        if self.http.trailing_data[0]:
            return False  # more than it was asked for: whatever that is, it is not our next answer
        self.http.start_next_cycle()
        return True

    def is_stale(self) -> bool:
        """Return whether the receiver has closed it, or said something unasked, while it was idle."""
        return self._raw.socket.is_readable()

    def close(self) -> None:
        """Close it at once, without waiting for the receiver."""
        self._raw.socket.close()


class Wires:
    """Idle connections, by where they lead; bounded in number and age."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Wire, None] = OrderedDict()
        self._by_origin: dict[Origin, list[Wire]] = {}
        self._closed = False

    def take(self, origin: Origin) -> Wire | None:
        """Return the idle connection that was used last; none if there is none that still stands."""
        self._close_expired()
        while wires := self._by_origin.get(origin):
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
        wires = self._by_origin.setdefault(wire.origin, [])
        wires.append(wire)
        self._idle[wire] = None
        if len(wires) > IDLE_PER_ORIGIN:
            self._drop(wires[0])
        if len(self._idle) > IDLE_IN_ALL:
            self._drop(next(iter(self._idle)))
        self._close_expired()

    def close(self) -> None:
        """Close all of them, and keep no more."""
        self._closed = True
        for wire in list(self._idle):
            self._drop(wire)

    def __len__(self) -> int:
        return len(self._idle)

    def _close_expired(self) -> None:
        before = trio.current_time() - IDLE_SECONDS
        while self._idle and (oldest := next(iter(self._idle))).idle_since <= before:
            self._drop(oldest)

    def _drop(self, wire: Wire) -> None:
        self._forget(wire)
        wire.close()

    def _forget(self, wire: Wire) -> None:
        del self._idle[wire]
        wires = self._by_origin[wire.origin]
        wires.remove(wire)
        if not wires:
            del self._by_origin[wire.origin]


class Connector:
    """Makes new connections, to public addresses only unless told otherwise.

    The name is resolved here, every address is checked, and the connection goes to an address that was checked: a
    name that points elsewhere the next moment changes nothing.
    """

    def __init__(
        self, *, timeout: float, allow_private_networks: bool, tls: ssl.SSLContext | None, head_limit: int
    ) -> None:
        self._timeout = timeout
        self._allow_private_networks = allow_private_networks
        self._tls = tls
        self._head_limit = head_limit

    async def connect(self, target: Target, enter: Callable[[str], None]) -> Wire:
        """Connect to a receiver; *enter* is told each stage, for messages about time.

        Raises:
            Trouble: it cannot be reached, or must not be.
        """
        scheme, host, port = target.origin
        enter("looking up the receiver")
        addresses = await self._resolve(host, port)
        enter("connecting")
        raw = await self._reach(addresses)
        if scheme == "http":
            return Wire(target.origin, raw, raw, self._head_limit)
        enter("the TLS handshake")
        secured = trio.SSLStream(raw, self._context(), server_hostname=host, https_compatible=True)
        try:
            await secured.do_handshake()
        except BaseException:
            raw.socket.close()
            raise
        return Wire(target.origin, raw, secured, self._head_limit)

    async def _resolve(self, host: str, port: int) -> Sequence[_Address]:
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Trouble(f"the name {host} cannot be resolved: {error.strerror or error}") from None
        addresses = [(family, address) for family, _, _, _, address in found]
        if not self._allow_private_networks:
            for _, address in addresses:
                if why := special(str(address[0])):
                    raise Trouble(f"{host} is at {address[0]}, which is not a public address ({why}): nothing is sent")
        return addresses

    async def _reach(self, addresses: Sequence[_Address]) -> trio.SocketStream:
        trouble = "the name has no address"
        for family, address in addresses:
            trouble = f"{address[0]} port {address[1]} did not accept a connection within {self._timeout:g} s"
            candidate = trio.socket.socket(family, socket.SOCK_STREAM)
            connected = False
            try:
                with trio.move_on_after(self._timeout):
                    await candidate.connect(address)
                    connected = True
                    return trio.SocketStream(candidate)
            except OSError as error:
                trouble = f"cannot connect to {address[0]} port {address[1]}: {_reason(error)}"
            finally:
                if not connected:
                    candidate.close()
        raise Trouble(trouble)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def in_words(error: Exception) -> str:
    """Return what went wrong between us and a receiver, for its owner."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or cause}"
    if isinstance(error, Trouble):
        return str(error)
    if isinstance(error, trio.BrokenResourceError):
        return f"the connection broke: {_reason(cause) if isinstance(cause, OSError) else 'the receiver ended it'}"
    if isinstance(error, h11.RemoteProtocolError):
        return f"its answer is not HTTP: {error}"
    return f"{type(error).__name__}: {error}"


def _reason(error: OSError) -> str:
    """Return the system's words for an error; trio's carry its own around them."""
    return os.strerror(error.errno) if error.errno else str(error)

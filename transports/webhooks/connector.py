"""How a receiver is reached: its name resolved, its addresses checked, a connection made."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import h11
import trio

from .addresses import special
from .encryption import encrypt
from .targets import Target, Trouble
from .wires import Route, Wire

_Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""Family, and what `socket.connect` takes in that family."""


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
            return Wire(Route(target.origin), raw, raw, self._head_limit)
        enter("the TLS handshake")
        secured = await encrypt(raw, self._context(), host)
        return Wire(Route(target.origin), raw, secured, self._head_limit)

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

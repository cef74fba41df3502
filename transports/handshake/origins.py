"""Which web pages may connect: a browser names the page in the header `Origin` (RFC 6455, 10.2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_LIBRARY: Final = "file://"
"""What arduinoWebSockets, the library in many small chargers, sends unless it is told otherwise. A browser says so of a
file on its own disk alone."""


def is_foreign(origin: str, host: str, allowed: Collection[str]) -> bool:
    """Return whether a request comes from a web page that has no business here.

    At home are those that are *allowed*, and a page of our own *host* (on whatever port): some WebSocket libraries in
    chargers write the server's own address there.
    """
    origin = origin.strip().lower().rstrip("/")
    if origin in {"", _LIBRARY.rstrip("/")} or any(origin == one.lower().rstrip("/") for one in allowed):
        return False
    page = origin.rpartition("://")[2].partition("/")[0]
    return _name(page) != _name(host.lower())


def _name(host: str) -> str:
    """Return a host without its port."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host

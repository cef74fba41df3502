"""Where a webhook's URL points, and which URLs one may have."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

from ...engine.errors import StationkeeperError

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""


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

"""Where a webhook's URL points, and which URLs one may have: the same rule at registration and at each attempt."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from string import ascii_uppercase
from typing import Final, TypeAlias

import idna
from attrs import frozen

from ...engine.errors import StationkeeperError
from .connecting.addresses import special

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""

LONGEST_URL: Final = 2_048
USUAL_PORTS: Final = frozenset({443, 8443})
USUAL_HTTP_PORTS: Final = frozenset({80, 8080})
"""Besides, where plain http is allowed. Other ports are where other things listen: databases, mail, consoles."""

_USUAL: Final = {"https": 443, "http": 80}
_URL: Final = re.compile(r"([^:/?#]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]*))?")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
"""Of a name in lower case; with the low line, which the DNS carries and container networks use."""
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME: Final = 253
_LOWER: Final = str.maketrans({letter: letter.lower() for letter in ascii_uppercase})
"""Of ASCII alone: `str.lower` makes a K of the Kelvin sign."""


class Trouble(StationkeeperError):
    """An attempt cannot succeed; the message says why, for the webhook's owner. It never leaves a sender."""


class LocalTrouble(Trouble):
    """An attempt could not be made for a reason on our side: the receiver is not to blame (`Answer.local`)."""


@frozen
class Target:
    """Where a URL points."""

    origin: Origin
    """With the host as it is connected to: a name in ASCII and lower case, or an address as `ipaddress` writes it."""
    authority: str
    """The Host header."""
    path: str
    """With the query."""


def check_url(url: str, *, allow_http: bool, allow_private_networks: bool, ports: frozenset[int] | None) -> None:
    """Say whether a webhook may have this URL, as the sender will see it. What a name leads to it asks each time.

    Args:
        url: as somebody wrote it.
        allow_http: `http://` may be sent to as well.
        allow_private_networks: loopback, private and other special addresses may be sent to as well.
        ports: those that may be sent to. None: 443 and 8443, with *allow_http* 80 and 8080, too, and any with
            *allow_private_networks*.

    Raises:
        ValueError: it may not; the message says what is wrong, and what would be right.
    """
    target = _read(url, allow_http=allow_http)
    scheme, host, port = target.origin
    if scheme == "http" and not allow_http:
        raise ValueError(
            "it is http://, which anybody on the way can read; use https://, or set [webhooks] allow_http = true"
        )
    allowed = _allowed_ports(ports, allow_http=allow_http, allow_private_networks=allow_private_networks)
    if allowed is not None and port not in allowed:
        listed = ", ".join(map(str, sorted(allowed)))
        raise ValueError(f"port {port} is not among those of [webhooks] ports ({listed})")
    if not allow_private_networks and (why := _private(host)):
        raise ValueError(
            f"{host} is not public ({why}); use a public one, or set [webhooks] allow_private_networks = true"
        )


@lru_cache(maxsize=1024)
def target_of(
    url: str, *, allow_http: bool, allow_private_networks: bool, ports: frozenset[int] | None = None
) -> Target:
    """Return where a webhook's URL points, if it may be sent to (`check_url`).

    Raises:
        Trouble: it may not; the message says what would be right.
    """
    try:
        check_url(url, allow_http=allow_http, allow_private_networks=allow_private_networks, ports=ports)
        return _read(url, allow_http=allow_http)
    except ValueError as error:
        raise Trouble(f"the webhook's URL cannot be used: {error}") from None


def _allowed_ports(
    ports: frozenset[int] | None, *, allow_http: bool, allow_private_networks: bool
) -> frozenset[int] | None:
    if ports is not None or allow_private_networks:
        return ports
    return USUAL_PORTS | USUAL_HTTP_PORTS if allow_http else USUAL_PORTS


def _private(host: str) -> str:
    """Return what is private about a host before anybody looks it up."""
    if is_address(host):
        return special(host)
    # RFC 6761, 6.3: whatever a name server says of it.
    return "loopback" if host == "localhost" or host.endswith(".localhost") else ""


def is_address(host: str) -> bool:
    """Return whether a target's host is an address, not a name."""
    return ":" in host or bool(_NUMBER.fullmatch(host.rpartition(".")[2]))


def _read(url: str, *, allow_http: bool) -> Target:
    """Take a URL apart, more strictly than RFC 3986.

    Programs disagree about odd URLs, and what one checks is then not what another connects to. So whatever could be
    read in two ways is refused, and nothing is mended: no white space stripped, no backslash turned, no character
    folded into another.
    """
    if len(url) > LONGEST_URL:
        raise ValueError(f"it has {len(url)} characters; {LONGEST_URL} are allowed")
    parts = _URL.fullmatch(url)
    scheme = parts[1].translate(_LOWER) if parts else ""
    if parts is None or scheme not in _USUAL or not parts[2]:
        wanted = "http://HOST/PATH or https://HOST/PATH" if allow_http else "https://HOST/PATH"
        raise ValueError(f"it must be {wanted}, e.g. https://example.com/hook")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("it holds a space, a backslash or a control character, which must be percent-encoded")
    if parts[5] is not None or "@" in parts[2]:
        raise ValueError("leave out the user name or password, and the fragment; a message is proven by its signature")
    path = (parts[3] or "/") + (parts[4] or "")
    if not path.isascii():
        raise ValueError("its path holds characters that must be percent-encoded")
    host, port = host_and_port(parts[2])
    usual = _USUAL[scheme]
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if port in (None, usual) else f"{bracketed}:{port}"
    return Target((scheme, host, port or usual), authority, path)


def host_and_port(authority: str) -> tuple[str, int | None]:
    """Return the host and the port that stand in a URL; none where the port is left out.

    Raises:
        ValueError: they cannot be read, or could be read in two ways.
    """
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not (parts[1] or parts[2]):
        raise ValueError("its host or its port cannot be read; it must be https://HOST/PATH or https://HOST:PORT/PATH")
    digits = parts[3] or ""
    if digits and (len(digits) > 5 or not 0 < int(digits) < 65_536):
        raise ValueError(f"its port cannot be read: {digits[:20]} is not from 1 to 65535")
    host = _v6(parts[1]) if parts[1] is not None else _v4_or_name(parts[2])
    return host, int(digits) if digits else None


def _v6(text: str) -> str:
    if "%" in text:
        raise ValueError("its address names a zone, which means something on one machine alone; leave it out")
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError(f"its host cannot be read: [{text[:60]}] is no IPv6 address") from None


def _v4_or_name(text: str) -> str:
    name = _in_ascii(text.translate(_LOWER))
    labels = name.split(".")
    if name.endswith("."):
        raise ValueError("its host ends in a full stop; leave that out")
    if _NUMBER.fullmatch(labels[-1]):
        # Octal, hexadecimal, short or whole numbers: resolvers read them as addresses, and not all alike.
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise ValueError(
                f"its host cannot be read: {name[:60]} is no IPv4 address; write one as four decimal numbers without "
                "leading zeros"
            ) from None
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"its host cannot be read: {name[:60]!r} is no name, which has labels of 1 to 63 letters, digits and inner "
            f"hyphens, with full stops between, and {_LONGEST_NAME} characters at most"
        )
    for label in labels:
        if label.startswith("xn--"):
            _decoded(label)
    return name


def _in_ascii(text: str) -> str:
    """Return a name as the DNS knows it (IDNA 2008, RFC 5891), without folding characters into others (UTS 46).

    Folding would make an address of full-width digits, and a full stop of what looks like one.
    """
    if text.isascii():
        return text
    try:
        encoded = [label if label.isascii() else idna.alabel(label).decode("ascii") for label in text.split(".")]
    except UnicodeError as error:
        raise ValueError(f"its host cannot be read: {text[:60]!r} is no name: {error}") from None
    return ".".join(encoded)


def _decoded(label: str) -> str:
    try:
        return idna.ulabel(label)
    except UnicodeError as error:
        raise ValueError(f"its host cannot be read: {label!r} is no name: {error}") from None

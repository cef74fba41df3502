"""The opening handshake as bytes: a request's head, what it claims, and the answers. No sockets, no clock.

The head is read here before the WebSocket library sees it, for what the library cannot do: answer a plain GET with
426, another method with 405 and an oversized head with 431, and turn strangers away for the price of a few bytes. It
accepts less than the library does, so that what passes here is not refused later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from .answers import Refused, not_http

MAX_HEAD: Final = 8192
"""Bytes of a request's head. Chargers send a few hundred; a long password and many headers fit ten times."""

_END: Final = re.compile(rb"\n\r?\n")
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_NAME: Final = re.compile(rb"([A-Za-z-]{1,40})[ \t]*:")


@frozen(kw_only=True)
class Head:
    """A request for a WebSocket, in order as far as HTTP and RFC 6455 (4.2.1) go."""

    target: str
    """The request target as it came, still percent-encoded."""
    key: bytes
    """`Sec-WebSocket-Key`."""
    authorization: bytes | None
    offered: tuple[str, ...]
    """The subprotocols, in the station's order of preference."""


def end_of_head(data: bytes | bytearray) -> int | None:
    """Return where the head ends, behind its empty line; None while more of it has to come."""
    found = _END.search(data)
    return found.end() if found else None


def parse_head(data: bytes) -> Head:
    """Read a whole head.

    Raises:
        Refused: it is no request for a WebSocket: 400, 405 or 426.
    """
    lines = data.replace(b"\r\n", b"\n").split(b"\n")[:-2]
    request = _REQUEST_LINE.fullmatch(lines[0]) if lines else None
    if request is None:
        raise not_http(data)
    method, target, *version = request.groups()
    headers = _fields(lines[1:])
    if method != b"GET":
        raise Refused(405, "wrong_method", "a WebSocket is opened with GET", (("Allow", "GET"),))
    if version != [b"1", b"1"]:
        raise Refused(400, "malformed_request", "a WebSocket needs HTTP/1.1")
    _check_upgrade(headers)
    return Head(
        target=target.decode("ascii"),
        key=headers[b"sec-websocket-key"][-1],
        authorization=headers.get(b"authorization", [None])[0],
        offered=tuple(token.decode("latin-1") for token in _tokens(headers.get(b"sec-websocket-protocol", ()))),
    )


def _fields(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Refused(400, "malformed_request", _no_header(line))
        headers.setdefault(field[1].lower(), []).append(field[2])
    return headers


def _no_header(line: bytes) -> str:
    """Name the field, and nothing of its value: that may be a credential, and a hint is for everybody to read."""
    field = _NAME.match(line)
    return "a line of the head is no HTTP header" if field is None else f"the header {field[1].decode()} is malformed"


def _check_upgrade(headers: dict[bytes, list[bytes]]) -> None:
    def only(name: bytes) -> bytes:
        return headers.get(name, [b""])[-1]

    if only(b"upgrade").lower() != b"websocket" or b"upgrade" not in _tokens([only(b"connection").lower()]):
        hint = "a browser or a health check, not a station? Stations speak WebSocket here (a proxy must pass Upgrade)"
        raise Refused(426, "not_websocket", hint, (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    if only(b"sec-websocket-version") != b"13":
        hint = "the station speaks an old WebSocket draft; RFC 6455 is version 13"
        raise Refused(426, "websocket_version", hint, (("Sec-WebSocket-Version", "13"),))
    if not only(b"sec-websocket-key"):
        raise Refused(400, "malformed_request", "the header Sec-WebSocket-Key is missing")
    if len(headers.get(b"host", ())) != 1 or not _is_host(only(b"host")):
        raise Refused(400, "malformed_request", "there must be one header Host, with a host name or address")
    if b"transfer-encoding" in headers or only(b"content-length") not in {b"", b"0"}:
        raise Refused(400, "malformed_request", "a request for a WebSocket has no body")
    if not all(value.isascii() for value in headers.get(b"sec-websocket-protocol", ())):
        raise Refused(400, "malformed_request", "the header Sec-WebSocket-Protocol must be ASCII")


def _is_host(value: bytes) -> bool:
    try:
        value.decode("idna")  # as wsproto will, without minding that this may raise
    except UnicodeError:
        return False
    return True


def _tokens(values: Sequence[bytes]) -> list[bytes]:
    return [token for value in values for part in value.split(b",") if (token := part.strip())]

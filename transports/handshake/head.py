"""The head of an opening request: what it claims, and what is wrong with it. No sockets, no clock.

It is read here and not by the WebSocket library, which never sees it: one pass of a regular expression costs a tenth
of what a general HTTP parser does, a hint can name what is wrong, and a quirk can be forgiven. What is read is bounded
by `MAX_HEAD`, and what HTTP forbids because two readers may understand it differently (a folded header, white space
before a colon, a bare CR, a header that stands twice) is refused: there may be a proxy in front.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from .answers import Refused, not_http

MAX_HEAD: Final = 8192
"""Bytes of a request's head. Chargers send a few hundred; a long password and many headers fit ten times."""
MAX_HEADERS: Final = 128
"""Headers of a request. Chargers send about eight, browsers thirty."""

_END: Final = re.compile(rb"\n\r?\n")
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)(?=\r?\n)")
_FIELD: Final = re.compile(rb"\n([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)(?=\r?\n)")
"""It gives nothing back that it has taken (`++`, `*+`): else a line of spaces would take the square of its length."""
_NAME: Final = re.compile(rb"([A-Za-z-]{1,40})[ \t]*:")
_NEARLY: Final = re.compile(rb"[A-Z]+ (.*) HTTP/\d")
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64 (RFC 6455, 4.2.1). It guards nothing of ours, but no charger can do without: the servers that
chargers are built against (ws, websockets, gorilla) refuse all others."""
_ONCE: Final = (
    b"host",
    b"authorization",
    b"origin",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"content-length",
)
_TO_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
_NOT_A_STATION: Final = "a browser or a health check, not a station? Stations speak WebSocket here"
_STRIPPED: Final = (
    "it asks for a WebSocket, but without the header Upgrade: a proxy on the way has removed it, and must pass Upgrade "
    "and Connection on"
)
_OLD_HTTP: Final = "a WebSocket needs HTTP/1.1 (nginx in front speaks 1.0 until it is told proxy_http_version 1.1)"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a WebSocket, in order as far as HTTP and RFC 6455 (4.2.1) go."""

    target: str
    """The request target as it came, still percent-encoded."""
    key: bytes
    """`Sec-WebSocket-Key`."""
    authorization: bytes | None
    offered: tuple[str, ...]
    """The subprotocols, in the station's order of preference."""
    extensions: str = ""
    """`Sec-WebSocket-Extensions`."""
    host: str = ""
    origin: str | None = None
    """`Origin`: browsers always send it, stations hardly ever do."""
    lacks_upgrade: bool = False
    """Whether the header `Connection` does not name `Upgrade`: some chargers send `keep-alive`, or nothing."""


def end_of_head(data: bytes | bytearray, seen: int = 0) -> int | None:
    """Return where the head ends, behind its empty line; None while more of it has to come.

    *seen*: so many bytes were looked at before, without an end.
    """
    found = _END.search(data, max(0, seen - 2))
    return found.end() if found else None


def parse_head(data: bytes) -> Head:
    """Read a whole head.

    Raises:
        Refused: it is no request for a WebSocket: 400, 405, 426, or 431 for too many headers.
    """
    request = _REQUEST_LINE.match(data)
    if request is None:
        raise _no_request(data)
    headers = _headers(data)
    method, target, major, minor = request.groups()
    if method != b"GET":
        raise Refused(405, "wrong_method", "a WebSocket is opened with GET", (("Allow", "GET"),))
    if major != b"1" or minor != b"1":
        raise Refused(400, "malformed_request", _OLD_HTTP)
    _check_upgrade(headers)
    offered = headers.get(b"sec-websocket-protocol", b"")
    if not offered.isascii():
        raise Refused(400, "malformed_request", "the header Sec-WebSocket-Protocol must be ASCII")
    origin = headers.get(b"origin")
    return Head(
        target=target.decode("ascii"),
        key=headers[b"sec-websocket-key"],
        authorization=headers.get(b"authorization"),
        offered=tuple(filter(None, map(str.strip, offered.decode("ascii").split(",")))),
        extensions=headers.get(b"sec-websocket-extensions", b"").decode("latin-1"),
        host=headers[b"host"].decode("ascii"),
        origin=None if origin is None else origin.decode("latin-1"),
        lacks_upgrade=not _names(headers, b"connection", b"upgrade"),
    )


def _headers(data: bytes) -> dict[bytes, bytes]:
    """Return the headers by their names in small letters; those that may stand twice are joined (RFC 9110, 5.3)."""
    fields = _FIELD.findall(data)
    if len(fields) != data.count(b"\n") - 2:
        raise Refused(400, "malformed_request", _no_header(data))
    if len(fields) > MAX_HEADERS:
        raise Refused(431, "oversized_head", f"a request has at most {MAX_HEADERS} headers")
    headers = {name.lower(): value.rstrip() for name, value in fields}
    if len(headers) == len(fields):
        return headers
    headers.clear()
    for name, value in fields:
        name, value = name.lower(), value.rstrip()
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            raise Refused(400, "malformed_request", f"the header {name.decode().title()} stands twice")
        else:
            headers[name] += b"," + value
    return headers


def _no_request(data: bytes) -> Refused:
    line = data.partition(b"\n")[0]
    nearly = _NEARLY.match(line)
    if nearly is None:
        return not_http(data)
    what = "in a URL a space is written %20" if b" " in nearly[1] else "its URL must be percent-encoded"
    return Refused(400, "malformed_request", f"the request line is malformed; {what}")


def _no_header(data: bytes) -> str:
    """Name the field, and nothing of its value: that may be a credential, and a hint is for everybody to read."""
    at = data.index(b"\n")
    while _FIELD.match(data, at) is not None:
        at = data.index(b"\n", at + 1)
    if (field := _NAME.match(data, at + 1)) is not None:
        return f"the header {field[1].decode()} is malformed"
    return "a line of the head is no HTTP header"


def _check_upgrade(headers: dict[bytes, bytes]) -> None:
    value = headers.get
    if not _names(headers, b"upgrade", b"websocket"):
        hint = _STRIPPED if b"sec-websocket-key" in headers and b"upgrade" not in headers else _NOT_A_STATION
        raise Refused(426, "not_websocket", hint, _TO_UPGRADE)
    if value(b"sec-websocket-version") != b"13":
        hint = "the station speaks an old WebSocket draft; RFC 6455 is version 13"
        raise Refused(426, "websocket_version", hint, (("Sec-WebSocket-Version", "13"),))
    if _KEY.fullmatch(value(b"sec-websocket-key", b"")) is None:
        raise Refused(400, "malformed_request", "the header Sec-WebSocket-Key must be 16 bytes in base64")
    if (host := value(b"host")) is None or _HOST.fullmatch(host) is None:
        raise Refused(400, "malformed_request", "there must be one header Host, with a host name or address")
    if b"transfer-encoding" in headers or value(b"content-length", b"0") != b"0":
        raise Refused(400, "malformed_request", "a request for a WebSocket has no body")


def no_upgrade() -> Refused:
    """Return the refusal of a request whose `Connection` does not name `Upgrade`."""
    hint = (
        "its header Connection does not say Upgrade; a proxy must pass it on, and a charger that is built so can be "
        "forgiven (lenient: upgrade)"
    )
    return Refused(426, "not_websocket", hint, _TO_UPGRADE)


def _names(headers: dict[bytes, bytes], header: bytes, wanted: bytes) -> bool:
    """Return whether a header that is a list of names, in whatever capitals, has this one among them."""
    named = headers.get(header, b"").lower()
    return named == wanted or wanted in [name.strip() for name in named.split(b",")]

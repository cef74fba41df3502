"""The opening handshake as bytes: a request's head, what it claims, and the answers. No sockets, no clock.

The head is read here before the WebSocket library sees it, for what the library cannot do: answer a plain GET with
426, another method with 405 and an oversized head with 431, and turn strangers away for the price of a few bytes. It
accepts less than the library does, so that what passes here is not refused later.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from .admission import SUBPROTOCOLS, Subprotocol

MAX_HEAD: Final = 8192
"""Bytes of a request's head. Chargers send a few hundred; a long password and many headers fit ten times."""
MAX_ID: Final = 255
"""Bytes of a station id. OCPP 2.x allows 48 characters, 1.6 sets no limit (OCPP-J 2.0.1, 3.1.1; 1.6, 3.1.1)."""

_END: Final = re.compile(rb"\n\r?\n")
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_NAME: Final = re.compile(rb"([A-Za-z-]{1,40})[ \t]*:")
_AUTHORITY: Final = re.compile(r"wss?://[^/?]*|https?://[^/?]*", re.IGNORECASE)
_STATUSES: Final = frozenset(HTTPStatus)
_TLS_HINTS: Final = {
    "HTTP_REQUEST": "the peer speaks plain HTTP on a TLS port: use wss://",
    "UNSUPPORTED_PROTOCOL": "the peer offers only TLS versions that are too old",
    "NO_SHARED_CIPHER": "the peer offers no cipher that fits our certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the station sent no client certificate",
    "CERTIFICATE_VERIFY_FAILED": "the station's certificate is not from an authority that we trust",
    "TLSV1_ALERT_UNKNOWN_CA": "the station does not trust our certificate's authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the station does not accept our certificate",
}
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@frozen
class Refused(Exception):
    """This request is turned away before the upgrade."""

    status: int
    reason: str
    """For programs; see `HandshakeRefused.reason`."""
    hint: str = ""
    """For a technician. It is recorded, never sent."""
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Head:
    """A request for a WebSocket, in order as far as HTTP and RFC 6455 (4.2.1) go."""

    target: str
    """The request target as it came, still percent-encoded."""
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
        raise _not_http(data)
    method, target, *version = request.groups()
    headers = _fields(lines[1:])
    if method != b"GET":
        raise Refused(405, "wrong_method", "a WebSocket is opened with GET", (("Allow", "GET"),))
    if version != [b"1", b"1"]:
        raise Refused(400, "malformed_request", "a WebSocket needs HTTP/1.1")
    _check_upgrade(headers)
    return Head(
        target=target.decode("ascii"),
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


def _not_http(data: bytes) -> Refused:
    if data[:2] == b"\x16\x03":
        return Refused(400, "tls_on_plain_port", "the peer began TLS on a plain port: use ws://, or set up TLS here")
    return Refused(400, "malformed_request", "this is no HTTP request")


def refuse_fragment(data: bytes | bytearray, *, late: bool) -> Refused:
    """Return the refusal for a head that never became whole: its time ran out (*late*), or the peer went away."""
    if data and data[:3] != b"GET"[: len(data)]:
        return _not_http(bytes(data))
    if late:
        return Refused(408, "handshake_timeout", "the request's head did not come in time; is the network very slow?")
    return Refused(400, "incomplete_request", "the peer went away in the middle of its request")


def refuse_tls(error: OSError) -> Refused:
    """Return the refusal for a TLS handshake that failed."""
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    hint = _TLS_HINTS.get(reason, "the TLS handshake failed")
    return Refused(400, "tls_failed", f"{hint} ({reason})")


def station_of(target: str, path: str) -> str:
    """Return the station id of a request target: the one segment behind *path*, percent-decoded (RFC 3986, 2.1).

    A query, doubled slashes and one at the end are passed over, as configuration pages of chargers produce them.

    Raises:
        Refused: there is no id (404), or what is there can be none (400).
    """
    route = _AUTHORITY.sub("", target, count=1).partition("?")[0]
    prefix = path.rstrip("/") + "/"
    if not route.startswith(prefix):
        # What it asked for is not repeated: some put a password there, and a hint is for everybody to read.
        raise Refused(404, "wrong_path", f"stations connect to {prefix}<station id>; this one asked for another path")
    segment = route[len(prefix) :].strip("/")
    if not segment:
        raise Refused(404, "unknown_station", f"the URL ends without a station id; it must be {prefix}<station id>")
    if "/" in segment:
        raise Refused(404, "wrong_path", f"only a station id may follow {prefix}; in it a slash is written %2F")
    if _BROKEN_ESCAPE.search(segment):
        raise Refused(400, "malformed_id", "in a URL % must be written %25")
    try:
        station = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "malformed_id", "the station id is not UTF-8 when percent-decoded") from None
    if not station.isprintable() or len(station.encode()) > MAX_ID:
        raise Refused(404, "unknown_station", f"an id has at most {MAX_ID} bytes, all of them printable")
    return station


def basic_password(authorization: bytes | None, station: str) -> bytes | None:
    """Return the password of a Basic header (RFC 7617) whose user name is *station*, as bytes.

    It is split off at the known id, never decoded: an OCPP 1.6 key is raw bytes (OCPP-J 1.6, 6.2), and either side of
    the colon may hold colons. None without such a header, if it is malformed, or if it names somebody else.
    """
    scheme, _, value = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    value = value.strip()
    try:
        pair = b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error:
        return None
    prefix = station.encode() + b":"
    return pair[len(prefix) :] if pair.startswith(prefix) else None


def choose(offered: Sequence[str], default: Subprotocol | None) -> Subprotocol | None:
    """Return the first offered subprotocol that we speak; if none at all is offered, the station's default."""
    if not offered:
        return default
    return next((known for name in offered for known in SUBPROTOCOLS if known == name), None)


def response(status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Write a refusal's answer. It has no body: nothing is told to strangers, and chargers read none."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Content-Length: 0", "Connection: close", "", ""]).encode("latin-1")


def challenge() -> tuple[tuple[str, str], ...]:
    """Return the header that a 401 must bear (RFC 9110, 11.6.1)."""
    return (("WWW-Authenticate", 'Basic realm="Stationkeeper"'),)


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """Return the header that tells a station when to come again."""
    return (("Retry-After", str(max(1, ceil(seconds)))),)

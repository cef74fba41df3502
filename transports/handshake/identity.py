"""Who a request says it comes from: the station id in its path, and its Basic credentials."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final
from urllib.parse import unquote_to_bytes

from .answers import Refused

MAX_ID: Final = 255
"""Bytes of a station id. OCPP 2.x allows 48 characters, 1.6 sets no limit (OCPP-J 2.0.1, 3.1.1; 1.6, 3.1.1)."""

_AUTHORITY: Final = re.compile(r"wss?://[^/?]*|https?://[^/?]*", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


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


def basic_credentials(authorization: bytes | None, station: str) -> tuple[bytes | None, bytes | None, bool]:
    """Return user name and password of a Basic header (RFC 7617) as bytes, and whether the user name is *station*.

    They are split at the known id, never decoded: an OCPP 1.6 key is raw bytes (OCPP-J 1.6, 6.2), and either side of
    the colon may hold colons. Where another user name stands, they are split at the first colon. None and None without
    such a header, or if it is malformed.
    """
    scheme, _, value = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None, None, False
    value = value.strip()
    try:
        pair = b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error:
        return None, None, False
    id = station.encode()
    if pair.startswith(id + b":"):
        return id, pair[len(id) + 1 :], True
    username, colon, password = pair.partition(b":")
    return (username, password, False) if colon else (None, None, False)

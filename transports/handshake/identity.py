"""Who a request says it comes from: the station id in its path, and its Basic credentials.

OCPP-J puts the id behind the URL that a technician types into a charger, and configuration pages do odd things to that
URL. What has one meaning is understood; the rest is 404, with a hint that repeats nothing of the path: some type a
password into it, and a hint is for everybody to read.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final
from urllib.parse import unquote_to_bytes

from .answers import Refused

MAX_ID: Final = 255
"""Bytes of a station id. OCPP-J 2.x allows a station 48 characters without a colon, 1.6 sets no limit (2.0.1, 3.1.1;
1.6, 3.1.1). Who breaks the rule of 2.x and is registered so is let in: we part user name and password at the id that
we know, so a colon does no harm. Registration for 2.x forbids both."""

_AUTHORITY: Final = re.compile(r"^(?:ws|http)s?://[^/?#]*", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_VERSION: Final = re.compile(
    r"(?:ocpp[-_]?)?v?(?:1[._]?[256]|2[._]?0|2[._]?0[._]?1|2[._]?1)[-_]?j?(?:son)?", re.IGNORECASE
)
"""A segment that names a version: it does not decide which one is spoken (OCPP-J 2.1, p. 9)."""
_CLEAR: Final = 8
"""Segments of which one may still be clear."""
_BESIDE: Final = re.compile(rf"{_VERSION.pattern}|ocpp[-_]?j?|j|json", re.IGNORECASE)
"""A segment that names what is spoken, and no station, when it stands before the id."""


def station_of(target: str, path: str, authorization: bytes | None = None) -> str:
    """Return the station id of a request target: the one segment behind *path*, percent-decoded (RFC 3986, 2.1).

    Passed over are a scheme and host, a query, doubled slashes and those at the end, *path* in other capitals, a
    version or `ocpp` between *path* and id, a version behind it, and the id if it stands twice. *path* may be missing
    where the header *authorization* has the same id for its user name.

    Raises:
        Refused: there is no id (404), or what is there can be none (400).
    """
    prefix = path.rstrip("/") + "/"
    segment = target[len(prefix) :]
    if not target.startswith(prefix) or not segment or "/" in segment or "?" in segment:
        segment = _segment(target, prefix, authorization)
    return _decoded(segment) if "%" in segment else _bounded(segment)


def odd_id(station: str) -> str:
    """Return what is odd about an id that is not registered; nothing if nothing is."""
    if _ESCAPED.search(station):
        return "it seems to be percent-encoded twice: the charger encodes the id itself, so type it in plainly"
    if station != station.strip():
        return "it has white space at its end, or before it: was that typed into the charger?"
    if "\\" in station:
        return "it has a backslash in it: in a URL there are only slashes"
    return ""


def _segment(target: str, prefix: str, authorization: bytes | None) -> str:
    """Return the segment of an odd path that is the id, still percent-encoded."""
    route = _AUTHORITY.sub("", target, count=1).partition("?")[0]
    segments = [segment for segment in route.split("/") if segment]
    wanted = [segment for segment in prefix.split("/") if segment]
    if not route.startswith("/"):
        segments = []
    if segments and [one.lower() for one in segments[: len(wanted)]] == [one.lower() for one in wanted]:
        found = segments[len(wanted) :]
        if not found and route.endswith("/"):
            hint = f"the URL ends without a station id; it must be {prefix}<station id>"
            raise Refused(404, "unknown_station", hint)
        if (segment := _only(found)) is not None:
            return segment
        if found:
            hint = f"only a station id may follow {prefix}; in it a slash is written %2F"
            raise Refused(404, "wrong_path", hint)
    elif (segment := _only(segments)) is not None and _vouched(segment, authorization):
        return segment
    raise Refused(404, "wrong_path", f"stations connect to {prefix}<station id>; {_why(route, prefix)}")


def _only(segments: list[str]) -> str | None:
    """Return the one segment that can be the id, next to such as are none; None if that is not clear."""
    if len(segments) > _CLEAR:
        return None
    while len(segments) > 1 and _BESIDE.fullmatch(segments[0]):
        segments = segments[1:]
    while len(segments) > 1 and _VERSION.fullmatch(segments[-1]):
        segments = segments[:-1]
    return segments[0] if len(set(segments)) == 1 and len(segments) <= 2 else None


def _vouched(segment: str, authorization: bytes | None) -> bool:
    """Return whether the user name of the credentials is the same id."""
    try:
        return basic_credentials(authorization, _decoded(segment))[2]
    except Refused:
        return False


def _why(route: str, prefix: str) -> str:
    if "\\" in route:
        return "in a URL there are only slashes, no backslashes"
    if "%2f" in route.lower():
        return "the slash before the id must not be written %2F"
    if prefix != "/" and route.count("/") < prefix.count("/"):
        return f"this one left {prefix} out"
    return "this one asked for another path"


def _decoded(segment: str) -> str:
    if _BROKEN_ESCAPE.search(segment):
        raise Refused(400, "malformed_id", "in a URL % must be written %25")
    try:
        return _bounded(unquote_to_bytes(segment).decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused(400, "malformed_id", "the station id is not UTF-8 when percent-decoded") from None


def _bounded(station: str) -> str:
    if not station.isprintable() or len(station.encode()) > MAX_ID:
        raise Refused(404, "unknown_station", f"an id has at most {MAX_ID} bytes, all of them printable")
    return station


def basic_credentials(authorization: bytes | None, station: str) -> tuple[bytes | None, bytes | None, bool]:
    """Return user name and password of a Basic header (RFC 7617) as bytes, and whether the user name is *station*.

    They are split at the known id, never decoded: an OCPP 1.6 key is raw bytes (OCPP-J 1.6, 6.2), and either side of
    the colon may hold colons. Where another user name stands, they are split at the first colon. None and None without
    such a header, or if it is malformed.
    """
    if authorization is None:
        return None, None, False
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None, None, False
    value = value.strip()
    try:
        pair = a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except Base64Error:
        return None, None, False
    id = station.encode()
    if pair.startswith(id + b":"):
        return id, pair[len(id) + 1 :], True
    username, colon, password = pair.partition(b":")
    return (username, password, False) if colon else (None, None, False)

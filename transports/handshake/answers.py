"""The answers to those who are not let in, and what they are told of: no sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from math import ceil
from random import random
from typing import Final

from attrs import frozen

from ...engine.stations import Hint

TLS: Final = b"\x16\x03"
"""How a TLS handshake begins (RFC 8446, 5.1)."""
_STATUSES: Final = frozenset(HTTPStatus)
_TLS_HINTS: Final = {
    "HTTP_REQUEST": "the peer speaks plain HTTP on a TLS port: use wss://",
    "WRONG_VERSION_NUMBER": "what came is no TLS: plain WebSocket, or a PROXY header of a proxy that is not trusted?",
    "UNSUPPORTED_PROTOCOL": "the peer offers only TLS versions that are too old",
    "NO_SHARED_CIPHER": "the peer offers no cipher that fits our certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the station sent no client certificate",
    "CERTIFICATE_VERIFY_FAILED": "the station's certificate is not from an authority that we trust",
    "TLSV1_ALERT_UNKNOWN_CA": "the station does not trust our certificate's authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the station does not accept our certificate",
}
_NO_AUTHORITY: Final = {18, 19, 20, 21}
"""What OpenSSL calls X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN,
_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and _UNABLE_TO_VERIFY_LEAF_SIGNATURE."""


@frozen
class Refused(Exception):
    """This request is turned away before the upgrade."""

    status: int
    reason: str
    """For programs; see `HandshakeRefused.reason`."""
    hint: Hint = ""
    """For a technician. It is recorded, never sent."""
    headers: tuple[tuple[str, str], ...] = ()


def not_http(data: bytes) -> Refused:
    if data.startswith(TLS):
        return Refused(400, "tls_on_plain_port", "the peer began TLS on a plain port: use ws://, or set up TLS here")
    return Refused(400, "malformed_request", "this is no HTTP request")


def refuse_fragment(data: bytes | bytearray, *, late: bool) -> Refused:
    """Return the refusal for a head that never became whole: its time ran out (*late*), or the peer went away."""
    if data and data[:3] != b"GET"[: len(data)]:
        return not_http(bytes(data))
    if late:
        return Refused(408, "handshake_timeout", "the request's head did not come in time; is the network very slow?")
    return Refused(400, "incomplete_request", "the peer went away in the middle of its request")


def refuse_tls(error: OSError) -> Refused:
    """Return the refusal for a TLS handshake that failed."""
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    hint = _TLS_HINTS.get(reason, "the TLS handshake failed")
    found = getattr(error, "verify_message", "")
    if found:
        hint = f"the station's certificate is not taken: {found}"
        if getattr(error, "verify_code", 0) in _NO_AUTHORITY:
            hint = f"the station's certificate is not from an authority that we trust: {found}"
    return Refused(400, "tls_failed", f"{hint} ({reason})")


def response(status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Write a refusal's answer. It has no body: nothing is told to strangers, and chargers read none."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Content-Length: 0", "Connection: close", "", ""]).encode("latin-1")


def crowded() -> Refused:
    """Return the refusal for a peer that got nowhere while others waited for its place."""
    hint = "it said nothing, or not all, while others waited to be let in; it should come again"
    return Refused(503, "crowded", hint, retry_after(5))


def challenge() -> tuple[tuple[str, str], ...]:
    """Return the header that a 401 must bear (RFC 9110, 11.6.1)."""
    return (("WWW-Authenticate", 'Basic realm="Stationkeeper"'),)


def retry_after(
    seconds: float, *, stray: float = 1.0, chance: Callable[[], float] = random
) -> tuple[tuple[str, str], ...]:
    """Return the header that tells a station when to come again: after *seconds*, or up to *stray* times as many more,
    so that those who were turned away in one moment do not come again in one."""
    return (("Retry-After", str(max(1, ceil(seconds + seconds * stray * chance())))),)

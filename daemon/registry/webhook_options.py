"""What a webhook's options may be: each check raises `Invalid`, which says what was wrong and what would be right.

Values of headers, certificates and keys are secrets: no message repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates

from ...transports.webhooks.connecting import identities
from ..meant import meant
from .errors import Invalid

EVENT_TYPES: Final = (
    "chargestation.online",
    "chargestation.offline",
    "chargestation.offline.confirmed",
    "webhook.disabled",
)
"""What a webhook may ask for."""
PING: Final = "webhook.ping"
SIGNATURES: Final = ("v1", "v1a")
"""Schemes of Standard Webhooks 1.0.0: HMAC-SHA256, and Ed25519."""
MODES: Final = ("every", "latest")
FORMATS: Final = ("standard", "cloudevents")

OURS: Final = frozenset(
    {
        "host", "user-agent", "expect",
        # Hop-by-hop (RFC 9110, 7.6.1): they are of one connection, and not a webhook's to choose.
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that a webhook cannot have of its own, in small letters."""
OUR_PREFIXES: Final = ("content-", "webhook-", "stationkeeper-")

_MOST_HEADERS: Final = 20
_LONGEST_NAME: Final = 100
_LONGEST_VALUE: Final = 4_096
"""Characters: a JWT with many claims fits, and most servers take 8 KiB for the whole head."""
_MOST_PATTERNS: Final = 1_000
"""Each is held against each flip."""
_LONGEST_PATTERN: Final = 255
_MOST_CONCURRENT: Final = 1_000
_SLOWEST: Final = 0.001
_FASTEST: Final = 100_000.0
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""
_CLASS: Final = re.compile(r"\[!?+\]?+[^\]]*\]")
"""A set of characters in a pattern, as `fnmatch` reads it."""
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
"""RFC 9110, 5.5, without what is not ASCII."""


def check_event_types(types: Sequence[str]) -> None:
    """At least one, and each known."""
    if not types:
        raise Invalid("events", f"name at least one of {', '.join(EVENT_TYPES)}")
    for type in types:
        if type == PING:
            raise Invalid("events", f"{PING!r} is sent whenever a test is asked for, and takes no wish; leave it out")
        if type not in EVENT_TYPES:
            raise Invalid("events", f"{type!r} is unknown; {meant(str(type), EVENT_TYPES)}")


def check_patterns(field: str, patterns: Sequence[str]) -> None:
    """At least one, of characters that can be seen."""
    if not patterns or not all(pattern and pattern.isprintable() for pattern in patterns):
        what, example = ("sites", '"Harbour*"') if field.startswith("site") else ("station ids", '"CP-1*"')
        raise Invalid(field, f'name at least one pattern of {what}, e.g. "*" or {example}')
    if len(patterns) > _MOST_PATTERNS or any(len(pattern) > _LONGEST_PATTERN for pattern in patterns):
        raise Invalid(field, f"up to {_MOST_PATTERNS} patterns of up to {_LONGEST_PATTERN} characters are allowed")
    for pattern in patterns:
        if "[" in _CLASS.sub("", pattern):
            raise Invalid(field, f"{pattern!r} opens a bracket and does not close it; write [[] for a bracket itself")


def check_word(field: str, word: str, known: Sequence[str]) -> None:
    """One of the words that are known."""
    if word not in known:
        raise Invalid(field, f"{word!r} is wrong; {' or '.join(known)}")


def check_signatures(signatures: Sequence[str]) -> None:
    """At least one scheme: nothing goes out unsigned."""
    for scheme in signatures:
        if scheme not in SIGNATURES:
            raise Invalid("signatures", f"{scheme!r} is unknown; v1 (HMAC-SHA256) and v1a (Ed25519) are known")
    if not signatures or len(set(signatures)) < len(signatures):
        raise Invalid("signatures", 'name v1 (HMAC-SHA256), v1a (Ed25519), or both, each once, e.g. ["v1"]')


def check_headers(headers: Mapping[str, str | None]) -> None:
    """Names that a webhook may have, each once whatever its capitals, with values that fit on a line."""
    if len(headers) > _MOST_HEADERS:
        raise Invalid("headers", f"{len(headers)} are too many; up to {_MOST_HEADERS} are allowed")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header_name(name)
        if name.lower() in seen:
            raise Invalid("headers", f"{name} stands twice; the capitals of a header's name do not count")
        seen.add(name.lower())
        if value is None:
            continue
        fault = _fault_of(value)
        if fault:
            raise Invalid(f"headers.{name}", fault)


def _fault_of(value: str) -> str:
    """Return what is wrong with a header's value, without a word of it; empty if nothing is."""
    if not value:
        return "its value is empty; give one, or take the header away with null"
    if len(value) > _LONGEST_VALUE:
        return f"its value has {len(value)} characters; up to {_LONGEST_VALUE} are allowed"
    if "\n" in value or "\r" in value:
        return "its value has a line break; write it on one line"
    if value != value.strip(" "):
        return "its value has a space at an end; take that away"
    if not _VALUE.fullmatch(value):
        return "its value has a character that no header can have; characters of ASCII that can be seen are allowed"
    return ""


def _check_header_name(name: str) -> None:
    if len(name) > _LONGEST_NAME or not _TOKEN.fullmatch(name):
        raise Invalid("headers", f"{name[:_LONGEST_NAME]!r} is no header's name; letters, digits and hyphens")
    if name.lower() in OURS or name.lower().startswith(OUR_PREFIXES):
        raise Invalid("headers", f"{name} is set by Stationkeeper, or by the connection; choose another name")


def check_rate(rate: float | None) -> None:
    """Messages a second, if there is a limit."""
    if rate is not None and not (isfinite(rate) and _SLOWEST <= rate <= _FASTEST):
        raise Invalid(
            "rate",
            f"{rate:g} is wrong; {_SLOWEST:g} to {_FASTEST:g} messages a second; without a rate there is no limit",
        )


def check_concurrency(concurrency: int | None) -> None:
    """Attempts in flight, if there is a limit of its own."""
    if concurrency is not None and not 1 <= concurrency <= _MOST_CONCURRENT:
        raise Invalid(
            "concurrency",
            f"{str(concurrency)[:20]} is wrong; 1 to {_MOST_CONCURRENT} attempts, or leave it out",
        )


def check_identity(pem: str, *, expired: bool = False) -> None:
    """A certificate, with those between it and its authority, and its key, in one text. *expired*: it may be over."""
    _check_pem("client_certificate", pem, identities.check_identity, expired=expired)


def check_authorities(pem: str, *, expired: bool = False) -> None:
    """Certificates of authorities, and nothing secret beside them. *expired*: they may be over."""
    _check_pem("authorities", pem, identities.check_authorities, expired=expired)


def _check_pem(field: str, pem: str, check: Callable[..., str], *, expired: bool) -> None:
    begun = max((one.not_valid_before_utc for one in read_certificates(pem)), default=None) if expired else None
    try:
        check(pem, now=begun)
    except ValueError as error:
        raise Invalid(field, str(error)) from None


def read_certificates(pem: str) -> list[Certificate]:
    """Return the certificates of a text in PEM, in its order; none where it holds none."""
    try:
        return load_pem_x509_certificates(pem.encode(errors="replace"))
    except ValueError:
        return []

"""Whom to believe: signatures of Standard Webhooks 1.0.0, `v1` (HMAC-SHA256) and `v1a` (Ed25519).

What is signed is `id.timestamp.body`, the exact bytes that came: check before parsing. Receivers that stand behind a
framework must hand on the raw body, not one that was parsed and written again.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from hmac import compare_digest, digest
from typing import Any, Final, Protocol

from .messages import BadMessage, Message, read_body

TOLERANCE: Final = 300.0
"""Seconds that a message's timestamp may differ from our clock, either way; what the specification's libraries use."""
_SIGNATURES: Final = 16
"""On one message. Two during a rotation are usual; thousands would be an attack on our time."""
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Headers(Protocol):
    """The headers of a request, as any framework has them: something with items."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Return names and values, as text or as bytes."""
        ...


class Verifier:
    """Believes what was signed with one of some secrets, of late."""

    def __init__(self, *keys: str, tolerance: float = TOLERANCE, now: Callable[[], float] = time.time) -> None:
        """Believe these: signing secrets (`whsec_...`), public keys (`whpk_...`), or both; two while one is rotated.

        *tolerance*: seconds that a message may be old, or ahead. *now* tells seconds since 1970.

        Raises:
            ValueError: there is no key, or one is none.
            TypeError: one is no text; several are given one by one, `Verifier(*keys)`.
        """
        if not keys:
            raise ValueError("give at least one secret (whsec_...) or public key (whpk_...)")
        for key in keys:
            if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"a key is a text (whsec_... or whpk_...), not {type(key).__name__}; "
                    "several are given one by one: Verifier(first, second)"
                )
        self._secrets = [_decoded(key, "whsec_") for key in keys if not key.startswith("whpk_")]
        self._signed_by = [_public(key) for key in keys if key.startswith("whpk_")]
        self._tolerance = tolerance
        self._now = now

    def read(self, headers: Headers, body: bytes) -> Message:
        """Return what a genuine message says.

        Raises:
            BadMessage: it is not genuine, too old, or not what Stationkeeper writes.
        """
        return read_body(self.verify(headers, body), bytes(body))

    def verify(self, headers: Headers, body: bytes) -> str:
        """Return the id of a message that is genuine, whatever it says.

        *headers*: any mapping; the case of names does not matter. *body*: the exact bytes that came.

        Raises:
            BadMessage: it is not genuine, or too old.
        """
        id, timestamp, signatures = (header(headers, name) for name in _HEADERS)
        if "." in id:
            raise BadMessage("webhook-id holds a full stop, which makes its signature ambiguous")
        if not timestamp.isdigit() or len(timestamp) > 12:
            raise BadMessage("webhook-timestamp is no number of seconds")
        if not isinstance(body, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadMessage("the body is not bytes: hand on what came, before it is parsed")
        if not self._signed(f"{id}.{timestamp}.".encode() + body, signatures.split(" ")):
            raise BadMessage("the signature was made with none of the keys that are believed here")
        age = self._now() - int(timestamp)
        # Written so that a tolerance or a clock that is no number believes nothing.
        if not abs(age) <= self._tolerance:
            raise BadMessage(f"it was sent {abs(age):.0f} s {'ago' if age > 0 else 'ahead of our clock'}")
        return id

    def _signed(self, content: bytes, signatures: list[str]) -> bool:
        if len(signatures) > _SIGNATURES:
            raise BadMessage(f"webhook-signature holds more than {_SIGNATURES} signatures")
        # All are tried, whichever fits, so that the time taken tells nothing. They are compared as they are written:
        # a base64 text has others beside it that decode to the same bytes.
        expected = [b64encode(digest(secret, content, "sha256")) for secret in self._secrets]
        fits = False
        for version, _, text in (signature.partition(",") for signature in signatures):
            if version == "v1":
                for one in expected:
                    fits |= compare_digest(text.encode(), one)
            elif version == "v1a":
                for signed in self._signed_by:
                    fits |= signed(content, text)
        return fits


def header(headers: Headers, name: str) -> str:
    """Return a header by its name in lower case.

    Raises:
        BadMessage: it is missing, there twice, empty, or not ASCII.
    """
    found = optional_header(headers, name)
    if found is None:
        raise BadMessage(f"there is no header {name}")
    return found


def optional_header(headers: Headers, name: str) -> str | None:
    """Return a header by its name in lower case; none if it is missing.

    Raises:
        BadMessage: it is there twice, empty, or not ASCII.
    """
    try:
        found = [value for key, value in headers.items() if _as_text(key).lower() == name]
    except (AttributeError, TypeError, ValueError):
        raise BadMessage("the headers are no mapping of names to values") from None
    if not found:
        return None
    if len(found) > 1:
        raise BadMessage(f"there are {len(found)} headers {name}")
    text = _as_text(found[0])
    if found[0] in ("", b""):
        raise BadMessage(f"{name} is empty")
    if not text or not text.isascii():
        raise BadMessage(f"{name} is not ASCII text")
    return text


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _decoded(key: str, prefix: str) -> bytes:
    if not key.startswith(prefix):
        raise ValueError(f"a key begins with whsec_ or whpk_; this one begins with {key[:4]!r}")
    try:
        value = b64decode(key.removeprefix(prefix), validate=True)
    except (Base64Error, ValueError):
        value = b""
    if not value:
        raise ValueError(f"what follows {prefix} is no base64")
    return value


def _public(key: str) -> Callable[[bytes, str], bool]:
    """Return a function that tells whether a text is the signature of some bytes by a public key."""
    # Imported here, so that those who use secrets alone do not wait for it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(_decoded(key, "whpk_"))

    def signed(content: bytes, text: str) -> bool:
        try:
            signature = b64decode(text, validate=True)
            public.verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return b64encode(signature).decode() == text

    return signed

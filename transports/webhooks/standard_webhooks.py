"""Signatures of Standard Webhooks 1.0.0: what a receiver verifies with any of the specification's libraries."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hmac import digest


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """Sign one attempt with one secret: `v1`, HMAC-SHA256 over `id.timestamp.body`.

    The secret is raw bytes: what stands behind `whsec_`, decoded.
    """
    signed = f"{message}.{timestamp}.".encode("ascii") + body
    return "v1," + b64encode(digest(secret, signed, "sha256")).decode("ascii")


def signed_headers(secrets: Sequence[bytes], message: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """Return the three headers of an attempt, with a signature for each secret; a rotation has two.

    Raises:
        ValueError: there is no secret, or an id that holds a full stop, which the specification forbids.
    """
    if not secrets:
        raise ValueError("an attempt without a signing secret would go out unsigned")
    if "." in message:
        raise ValueError(f"the message id {message!r} holds a full stop, which would make its signature ambiguous")
    return [
        ("webhook-id", message),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signature(secret, message, timestamp, body) for secret in secrets)),
    ]

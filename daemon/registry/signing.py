"""What messages are signed with: secrets of `v1` and keys of `v1a`, as Standard Webhooks 1.0.0 writes them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from secrets import token_bytes
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .errors import Invalid

SECRET_PREFIX: Final = "whsec_"
PUBLIC_PREFIX: Final = "whpk_"
_SECRET_BYTES: Final = 32
_SHORTEST_SECRET: Final = 24
_LONGEST_SECRET: Final = 64
"""Bytes (Standard Webhooks 1.0.0, "Signature scheme")."""


def draw_secret() -> bytes:
    """Draw a signing secret; its 32 bytes may as well be the seed of an Ed25519 key."""
    return token_bytes(_SECRET_BYTES)


def write_secret(secret: bytes) -> str:
    """Write a signing secret as Standard Webhooks does."""
    return SECRET_PREFIX + b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Read a signing secret.

    Raises:
        Invalid: it is none of Standard Webhooks; the message does not repeat it.
    """
    try:
        secret = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (Base64Error, ValueError):
        secret = b""
    if not text.startswith(SECRET_PREFIX) or not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
        raise Invalid("secret", f"wanted is whsec_ and {_SHORTEST_SECRET} to {_LONGEST_SECRET} bytes in base64")
    return secret


def public_key(seed: bytes) -> str:
    """Return `whpk_...`, with which receivers verify what is signed with the key of a seed."""
    return (
        PUBLIC_PREFIX + b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
    )

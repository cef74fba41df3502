"""Signatures of Standard Webhooks 1.0.0: what a receiver verifies with any of the specification's libraries.

Two schemes: `v1`, HMAC-SHA256 with a secret that both sides know, and `v1a`, Ed25519 (RFC 8032) with a key of ours of
which the receiver knows the public half. Both sign `id.timestamp.body`. Whoever verifies is content with one signature
that it knows, so that all of them can stand in one header: those of a rotation, and those of both schemes.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hmac import HMAC
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES: Final = 32
"""Of an Ed25519 key: what stands behind `whsk_`, decoded."""
_KEYS: Final = 256
"""Signing keys that are kept ready: to make one of its seed costs as much as a signature."""


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """Sign one attempt with one secret: `v1`, HMAC-SHA256 over `id.timestamp.body`.

    The secret is raw bytes: what stands behind `whsec_`, decoded.
    """
    return _symmetric(secret, _signed(message, timestamp, body)).decode("ascii")


def signatures(secrets: Sequence[bytes], keys: Sequence[bytes], message: str, timestamp: int, body: bytes) -> bytes:
    """Return the value of `webhook-signature`: a signature by each secret and by each key, with spaces between.

    Args:
        secrets: raw signing secrets, newest first; a rotation has two.
        keys: seeds of Ed25519 keys, newest first; likewise.
        message: the message's id, in ASCII.
        timestamp: whole seconds since 1970.
        body: the bytes that are sent.

    Raises:
        ValueError: there is no secret and no key, a key is no seed, or the id holds a full stop, which the
            specification forbids.
    """
    if not secrets and not keys:
        raise ValueError("an attempt without a signing secret would go out unsigned")
    signed = _signed(message, timestamp, body)
    made = [_symmetric(secret, signed) for secret in secrets]
    made += [b"v1a," + b2a_base64(_key_of(seed).sign(signed), newline=False) for seed in keys]
    return b" ".join(made)


def signed_headers(
    secrets: Sequence[bytes], message: str, timestamp: int, body: bytes, keys: Sequence[bytes] = ()
) -> list[tuple[str, str]]:
    """Return the three headers of an attempt, with what `signatures` makes among them, and raises."""
    return [
        ("webhook-id", message),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signatures(secrets, keys, message, timestamp, body).decode("ascii")),
    ]


def public_key(seed: bytes) -> str:
    """Return the half of a key that a receiver verifies with: `whpk_` and base64, as the specification writes it.

    Raises:
        ValueError: it is no seed.
    """
    return "whpk_" + b64encode(_key_of(seed).public_key().public_bytes_raw()).decode("ascii")


def _signed(message: str, timestamp: int, body: bytes) -> bytes:
    if "." in message:
        raise ValueError(f"the message id {message!r} holds a full stop, which would make its signature ambiguous")
    return b"%b.%d.%b" % (message.encode("ascii"), timestamp, body)


def _symmetric(secret: bytes, signed: bytes) -> bytes:
    mac = _mac_of(secret).copy()
    mac.update(signed)
    return b"v1," + b2a_base64(mac.digest(), newline=False)


@lru_cache(maxsize=_KEYS)
def _mac_of(secret: bytes) -> HMAC:
    # A copy of one that has its key costs less than a new one, and, for short bodies, gives no other thread its turn.
    return HMAC(secret, digestmod="sha256")


@lru_cache(maxsize=_KEYS)
def _key_of(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"the seed of an Ed25519 key has {SEED_BYTES} bytes, not {len(seed)}")
    return Ed25519PrivateKey.from_private_bytes(seed)

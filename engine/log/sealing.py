"""Secrets at rest: what stands in a secrets file is sealed under a key that does not stand there.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits for each value. The id of the log and the id of the secret
are authenticated along: a value that was moved to another id, or to another log's file, does not open. A value as it
is stored:

    1 byte     the form of what follows: 1
    12 bytes   nonce
    the rest   ciphertext, then 16 bytes of tag
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import LogDamaged, WrongSetting

KEY_SIZE: Final = 32
"""Bytes."""
_FORM: Final = b"\x01"
_NONCE: Final = 12
_TAG: Final = 16


class SecretsKey:
    """The key that secrets stand under, and in words where it comes from. It never shows itself."""

    def __init__(self, key: bytes, source: str = "the key that was given") -> None:
        """Take 32 random bytes.

        Raises:
            WrongSetting: they are not 32.
        """
        if len(key) != KEY_SIZE:
            raise WrongSetting(f"{source} holds {len(key)} bytes; {_REMEDY}")
        self.key = key
        self.source = source
        self.id = sha256(b"stationkeeper secrets key\0" + key).hexdigest()[:16]
        """Tells keys apart, and nothing else about them; it stands in the file that the key opens."""

    @classmethod
    def parse(cls, text: str, source: str) -> SecretsKey:
        """Read a key as base64.

        Raises:
            WrongSetting: it is none; the message does not show it.
        """
        try:
            key = b64decode(text.strip(), validate=True)
        except ValueError:
            raise WrongSetting(f"{source} holds no base64; {_REMEDY}") from None
        return cls(key, source)

    @classmethod
    def draw(cls, source: str = "the key that was drawn") -> SecretsKey:
        """Draw a new key."""
        return cls(os.urandom(KEY_SIZE), source)

    def text(self) -> str:
        """Write the key as base64."""
        return b64encode(self.key).decode()

    def __repr__(self) -> str:
        return f"<SecretsKey {self.id}>"


class Seal:
    """What seals the secrets of one log, and opens them."""

    def __init__(self, key: SecretsKey, log_id: str) -> None:
        self.key = key
        self.log_id = log_id
        self._cipher = AESGCM(key.key)
        framed = log_id.encode()
        self._bound = b"stationkeeper secret\0" + len(framed).to_bytes(4) + framed

    def close(self, id: str, secret: bytes) -> bytes:
        """Return a secret as it is stored under an id."""
        nonce = os.urandom(_NONCE)
        return _FORM + nonce + self._cipher.encrypt(nonce, secret, self._bound + id.encode())

    def open(self, id: str, stored: object) -> bytes:
        """Return the secret that is stored under an id.

        Raises:
            LogDamaged: it is not what was stored there; the message names the id.
        """
        if isinstance(stored, bytes) and stored[:1] == _FORM and len(stored) > _NONCE + _TAG:
            nonce, sealed = stored[1 : 1 + _NONCE], stored[1 + _NONCE :]
            try:
                return self._cipher.decrypt(nonce, sealed, self._bound + id.encode())
            except InvalidTag:
                pass
        raise LogDamaged(f"the secret {id!r} is damaged, or was changed or moved")


_REMEDY: Final = (
    f"a secrets key is {KEY_SIZE} random bytes, written as base64 (openssl rand -base64 {KEY_SIZE} draws one)"
)

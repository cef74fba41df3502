"""Signed notes (c2sp.org/signed-note), with Ed25519 keys: a text, and below it who vouches for it.

    <text, in lines>

    — <name of the key> <base64 of 4 bytes that name the key, and the signature>

A key's id is SHA-256(name || LF || 0x01 || public key), its first four bytes. Other people's signatures on the same
note, such as witnesses', are let be.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519: Final = b"\x01"
_SEED: Final = 32
"""Bytes of a private key, and of a public one."""


@frozen
class VerifyingKey:
    """The public half of a key, written `<name>+<id in hex>+<base64 of the algorithm and the key>`."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.key).decode()}"

    @staticmethod
    def parse(text: str) -> VerifyingKey:
        """Read a key as `str` writes it.

        Raises:
            ValueError: it is none, or not an Ed25519 one.
        """
        # The base64 may hold a plus of its own.
        name, id, key = [*text.strip().split("+", 2), "", ""][:3]
        try:
            data = b64decode(key, validate=True)
        except ValueError:
            data = b""
        if len(data) != _SEED + 1 or data[:1] != _ED25519:
            raise ValueError(f"{text!r} is no Ed25519 key; it looks like name+0123abcd+base64")
        found = VerifyingKey(name, data[1:])
        if found.id.hex() != id:
            raise ValueError(f"{text!r} is mistyped: its id would be {found.id.hex()}")
        return found

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Return whether this key made a signature of a text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A key that vouches for notes."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyingKey(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> bytes:
        """Return a text, which ends with a line feed, as a note signed by this key."""
        signature = b64encode(self.public.id + self._key.sign(text)).decode()
        return text + f"\n\N{EM DASH} {self.public.name} {signature}\n".encode()


def text_of(note: bytes) -> bytes:
    """Return the text of a note, whoever signed it.

    Raises:
        ValueError: it is no signed note.
    """
    text, blank, signatures = note.rpartition(b"\n\n")
    if not blank or not signatures.startswith("\N{EM DASH} ".encode()) or not signatures.endswith(b"\n"):
        raise ValueError("this is no signed note")
    return text + b"\n"


def signer_of(note: bytes, keys: Iterable[VerifyingKey]) -> VerifyingKey | None:
    """Return the first of some keys by which a note is signed; none if it is signed by none of them.

    Raises:
        ValueError: it is no signed note, or a signature in the name of one of the keys is false.
    """
    text = text_of(note)
    known = {(key.name, key.id): key for key in keys}
    for line in note[len(text) + 1 :].decode(errors="replace").splitlines():
        _, _, named = line.partition("\N{EM DASH} ")
        name, _, encoded = named.partition(" ")
        try:
            data = b64decode(encoded, validate=True)
        except ValueError:
            continue  # a signature of a kind that we do not know
        key = known.get((name, data[:4]))
        if key is not None:
            if not key.signed(text, data[4:]):
                raise ValueError(f"the signature in the name of {name} is false")
            return key
    return None

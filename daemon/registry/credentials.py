"""Station passwords: how they are kept, and how one that is presented is compared.

What is kept is a digest under the credential's random id, in the secrets file. OCPP keys are machine-made, 16 bytes
or more of randomness, so nothing is gained by stretching them: they are kept as HMAC-SHA256 under a pepper, which
costs 3 us to compare where a reconnecting fleet would pay 50 ms each for scrypt. A password that a human chose is
stretched once, and remembered in memory by a keyed hash of what was presented: right ones, so that a reconnect costs
no more than a key, and wrong ones, so that a misconfigured station cannot keep the threads busy.

A password is bytes. OCPP 1.6 keys are 20 bytes, shown to people as 40 hex digits, and stations send either of the two
(OCPP-J 1.6, 6.2 wants the bytes), so what is presented counts as itself and as the bytes that it spells in hex.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import scrypt
from secrets import token_bytes
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

import trio

from .vault import SecretStore, Vault

Password: TypeAlias = str | bytes
"""Text as a human or a file gives it; or the bytes of a machine-made key."""

KEY_BYTES: Final = 20
"""What we draw: the length of OCPP 1.6's AuthorizationKey; its 40 hex digits are a legal password of 2.0.1 and 2.1."""
SHORTEST: Final = 8
LONGEST: Final = 255
"""Bytes. OCPP asks for 16 to 40 characters (1.6: 20 bytes at most); fleets that are taken over have others."""

SHORTEST_KEY: Final = 16
"""Bytes from which a key counts as random enough to be kept unstretched (security whitepaper, A00.FR.205)."""
_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1}
"""16 MiB and about 50 ms: 21 a second and core."""
_STRETCHING: Final = 2
"""Threads that stretch at once: more would take the cores from the event loop."""
_WAITING: Final = 200
"""Passwords that may wait to be stretched: 5 s of work for two cores, half of a handshake's time."""
_PEPPER_ID: Final = "pepper"


class Crowded(Exception):
    """Too many passwords wait to be stretched; ask again later."""


def draw_key() -> bytes:
    """Draw a key for a station."""
    return token_bytes(KEY_BYTES)


def key_in_hex(text: str) -> bytes | None:
    """Return the bytes of a machine-made key that is written as hex digits; none where the text is something else."""
    try:
        key = bytes.fromhex(text) if text.isascii() and " " not in text else b""
    except ValueError:
        return None
    return key if len(key) >= SHORTEST_KEY else None


class Credentials:
    """Stored digests of passwords. Ids are random and never used again, so that a digest never changes under one."""

    def __init__(self, secrets: SecretStore) -> None:
        self._vault = Vault(secrets)
        self._boot_key = token_bytes(32)
        self._drawing = trio.Lock()
        self._kept: dict[str, bytes] = {}
        self._remembered: dict[str, tuple[bytes, bool]] = {}
        self._limiter = trio.CapacityLimiter(_STRETCHING)

    async def keep(self, id: str, password: Password) -> None:
        """Keep a password's digest under a new id; durable on return."""
        key = password if isinstance(password, bytes) else key_in_hex(password)
        if key is not None and len(key) >= SHORTEST_KEY:
            digest = b"hmac:" + self._keyed(await self._make_pepper(), id, key)
        else:
            plain = password if isinstance(password, bytes) else password.encode()
            salt = token_bytes(16)
            digest = b"scrypt:" + salt + await self._stretch(await self._make_pepper(), salt, plain)
        await self._vault.keep(id, digest)

    async def forget(self, ids: Iterable[str]) -> None:
        """Forget credentials, for good."""
        forgotten = list(ids)
        for id in forgotten:
            self._kept.pop(id, None)
            self._remembered.pop(id, None)
        await self._vault.forget(forgotten)

    async def forget_left(self) -> None:
        """Forget, for good, what could not be forgotten before."""
        await self._vault.forget_left()

    def known(self, id: str, presented: bytes) -> bool | None:
        """Return whether what a station presented is the password kept under an id; None: it has to be stretched."""
        kept, pepper = self._read(id), self._read(_PEPPER_ID)
        if kept is None or pepper is None or len(presented) > 2 * LONGEST:
            return False
        if kept.startswith(b"hmac:"):
            return self._matches_key(pepper, id, kept.removeprefix(b"hmac:"), presented)
        return self._recall(id, self.mark(id, presented))

    async def matches(self, id: str, presented: bytes) -> bool:
        """Return whether what a station presented is the password kept under an id, stretched if it has to be.

        Raises:
            Crowded: so many wait to be stretched that it would come too late.
        """
        known = self.known(id, presented)
        if known is not None:
            return known
        pepper, kept = self._read(_PEPPER_ID), self._read(id)
        assert pepper is not None
        assert kept is not None
        right = await self._compare(pepper, kept.removeprefix(b"scrypt:"), presented)
        self._remember(id, self.mark(id, presented), right)
        return right

    def mark(self, name: str, presented: bytes) -> bytes:
        """Return what tells whether the same is presented again, and nothing else; good until the next start."""
        return hmac.digest(self._boot_key, name.encode() + b"\0" + presented, "sha256")

    def likeness(self, ids: Iterable[str], presented: bytes) -> str:
        """Return, in words, how a wrong password differs from a right one; empty where nothing is found.

        It is told of keys, and of passwords that were right since the start: for others it would be too dear.
        """
        tried = [(words, other) for words, other in _near(presented) if other != presented]
        return next((words for id in ids for words, other in tried if self.known(id, other)), "")

    def _matches_key(self, pepper: bytes, id: str, digest: bytes, presented: bytes) -> bool:
        # That it ends with the right reading tells no more than the answer does.
        for candidate in _readings(presented):
            if hmac.compare_digest(self._keyed(pepper, id, candidate), digest):
                return True
        return False

    async def _compare(self, pepper: bytes, kept: bytes, presented: bytes) -> bool:
        if self._limiter.statistics().tasks_waiting >= _WAITING:
            raise Crowded
        salt, digest = kept[:16], kept[16:]
        right = False
        for candidate in _readings(presented):
            right |= hmac.compare_digest(await self._stretch(pepper, salt, candidate), digest)
        return right

    def _recall(self, id: str, mark: bytes) -> bool | None:
        """Return whether what bears this mark is right; none if that is not remembered."""
        remembered = self._remembered.get(id)
        return remembered[1] if remembered is not None and hmac.compare_digest(remembered[0], mark) else None

    def _remember(self, id: str, mark: bytes, right: bool) -> None:
        # A wrong password never pushes out the right one: a stranger could otherwise make each reconnect dear.
        remembered = self._remembered.get(id)
        if right or remembered is None or not remembered[1]:
            self._remembered[id] = (mark, right)

    async def _stretch(self, pepper: bytes, salt: bytes, password: bytes) -> bytes:
        # Not the password itself: scrypt takes it as a key of HMAC, where zero bytes at its end make no difference.
        digest = hmac.digest(pepper, password, "sha256")
        return await trio.to_thread.run_sync(lambda: scrypt(digest, salt=salt, **_SCRYPT), limiter=self._limiter)

    def _keyed(self, pepper: bytes, id: str, secret: bytes) -> bytes:
        mac = _under(pepper).copy()
        mac.update(id.encode() + b"\0" + secret)
        return mac.digest()

    def _read(self, id: str) -> bytes | None:
        kept = self._kept.get(id)
        if kept is None and (kept := self._vault.get(id)) is not None:
            self._kept[id] = kept
        return kept

    async def _make_pepper(self) -> bytes:
        """Return the pepper, which is drawn with the first password."""
        async with self._drawing:
            pepper = self._read(_PEPPER_ID)
            if pepper is None:
                pepper = token_bytes(32)
                await self._vault.keep(_PEPPER_ID, pepper)
        return pepper


@lru_cache(maxsize=1)
def _under(pepper: bytes) -> hmac.HMAC:
    """Return the HMAC of nothing yet: to take the key up anew for each station was half of the work."""
    return hmac.new(pepper, digestmod="sha256")


def _readings(presented: bytes) -> list[bytes]:
    """Return what was presented, and before it the bytes that it spells, if it is hex: so most stations send keys."""
    try:
        return [bytes.fromhex(presented.decode("ascii")), presented]
    except ValueError:
        return [presented]


def _near(presented: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what somebody may have meant, and how what he sent differs from it."""
    yield "it has white space, a line break, a zero byte or quotation marks around it", presented.strip(b" \t\r\n\0'\"")
    yield "it is in the wrong capitals", presented.lower()
    yield "it is in the wrong capitals", presented.upper()
    yield "it was turned into hex digits twice", _unhexed(_unhexed(presented))
    yield "it was turned into Base64 before it was sent", _from_base64(presented)
    yield "it was percent-encoded before it was sent", unquote_to_bytes(presented)
    yield "it has its station's user name in front, with a colon", presented.partition(b":")[2]


def _unhexed(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return text


def _from_base64(text: bytes) -> bytes:
    try:
        return b64decode(text.strip(), validate=True)
    except Base64Error:
        return text

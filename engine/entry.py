"""The envelope: an event as it is handed to a log, and as the log gives it back.

`Entry` holds bytes, not meaning: hashes and comparisons are made over what is stored, never over a re-encoding.
Rows are msgspec structs, because a replay makes millions of them; the words of the domain (`events`) are attrs.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from .events import Micros

NO_PRIVATE: Final = sha256(b"").digest()
"""The digest of nothing private."""
SALT_SIZE: Final = 16
"""Bytes of the salt beside whatever is private."""
_size: Final = Struct(">I").pack


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event in its envelope, not yet in a log."""

    id: str
    """Unique in the log. The same id with the same bytes is the same event, however often it is appended."""
    at: Micros
    """UTC. Order is position, never time."""
    kind: str
    schema: int
    subject: str
    """The station or webhook that it is about, else empty."""
    gateway: str
    """The gateway's name, from its configuration."""
    run: str
    """One life of a gateway: the id of its `gateway.started`. Empty for tools."""
    actor: str
    """Who asked for it: a token's name, `config` or `cli`. Empty for machines."""
    body: bytes
    """The event's fields, as stored."""
    private: bytes
    """What may have to be erased one day (remote address, certificate subject). No projection reads it."""
    salt: bytes
    """16 random bytes beside `private`, so that its digest tells nothing; empty where `private` is."""
    digest: bytes
    """Of what was private and has been redacted (SHA-256 of salt and `private`); empty where nothing was."""
    leaf: bytes
    """The entry's hash in the ledger."""


class Recorded(Entry, frozen=True, gc=False):
    """An event in a log."""

    position: int
    """1, 2, 3 ... without gaps."""


E = TypeVar("E", bound=Entry)


def recorded(entry: Entry, position: int) -> Recorded:
    """Return an entry as the log gives it back once it stands at a position."""
    return Recorded(
        entry.id,
        entry.at,
        entry.kind,
        entry.schema,
        entry.subject,
        entry.gateway,
        entry.run,
        entry.actor,
        entry.body,
        entry.private,
        entry.salt,
        entry.digest,
        entry.leaf,
        position,
    )


class Beat(msgspec.Struct, frozen=True):
    """The last word of a run: when it was alive, and how long it had listened by then."""

    run: str
    at: Micros
    listened: float
    """Seconds in which stations could connect."""


def leaf(entry: Entry) -> bytes:
    """Return the ledger's hash of an entry: RFC 6962's leaf prefix, each field behind its length, private as a digest.

    It holds no position, so that it is computed outside the write lock; and only the digest of what is private, so
    that erasing that breaks no proof.
    """
    return sha256(leaf_input(entry)).digest()


def leaf_input(entry: Entry) -> bytes:
    """Return the bytes whose hash is an entry's leaf."""
    id, at, subject, body = entry.id.encode(), str(entry.at).encode(), entry.subject.encode(), entry.body
    kind, source = _framed(entry.kind, str(entry.schema)), _framed(entry.gateway, entry.run, entry.actor)
    private = private_digest(entry) if entry.salt or entry.digest else NO_PRIVATE
    fields = (
        b"\0", _size(len(id)), id, _size(len(at)), at, kind, _size(len(subject)), subject, source,
        _size(len(body)), body, private,
    )  # fmt: skip
    return b"".join(fields)


@lru_cache(maxsize=1024)
def _framed(*words: str) -> bytes:
    """Return words, each behind its length; kept, because a run's events share most of theirs."""
    return b"".join([_size(len(word)) + word for word in map(str.encode, words)])


def private_digest(entry: Entry) -> bytes:
    """Return what an entry's leaf holds of its private part; the same before and after that was redacted."""
    return entry.digest or sha256(entry.salt + entry.private).digest()


def is_genuine(entry: Entry) -> bool:
    """Return whether an entry is what its leaf says, also where the leaf leaves something open."""
    return not open_to_doubt(entry) and leaf(entry) == entry.leaf


def open_to_doubt(entry: Entry) -> str:
    """Return what is wrong with the private part of an entry although its leaf may be right; empty if nothing is.

    Where nothing was private there is no salt, and where it was redacted there is a digest: the leaf does not look at
    private bytes that somebody put beside those.
    """
    if entry.digest:
        if entry.private or entry.salt:
            return "bears private parts beside the digest of redacted ones"
        return "bears the digest of a redaction, but nothing was private" if entry.digest == NO_PRIVATE else ""
    if (entry.private or entry.salt) and (len(entry.salt) != SALT_SIZE or not entry.private):
        return "bears private parts without their salt, or a salt of the wrong length"
    return ""


def mended(entry: E) -> E:
    """Return a changed entry as a log can go on with it: without private bytes that are open to doubt, and its leaf.

    The leaf stays where it does not speak of them. All else stands as it is.
    """
    if open_to_doubt(entry):
        digest = entry.digest or (private_digest(entry) if entry.salt else b"")
        entry = replace(entry, private=b"", salt=b"", digest=b"" if digest == NO_PRIVATE else digest)
    return replace(entry, leaf=leaf(entry))

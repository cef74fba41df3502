"""Proofs as files, to be checked without the log: that it holds an event, and that it continues an older log.

The first is C2SP's tlog-proof (c2sp.org/tlog-proof): a line that says so, then `extra`, here the bytes whose hash is
the event's leaf, then `index`, the hashes beside the way to the root, and the checkpoint with that root. The second is
what a witness is sent (c2sp.org/tlog-witness): `old` and the older size, hashes, and the newer checkpoint.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from attrs import frozen

from ...engine.ledger.checkpoint import Checkpoint
from ...engine.ledger.proofs import root_with, roots_with

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_DIGEST: Final = 32
_FIELDS: Final = 9
"""Of an event, in its leaf."""


class Proven(msgspec.Struct, frozen=True):
    """An event as its leaf has it."""

    id: str
    at: int
    kind: str
    schema: int
    subject: str
    gateway: str
    run: str
    actor: str
    body: bytes
    private_digest: bytes
    """Of what is private, which a proof does not show."""


@frozen
class Inclusion:
    """A proof that a log holds an event."""

    content: bytes
    """The bytes whose hash, behind RFC 6962's 0x00, is the event's leaf."""
    index: int
    """Counted from 0: the position less one."""
    hashes: Sequence[bytes]
    note: bytes
    """The signed checkpoint."""

    def written(self) -> bytes:
        """Return it as a file holds it."""
        lines = [FIRST_LINE, f"extra {_base64(self.content)}", f"index {self.index}", *map(_base64, self.hashes)]
        return _lines(lines) + self.note

    @staticmethod
    def parse(written: bytes) -> Inclusion:
        """Read what `written` returned.

        Raises:
            ValueError: it is no such proof.
        """
        lines, note = _parted(written)
        if lines[:1] != [FIRST_LINE] or len(lines) < 3:
            raise ValueError(f"this is no proof; the first line of one is {FIRST_LINE}, then come extra and index")
        content = _bytes(_after("extra", lines[1]))
        return Inclusion(content, _number(_after("index", lines[2])), [_hash(line) for line in lines[3:]], note)

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Return whether the event is where it says in the tree of a checkpoint.

        Raises:
            ValueError: the proof does not fit such a tree.
        """
        leaf = sha256(b"\0" + self.content).digest()
        return root_with(leaf, self.index, checkpoint.size, self.hashes) == checkpoint.root

    def event(self) -> Proven:
        """Return the event that it speaks of.

        Raises:
            ValueError: the content is no event.
        """
        fields: list[bytes] = []
        rest = self.content
        for _ in range(_FIELDS):
            size = int.from_bytes(rest[:4], "big")
            fields.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        if len(rest) != _DIGEST:
            raise ValueError("what the proof is about is no event of Stationkeeper")
        id, at, kind, schema, subject, gateway, run, actor = (field.decode() for field in fields[:-1])
        return Proven(id, int(at), kind, int(schema), subject, gateway, run, actor, fields[-1], rest)


@frozen
class Consistency:
    """A proof that a log begins with all that it held at an older checkpoint."""

    older: int
    """The size then."""
    hashes: Sequence[bytes]
    note: bytes
    """The newer signed checkpoint."""

    def written(self) -> bytes:
        """Return it as a file holds it."""
        return _lines([f"old {self.older}", *map(_base64, self.hashes)]) + self.note

    @staticmethod
    def parse(written: bytes) -> Consistency:
        """Read what `written` returned.

        Raises:
            ValueError: it is no such proof.
        """
        lines, note = _parted(written)
        return Consistency(_number(_after("old", lines[0])), [_hash(line) for line in lines[1:]], note)

    def holds(self, older: Checkpoint, newer: Checkpoint) -> bool:
        """Return whether the newer checkpoint continues the older one.

        Raises:
            ValueError: the proof does not fit such trees.
        """
        if self.older != older.size:
            raise ValueError(f"the proof begins at {self.older} events, but the older checkpoint has {older.size}")
        if older.size == 0:
            return not self.hashes
        roots = roots_with(older.size, older.root, newer.size, self.hashes)
        return roots == (older.root, newer.root)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def _parted(written: bytes) -> tuple[list[str], bytes]:
    head, _, note = written.partition(b"\n\n")
    return head.decode().split("\n"), note


def _after(word: str, line: str) -> str:
    found, _, rest = line.partition(" ")
    if found != word:
        raise ValueError(f"this is no proof: where {word!r} should stand is {line[:40]!r}")
    return rest


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


def _hash(text: str) -> bytes:
    found = _bytes(text)
    if len(found) != _DIGEST:
        raise ValueError(f"{text[:60]!r} is no hash")
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text:
        raise ValueError(f"{text[:40]!r} is no number as proofs write it")
    return int(text)

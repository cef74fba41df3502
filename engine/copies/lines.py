"""The exchange format: a log as lines of JSON, which any tool can read and `importing` takes up again.

The first line says which log it is and how many events it has. A line for each event follows, in order, and the last
one holds the root over all leaves, with the checkpoint and the keys that stood beside the log:

    {"format":"stationkeeper log","version":1,"log":"...","size":2}
    {"position":1,"id":"...","at":1764000000000000,"kind":"...",...,"body":{...},"leaf":"..."}
    {"position":2,...,"private":"...","salt":"...","leaf":"..."}
    {"size":2,"root":"...","checkpoint":"...","keys":["..."]}

A body is written as it is stored, byte for byte. Where it is no JSON, or JSON that would not stay on its line, it is
`body_base64`. Leaves, digests and the root are hexadecimal, `private` and `salt` base64. Empty fields are left out.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import msgspec

from ..entry import Recorded, private_digest
from ..ledger.checkpoint import Checkpoint
from ..ledger.note import VerifyingKey

FORMAT: Final = "stationkeeper log"
VERSION: Final = 1


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    version: int
    log: str
    """The id that the log was born with."""
    size: int
    """How many events follow."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An event."""

    position: int
    id: str
    at: int
    kind: str
    schema: int
    leaf: str
    subject: str = ""
    gateway: str = ""
    run: str = ""
    actor: str = ""
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    body_base64: str = ""
    private: str = ""
    salt: str = ""
    digest: str = ""


class Foot(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The last line."""

    size: int
    root: str
    checkpoint: str = ""
    """The signed note that stood beside the log."""
    keys: tuple[str, ...] = ()


_encode: Final = msgspec.json.Encoder().encode
_line: Final = msgspec.json.Decoder(Line).decode
_head: Final = msgspec.json.Decoder(Head).decode
_foot: Final = msgspec.json.Decoder(Foot).decode


def write_head(log_id: str, size: int) -> bytes:
    return _encode(Head(FORMAT, VERSION, log_id, size)) + b"\n"


def read_head(line: bytes) -> Head:
    """Read the first line.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        head = _head(line)
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no export of a log ({error})") from error
    if head.format != FORMAT or head.version != VERSION:
        raise ValueError(f"this is {head.format!r}, version {head.version}; known is {FORMAT!r}, version {VERSION}")
    if not head.log.isascii() or not head.log.isalnum() or not 0 < len(head.log) <= 64 or head.size < 0:
        raise ValueError("it does not say which log it is, and how long")
    return head


def write_event(recorded: Recorded, *, redacted: bool) -> bytes:
    """Write an event; redacted without its private part, of which the digest stays."""
    digest, private, salt = recorded.digest, recorded.private, recorded.salt
    if redacted and salt:
        digest, private, salt = private_digest(recorded), b"", b""
    line = Line(
        position=recorded.position,
        id=recorded.id,
        at=recorded.at,
        kind=recorded.kind,
        schema=recorded.schema,
        leaf=recorded.leaf.hex(),
        subject=recorded.subject,
        gateway=recorded.gateway,
        run=recorded.run,
        actor=recorded.actor,
        body=msgspec.Raw(recorded.body),
        private=b64encode(private).decode(),
        salt=b64encode(salt).decode(),
        digest=digest.hex(),
    )
    written = _encode(line)
    if not _reads_back(written, recorded.body):
        encoded = b64encode(recorded.body).decode()
        written = _encode(msgspec.structs.replace(line, body=msgspec.UNSET, body_base64=encoded))
    return written + b"\n"


def _reads_back(line: bytes, body: bytes) -> bool:
    """Return whether a body can stand in its line as it is: whole, alone, and as text."""
    try:
        line.decode()
        return b"\n" not in body and b"\r" not in body and _raw(_line(line)) == body
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _raw(line: Line) -> bytes:
    return b"" if line.body is msgspec.UNSET else bytes(line.body)


def read_event(line: bytes) -> Recorded:
    """Read an event.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        read = _line(line)
        return Recorded(
            read.id,
            read.at,
            read.kind,
            read.schema,
            read.subject,
            read.gateway,
            read.run,
            read.actor,
            _raw(read) or b64decode(read.body_base64, validate=True),
            b64decode(read.private, validate=True),
            b64decode(read.salt, validate=True),
            bytes.fromhex(read.digest),
            bytes.fromhex(read.leaf),
            read.position,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"this is no event ({error})") from error


def write_foot(size: int, root: bytes, note: bytes | None, keys: list[VerifyingKey]) -> bytes:
    return _encode(Foot(size, root.hex(), (note or b"").decode(), tuple(map(str, keys)))) + b"\n"


def read_foot(line: bytes) -> tuple[Foot, Checkpoint | None, list[VerifyingKey]]:
    """Read the last line, with the checkpoint that it brings, whoever signed that, and the keys.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        foot = _foot(line)
        checkpoint = Checkpoint.parse(foot.checkpoint.encode()) if foot.checkpoint else None
        return foot, checkpoint, list(map(VerifyingKey.parse, foot.keys))
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"this is no end of an export ({error})") from error

"""Redaction: private parts of events are erased, their digests stay, and so do all leaves, proofs and folds.

The file is written anew afterwards. In the pages of a file that grew, bytes may be left over of cells that were moved:
to overwrite the cells alone would leave those behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from ..entry import Recorded, leaf, private_digest
from ..errors import LogDamaged, LogUnavailable
from ..events import HandshakeRefused
from ..watch.refusals import CLAIM_BYTES
from .driver import SqliteConnection, wal_of
from .files import make_like, remove, share_like
from .sqlite import SqliteLog

_PATIENCE: Final = 5.0
"""Seconds to wait for readers to come to the end of a batch; SQLite waits within."""


class _Claim(msgspec.Struct):
    claimed: str = ""


_claim: Final = msgspec.json.Decoder(_Claim).decode


def redact(log: SqliteLog, id: str) -> list[int]:
    """Erase what is private in the events about a station or webhook, and in refused handshakes that claimed to be it.

    Return the positions of the events that had something private. On return it is in no byte of the file, nor of its
    `-wal`. Called again it erases what an earlier call could not, for want of disk or because somebody read.

    Raises:
        LogDamaged: an event is not what its leaf says; nothing was changed.
        LogUnavailable: the log could not be written, or somebody reads it; call again.
    """
    claimed = id.encode(errors="backslashreplace")[:CLAIM_BYTES].decode(errors="ignore")
    blanked = [(_digest(log, recorded), recorded.position) for recorded in _private(log, id, claimed)]
    log.rework(partial(_erase, log.path, blanked))
    _write_anew(log)
    return sorted(position for _, position in blanked)


def _private(log: SqliteLog, id: str, claimed: str) -> Iterator[Recorded]:
    for recorded in log.read(subject=id):
        if recorded.private or recorded.salt:
            yield recorded
    for recorded in log.read(kinds={HandshakeRefused.kind}):
        if recorded.subject != id and (recorded.private or recorded.salt) and _claims(recorded) == claimed:
            yield recorded


def _claims(recorded: Recorded) -> str | None:
    try:
        return _claim(recorded.body).claimed
    except msgspec.DecodeError:
        return None


def _digest(log: SqliteLog, recorded: Recorded) -> bytes:
    """Return what is to stay of an event's private part."""
    if leaf(recorded) != recorded.leaf:
        raise LogDamaged(f"{log.path}: position {recorded.position} was changed; verify the log before it is redacted")
    return private_digest(recorded)


def _erase(path: Path, blanked: Sequence[tuple[bytes, int]], connection: SqliteConnection) -> None:
    connection.execute("PRAGMA secure_delete = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "UPDATE event SET private = x'', salt = x'', digest = ? WHERE position = ?",
        blanked,
    )
    connection.execute("COMMIT")
    until = time.monotonic() + _PATIENCE
    while True:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        if time.monotonic() > until:
            raise LogUnavailable(
                f"what is private is out of the events, but {wal_of(path).name} still holds it, because somebody reads "
                f"{path}; end that program, and redact again"
            )


def _write_anew(log: SqliteLog) -> None:
    """Put a copy in the place of the file; VACUUM would do it in memory where SQLite was built so."""
    new = log.path.with_name(log.path.name + ".rewriting")
    try:
        remove(new)
        make_like(new, log.path)
        log.rework(partial(_copy, new))
        share_like(new, log.path)
        log.replace(new)
    finally:
        remove(new)


def _copy(to: Path, connection: SqliteConnection) -> None:
    connection.execute("VACUUM INTO ?", (str(to),))

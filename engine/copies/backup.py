"""A backup: a consistent copy of a log, made while a daemon may go on writing, and checked before it gets its name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from ..errors import LogForeign
from ..ledger import outside
from ..ledger.checkpoint import origin_of
from ..ledger.keeper import vouched
from ..log.copying import copy_log, copy_secrets, remove_log
from ..log.driver import wal_of
from ..log.files import check_place, publish, remove, sync_file
from ..log.lock import WriterLock
from ..log.reading import open_reader
from ..log.secrets import secrets_path
from .witness import Progress, Witness, no_progress


class Backup(msgspec.Struct, frozen=True):
    """What a backup holds."""

    position: int
    """Of its newest event."""
    protected: int
    """Up to which position the checkpoint beside it vouches for it; 0 if there is none."""
    key: str | None = None
    """The id of the key that its secrets are sealed under; empty where an earlier release left them unsealed, None
    where it holds none."""


def back_up(log: Path, file: Path, *, with_secrets: bool = False, progress: Progress = no_progress) -> Backup:
    """Copy a log, and the checkpoint and keys that stand beside it, to a new place.

    The log is only read: it and its `-wal` stay as they are, byte for byte, and whoever writes it is not held up. With
    *with_secrets* its secrets are copied too, sealed as they are, and never their key; they are held, so that the copy
    sends nothing until it is adopted.

    Raises:
        LogContradicted: the log does not agree with its checkpoint, or an event was changed.
        LogForeign: something stands at the new place, or the secrets belong to another log.
        LogMissing: there is no such log, or no secrets beside it.
        LogError: it cannot be read, or the copy not written.
    """
    copy = file.with_name(file.name + ".copying")
    check_free(file, left=copy)
    with closing(open_reader(log)) as reader:
        # Before the copy is made, so that the copy holds all that the checkpoint speaks of.
        note, keys = outside.read_note(log), outside.read_keys(log)
        known = None if note is None else vouched(log, note, origin_of(reader.log_id))
        lock = WriterLock(copy)
        try:
            check_free(file, left=copy)  # again, for another backup may have ended meanwhile
            sweep(file, left=copy)
            copy_log(reader, copy)
            with closing(open_reader(copy)) as copied:
                position = copied.position
                Witness(str(log), known).check(progress(copied.read(), until=position))
            key = copy_secrets(log, reader.log_id, copy) if with_secrets else None
            sync_file(copy)
            if keys:
                outside.write_keys(file, keys)
            if note is not None:
                outside.write_note(file, note)
            if with_secrets:
                publish(secrets_path(copy), secrets_path(file))
            publish(copy, file)
        finally:
            try:
                sweep(file, left=copy)
            finally:
                lock.release()
    return Backup(position, 0 if known is None else known.size, key)


def check_free(file: Path, *, left: Path) -> None:
    """Check that a new log can be put at a place, and would not take up what stands there.

    Where one that was made before, under the name *left*, was cut off, its checkpoint and keys do not count: `sweep`.

    Raises:
        LogForeign: something stands there; it is left as it is.
        LogMissing: its folder does not exist.
    """
    check_place(file)
    ledger = () if left.exists() else (outside.checkpoint_path(file), outside.keys_path(file))
    for taken in (file, wal_of(file), secrets_path(file), *ledger):
        if taken.exists():
            raise LogForeign(f"{taken} is there already; name another place, or move it away")


def sweep(file: Path, *, left: Path) -> None:
    """Remove what is left of a log that was made under the name *left*, to be put at a place where none is yet.

    Its secrets stay, if they have their name already: somebody may need them. The lock on *left* is held.

    Raises:
        LogUnavailable: something cannot be removed; the next try will.
    """
    if left.exists() and not file.exists():
        for beside in (outside.checkpoint_path(file), outside.keys_path(file)):
            remove(beside)
            remove(beside.with_name(beside.name + ".new"))
    remove_log(left)

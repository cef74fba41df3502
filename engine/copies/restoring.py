"""Restore: work is taken up from a copy, or from the log that is here although its checkpoint contradicts it.

The new log is made beside the old one and checked whole. It ends with `log.restored`, which steps every station's
version past what subscribers may have seen of what was lost. Then it takes the old one's place:

    <log>.restoring.new   being made; a crash leaves the old log as it was
    <log>.restoring       whole, and from here on the one to be
    <log>.replaced-<time> the old log, which is never deleted; its `-wal`, checkpoint and secrets likewise

A crash between the last two leaves no log at its place. Nothing can then be begun there by mistake, and another
restore goes on from there. Whatever was restored is mute until somebody adopts it.
"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from glob import escape
from pathlib import Path

import msgspec

from ..codec import seal
from ..entry import Recorded
from ..errors import LogContradicted, LogError, LogForeign, LogUnavailable
from ..events import LogRestored
from ..ledger import outside
from ..ledger.checkpoint import Checkpoint, origin_of
from ..ledger.keeper import known_checkpoint, signing_key, vouched
from ..ledger.note import SigningKey, VerifyingKey
from ..ledger.tree import Tree
from ..log.copying import copy_log, copy_secrets, mend, remove_log
from ..log.driver import wal_of
from ..log.files import check_place, pending_restore, publish, remove, share_like
from ..log.lock import WriterLock
from ..log.reading import LogReader, open_reader
from ..log.secrets import SecretsFile, belong, open_secrets, reseal, secrets_path
from ..log.secrets_file import hold
from ..log.secrets_key import KeySource, current_key, default_key_file, find_key, make_key
from ..log.sqlite import SqliteLog, open_log
from ..names import new_id
from .importing import unpack
from .witness import Progress, Witness, no_progress


class Restored(msgspec.Struct, frozen=True):
    """What a restore did."""

    position: int
    """Of the `log.restored`, which is the log's newest event."""
    lost: int
    """How many events a checkpoint that stood here, and was signed, knows of that the copy did not hold."""
    changed: list[int]
    """Positions of events that are not what was written, and stand now as they are; private bytes of which nobody
    can say whether they were written are blanked."""
    aside: list[Path]
    """Where the files stand now that were replaced."""
    secrets: bool
    """Whether there are secrets to go on with, once somebody adopts the log."""


def restore(file: Path, log: Path, *, key: KeySource | None = None, progress: Progress = no_progress) -> Restored:
    """Take up work at *log* from a copy: a backup, an export, any log; or from *log* itself, as it is.

    The secrets at *log* are sealed under *key*, by default the one in `<log>.key`. Those of a copy that are sealed
    under another one are opened by the key in `<file>.key`, and sealed anew.

    Raises:
        SecretsSealed: the key of the copy's secrets, or of those here, is not there; nothing was changed.
        LogLocked: somebody writes the log.
        LogContradicted: the copy is not whole, or does not agree with its own checkpoint.
        LogMissing: there is no copy.
        LogError: the copy cannot be read, or the log not be written.
    """
    check_place(log)
    lock = WriterLock(log)
    try:
        return _Restore(file, log, key or default_key_file(log)).run(progress)
    finally:
        lock.release()


class _Restore:
    """One restore, while the lock of the log is held."""

    def __init__(self, file: Path, log: Path, secrets_key: KeySource) -> None:
        self.file = file
        self.log = log
        self.secrets_key = secrets_key
        """Of the secrets here."""
        self.same = file.resolve() == log.resolve()
        self.ready = pending_restore(log)
        self.new = log.with_name(self.ready.name + ".new")
        self.end = datetime.now(UTC).strftime(".replaced-%Y%m%dT%H%M%S.%fZ")
        self.aside: list[Path] = []
        self.changed: list[Recorded] = []
        self.keys: list[VerifyingKey] = []
        """That came with the copy."""
        self.note = b""
        """The checkpoint that came with it."""

    def run(self, progress: Progress) -> Restored:
        self._go_on_from_a_crash()
        self._clear()
        try:
            log_id, tree = self._copy(progress)
            origin, position = origin_of(log_id), tree.size
            key = self._signing_key(log_id)
            known = _known(self.log, origin, key)
            tree.extend(self._append(known or Checkpoint(origin, position, tree.root())))
            if self.log.exists():
                share_like(self.new, self.log)
        except BaseException:
            self._clear()
            raise
        publish(self.new, self.ready)
        self._set_log_aside()
        self._put_in_place(log_id)
        self._replace_secrets(log_id)
        self._replace_ledger(origin, tree, key)
        self._clear()
        return Restored(
            position=tree.size,
            lost=0 if known is None else max(0, known.size - position),
            changed=[event.position for event in self.changed],
            aside=self.aside,
            secrets=key is not None,
        )

    def _clear(self) -> None:
        remove_log(self.new)
        remove_log(self.ready)

    # --- the new log -------------------------------------------------------------------------------------------------

    def _copy(self, progress: Progress) -> tuple[str, Tree]:
        """Copy the log to its new file, checked; return its id and its tree."""
        known = None
        try:
            with closing(open_reader(self.file)) as reader:
                note = None if self.same else outside.read_note(self.file)
                copy_log(reader, self.new)
                if not self.same:
                    self.keys = outside.read_keys(self.file)
                if note is not None:
                    known = vouched(self.file, note, origin_of(reader.log_id))
                    self.note = note
        except LogForeign:
            foot, self.keys = unpack(self.file, self.new, progress=progress)
            self.note = foot.checkpoint.encode()
        with closing(open_reader(self.new)) as reader:
            log_id = reader.log_id
            witness = Witness(str(self.file), known, lenient=self.same)
            witness.check(progress(reader.read(), until=reader.position))
        self.changed = witness.changed
        if self.changed:
            mend(self.new, self.changed)
        return log_id, witness.tree

    def _append(self, checkpoint: Checkpoint) -> list[bytes]:
        """Append what says that the log was restored, and return the leaves of that.

        It is said once more for each time that what stood here said it and the copy does not: every station's version
        must be above all that was ever told, and those are what versions were raised by.
        """
        said = self._said_before()
        with closing(open_log(self.new)) as log:
            at = max(time.time_ns() // 1000, log.latest_at)
            event = LogRestored(checkpoint_size=checkpoint.size, checkpoint_root=checkpoint.root.hex())
            missing = max(0, said - _times_restored(log))
            entries = [seal(event, id=new_id(at), at=at, actor="cli") for _ in range(1 + missing)]
            log.append(entries)
        if wal_of(self.new).exists():
            raise LogUnavailable(f"{self.new} could not be finished: its -wal is still there; check the disk")
        return [entry.leaf for entry in entries]

    def _said_before(self) -> int:
        """Return how often logs that stood here say that they were restored, at least.

        One that cannot be read says so once more than the others: if it was restored, that counted those.
        """
        said = unreadable = 0
        for log in (self.log, *self._replaced()):
            if log.exists():
                try:
                    with closing(open_reader(log)) as reader:
                        said = max(said, _times_restored(reader))
                except LogError:
                    unreadable += 1
        return said + unreadable

    def _replaced(self) -> list[Path]:
        """Return the logs that were set aside here, the oldest first."""
        return sorted(self.log.parent.glob(f"{escape(self.log.name)}.replaced-*Z"))

    # --- what stands beside it ---------------------------------------------------------------------------------------

    def _signing_key(self, log_id: str) -> SigningKey | None:
        """Return the key in the secrets that the log goes on with: the copy's, which are held, or those here."""
        # Those here are opened in any case, so that what is wrong with them shows before anything is replaced.
        secrets = open_secrets(self.log, log_id, create=False, key=self.secrets_key)
        if not self.same and secrets_path(self.file).exists():
            if secrets is not None:
                secrets.close()
            secrets = self._copied_secrets(log_id)
        if secrets is None:
            return None
        with closing(secrets):
            return signing_key(self.ready, origin_of(log_id), secrets)

    def _copied_secrets(self, log_id: str) -> SecretsFile | None:
        """Copy the secrets that came with the copy, sealed under the key in force here."""
        of_copy, copied = secrets_path(self.file), secrets_path(self.ready)
        id = copy_secrets(self.file, log_id, self.ready)
        here = current_key(self.secrets_key)
        if id and (here is None or here.id != id):
            beside = default_key_file(self.file)
            # Where none is beside the copy, what is said is what is wrong with the key here.
            old = find_key(beside if beside.path.exists() else self.secrets_key, id, of_copy)
            reseal(copied, log_id, old, here or make_key(self.secrets_key, like=self.log))
        return open_secrets(self.ready, log_id, create=False, key=self.secrets_key)

    def _hold_secrets(self, log_id: str) -> None:
        """Hold the secrets here."""
        if belong(self.log, log_id):
            hold(secrets_path(self.log), held=True)

    def _replace_secrets(self, log_id: str) -> None:
        """Let the copy's secrets be the log's, if it brought some; let those of another log make room."""
        here, copied = secrets_path(self.log), secrets_path(self.ready)
        if copied.exists() or not belong(self.log, log_id):
            self._set_aside(here)
        if copied.exists():
            publish(copied, here)

    def _replace_ledger(self, origin: str, tree: Tree, key: SigningKey | None) -> None:
        """Vouch for the log as it is now, as far as that can be, and set aside what contradicted it."""
        try:
            known = outside.read_keys(self.log)
        except LogContradicted:
            known = []
        ours = [each for each in (*known, *self.keys) if each.name == origin]
        vouches = key is not None or bool(self.note)
        if not known or not vouches or len(ours) < len(known) + len(self.keys):
            self._set_aside(outside.keys_path(self.log))
        self._set_aside(outside.checkpoint_path(self.log))
        if key is not None:
            ours = [*(each for each in ours if each != key.public), key.public]
            outside.write_keys(self.log, list(dict.fromkeys(ours)))
            outside.write_note(self.log, Checkpoint(origin, tree.size, tree.root()).signed(key))
        elif vouches:
            # Nobody can sign here, but what came along still speaks of all but the end.
            outside.write_keys(self.log, list(dict.fromkeys(ours)))
            outside.write_note(self.log, self.note)

    # --- the change --------------------------------------------------------------------------------------------------

    def _set_log_aside(self) -> None:
        # The log first: as long as its `-wal` is here without it, nobody begins a new log.
        self._set_aside(self.log)
        self._set_aside(wal_of(self.log), wal_of(self.log.with_name(self.log.name + self.end)))
        remove(_shm(self.log))

    def _put_in_place(self, log_id: str) -> None:
        # With no log here, so that the old one is not muted where this fails, and this one is mute from the first.
        self._hold_secrets(log_id)
        publish(self.ready, self.log)

    def _go_on_from_a_crash(self) -> None:
        """Finish the change of logs that a restore was killed in."""
        if self.ready.exists() and not self.log.exists():
            if replaced := self._replaced():
                self._set_aside(wal_of(self.log), wal_of(replaced[-1]))
            self._set_log_aside()
            with closing(open_reader(self.ready)) as reader:
                log_id = reader.log_id
            self._put_in_place(log_id)
        elif self.ready.exists() or self.new.exists() or not secrets_path(self.ready).exists():
            return
        if secrets_path(self.ready).exists():
            self._set_aside(secrets_path(self.log))
            publish(secrets_path(self.ready), secrets_path(self.log))

    def _set_aside(self, file: Path, to: Path | None = None) -> None:
        """Rename a file, if it is there, so that it says since when it is replaced."""
        to = to or file.with_name(file.name + self.end)
        if file.exists():
            publish(file, to)
            self.aside.append(to)


def _known(log: Path, origin: str, key: SigningKey | None) -> Checkpoint | None:
    """Return the newest checkpoint beside a log; none if there is none, or no key of the log vouches for it."""
    try:
        return known_checkpoint(log, origin, key)
    except LogContradicted:
        return None


def _times_restored(log: LogReader | SqliteLog) -> int:
    """Return how often a log says that it was restored."""
    return sum(1 for _ in log.read(kinds={LogRestored.kind}))


def _shm(log: Path) -> Path:
    return log.with_name(log.name + "-shm")

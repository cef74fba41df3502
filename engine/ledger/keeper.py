"""The ledger of a log that is being written: its tree, and checkpoints of it outside the log.

At the start the tree is taken up from a snapshot where one fits, every event after that is hashed again, and the tree
is held against the newest outside checkpoint. An honest crash leaves a checkpoint of what the log still holds: it is
never written before the commit that it speaks of. Anything else is a cut tail, an older copy or a changed event.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from secrets import token_bytes
from threading import Lock
from typing import Final

from ..entry import Recorded, is_genuine
from ..errors import LogContradicted
from ..log import Log, Snapshot
from ..log.secrets import MemorySecrets, Secrets
from . import outside
from .checkpoint import Checkpoint, origin_of
from .note import SigningKey, VerifyingKey, signer_of
from .tree import Tree

_LOG: Final = logging.getLogger(__name__)

SNAPSHOT: Final = "ledger"
VERSION: Final = 1
_KEY: Final = "ledger"
"""The id of the signing key among the secrets."""


class Ledger:
    """The tree of a log, grown with it. `open_ledger` makes one."""

    def __init__(self, path: Path, tree: Tree, leaf: bytes, key: SigningKey | None, protected: int) -> None:
        self.path = path
        self.key = key
        """Signs checkpoints; none for a copy, which vouches for nothing until somebody adopts it."""
        self.protected = protected
        """Up to which position the newest outside checkpoint reaches; -1 if there is none."""
        self.newest = b""
        """The newest checkpoint that we signed and wrote outside the log, as a note; empty before the first one."""
        self.failures = 0
        """Checkpoints that could not be written."""
        self.failing = False
        """Whether the last one could not."""
        self._tree = tree
        self._leaf = leaf
        self._turn = Lock()

    @property
    def size(self) -> int:
        """Events in the tree, and so the position of the newest one."""
        return self._tree.size

    def extend(self, events: Sequence[Recorded]) -> None:
        """Let the tree hold what was newly committed, in position order."""
        self._tree.extend([event.leaf for event in events])
        self._leaf = events[-1].leaf

    def snapshot(self) -> Snapshot:
        """Write the tree down, for the next start."""
        return Snapshot(SNAPSHOT, VERSION, self.size, self._leaf, self._tree.dump())

    def note(self) -> tuple[int, bytes]:
        """Return a signed checkpoint of the tree as it is, and how far it reaches. Not for a copy."""
        assert self.key is not None
        return self.size, Checkpoint(self.key.public.name, self.size, self._tree.root()).signed(self.key)

    def protect(self, size: int, note: bytes) -> None:
        """Write a checkpoint outside the log, unless a newer one stands there; in any thread.

        Raises:
            LogUnavailable: it cannot be written.
        """
        with self._turn:
            if size > self.protected:
                outside.write_note(self.path, note)
                self.protected = size
                self.newest = note
                self.failing = False


def open_ledger(log: Log, path: Path, log_id: str, secrets: Secrets) -> Ledger:
    """Return the ledger of a log as of its end, once it agrees with the newest checkpoint outside.

    It reads what came after the newest snapshot; without one, everything.

    Raises:
        LogContradicted: it does not agree; the message says where, and what to do.
        LogUnavailable: a file beside the log cannot be read or written.
    """
    signed_before = secrets.get(_KEY) is not None
    key = signing_key(path, origin_of(log_id), secrets)
    known = known_checkpoint(path, origin_of(log_id), key)
    if known is not None and known.size > log.position:
        raise LogContradicted(
            f"{path} ends at position {log.position}, but {outside.checkpoint_path(path).name} knows of {known.size} "
            f"events: its end was cut off, or an older copy was put in its place. {_remedy(path)}"
        )
    tree, newest = _tree_kept(log, known)
    batch: list[bytes] = []
    for recorded in log.read(tree.size):
        if not is_genuine(recorded):
            raise LogContradicted(f"{path}: position {recorded.position} was changed. {_remedy(path)}")
        batch.append(recorded.leaf)
        newest = recorded.leaf
        if len(batch) == 1000 or (known is not None and recorded.position == known.size):
            tree.extend(batch)
            batch.clear()
            _compare(path, tree, known)
    tree.extend(batch)
    _compare(path, tree, known)
    ledger = Ledger(path, tree, newest, key, -1 if known is None else known.size)
    if known is None and key is not None:
        if signed_before and log.position:
            _LOG.warning(
                "%s is gone, so nobody here can tell whether this log was cut or rolled back; if nobody removed it on "
                "purpose, verify the log with a checkpoint that was kept elsewhere",
                outside.checkpoint_path(path),
            )
        # At once, so that keys without a checkpoint tell that somebody has removed it.
        ledger.protect(*ledger.note())
    elif key is not None:
        ledger.newest = outside.read_note(path) or b""
    return ledger


def signing_key(path: Path, origin: str, secrets: Secrets) -> SigningKey | None:
    """Return the key that vouches for a log, drawn at the first time; none for a copy, whose secrets are not there."""
    if isinstance(secrets, MemorySecrets):
        return None
    seed = secrets.get(_KEY)
    if seed is None:
        seed = token_bytes(32)
        secrets.keep(_KEY, seed)
    key = SigningKey(origin, seed)
    outside.add_key(path, key.public)
    return key


def known_checkpoint(path: Path, origin: str, key: SigningKey | None = None) -> Checkpoint | None:
    """Return the newest checkpoint outside the log, signed by a key of this log; none if there is none.

    Raises:
        LogContradicted: it is of another log, or nobody whom we know has signed it.
        LogUnavailable: it cannot be read.
    """
    note = outside.read_note(path)
    return None if note is None else vouched(path, note, origin, key)


def vouched(path: Path, note: bytes, origin: str, key: SigningKey | None = None) -> Checkpoint:
    """Return what a note that stands beside a log claims, once it is sure that the log's key has signed it.

    Raises:
        LogContradicted: it is of another log, or nobody whom we know has signed it.
        LogUnavailable: the keys cannot be read.
    """
    file = outside.checkpoint_path(path)
    keys: list[VerifyingKey] = [*outside.read_keys(path), *([] if key is None else [key.public])]
    try:
        checkpoint = Checkpoint.parse(note)
        signer = signer_of(note, keys)
    except ValueError as error:
        raise LogContradicted(f"{file}: {error}. {_remedy(path)}") from error
    if checkpoint.origin != origin:
        raise LogContradicted(f"{file} is a checkpoint of another log ({checkpoint.origin}). {_remedy(path)}")
    if signer is None:
        raise LogContradicted(f"{file} is not signed by a key in {outside.keys_path(path).name}. {_remedy(path)}")
    return checkpoint


def _tree_kept(log: Log, known: Checkpoint | None) -> tuple[Tree, bytes]:
    """Return the tree of the newest snapshot, and its newest leaf; an empty one where that does not fit.

    One that is newer than the checkpoint does not: the root at the checkpoint could no longer be had.
    """
    kept = log.snapshot(SNAPSHOT)
    if kept is None or kept.version != VERSION or (known is not None and kept.position > known.size):
        return Tree(), b""
    event = next(iter(log.read(kept.position - 1, until=kept.position)), None)
    try:
        tree = Tree.load(kept.state)
    except ValueError:
        return Tree(), b""  # whatever is wrong with a snapshot, the log knows better
    if event is None or event.leaf != kept.leaf or not is_genuine(event) or tree.size != kept.position:
        return Tree(), b""
    return tree, kept.leaf


def _compare(path: Path, tree: Tree, known: Checkpoint | None) -> None:
    if known is not None and tree.size == known.size and tree.root() != known.root:
        raise LogContradicted(
            f"{path} is not the log that {outside.checkpoint_path(path).name} speaks of: an event up to position "
            f"{known.size} was changed or replaced (stationkeeper verify {path.name} may say which). {_remedy(path)}"
        )


def _remedy(path: Path) -> str:
    return (
        f"Bring back the right file, restore a backup (stationkeeper restore BACKUP {path.name}), or go on with what "
        f"is here and have that recorded (stationkeeper restore {path.name} {path.name})"
    )

"""The receiver as a witness: whoever keeps a signed checkpoint of the log can show later that its past was changed.

With each attempt comes the newest checkpoint, in `Stationkeeper-Checkpoint`: base64 of a signed note
(c2sp.org/tlog-checkpoint), which names the log, its number of events, and the root of the tree over them. The file kept
here is such a note, as `stationkeeper verify --checkpoint` takes it.
"""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Final

from ...engine.ledger.checkpoint import Checkpoint
from ...engine.ledger.note import VerifyingKey, signer_of
from .messages import BadMessage
from .verifying import Headers, optional_header

CHECKPOINT: Final = "stationkeeper-checkpoint"
OVERTAKING: Final = 10.0
"""Seconds that a checkpoint may be read before the attempt that carries it is given its timestamp."""


class Contradiction(Exception):
    """The log's past is not what it was: two notes, both signed by its key, that cannot both be true. Keep them."""

    def __init__(self, said: str, earlier: bytes, later: bytes) -> None:
        super().__init__(said)
        self.earlier = earlier
        self.later = later


class Witness:
    """Keeps the newest checkpoint of one log, and compares each that comes with it. Threads may share it."""

    def __init__(self, key: str, path: Path | str | None = None) -> None:
        """Believe checkpoints signed by this key, and keep the newest in a file, or in memory.

        *key*: a line of `<log>.vkey` (`name+0123abcd+base64`), or several; get it once, by another way than the
        webhook. Of the file the modification time is when the note was sent.

        Raises:
            ValueError: it is no such key.
        """
        self._keys = [VerifyingKey.parse(line) for line in key.split() or [""]]
        self._path = None if path is None else Path(path)
        self._lock = Lock()
        self._kept: tuple[bytes, float] | None = None

    def see(self, headers: Headers) -> int | None:
        """Compare the checkpoint of a message, whose signature was checked before, with the newest one kept.

        Returns the number of events that it vouches for; none if the message brings no checkpoint.

        Raises:
            Contradiction: the log was cut or changed below what it vouched for earlier. If its operator says that it
                was restored from a copy, begin with a new file. The earlier note stays.
            BadMessage: it is no checkpoint of this log.
        """
        header = optional_header(headers, CHECKPOINT)
        if header is None:
            return None
        sent_at = optional_header(headers, "webhook-timestamp") or ""
        if not sent_at.isdigit() or len(sent_at) > 12:
            raise BadMessage("webhook-timestamp is no number of seconds")
        try:
            note = b64decode(header, validate=True)
        except ValueError:
            raise BadMessage(f"{CHECKPOINT} is no base64") from None
        return self._compare(note, float(sent_at))

    def _compare(self, note: bytes, sent_at: float) -> int:
        found = self._read(note)
        with self._lock:
            kept = self._load()
            if kept is None:
                self._keep(note, sent_at)
                return found.size
            earlier = self._read(kept[0])
            if found.size == earlier.size and found.root != earlier.root:
                raise Contradiction(f"there are two logs of {found.size} events in its name", kept[0], note)
            # One sent before the one kept may come after it. One that was sent later must not be smaller.
            if found.size < earlier.size and sent_at > kept[1] + OVERTAKING:
                said = f"the log had {earlier.size} events, and later {found.size}: it was cut, or put back"
                raise Contradiction(said, kept[0], note)
            if found.size > earlier.size or (found.size == earlier.size and sent_at > kept[1]):
                self._keep(note, sent_at)
        return found.size

    def _read(self, note: bytes) -> Checkpoint:
        try:
            found = Checkpoint.parse(note)
            signer = signer_of(note, self._keys)
        except ValueError as error:
            raise BadMessage(f"{CHECKPOINT}: {error}") from None
        if signer is None or found.origin != signer.name:
            raise BadMessage(f"{CHECKPOINT} is not signed by {self._keys[-1].name}")
        return found

    def _load(self) -> tuple[bytes, float] | None:
        if self._path is None:
            return self._kept
        try:
            return self._path.read_bytes(), self._path.stat().st_mtime
        except FileNotFoundError:
            return None

    def _keep(self, note: bytes, sent_at: float) -> None:
        self._kept = note, sent_at
        if self._path is None:
            return
        # Written whole and synced before it takes the old one's place: a crash leaves one of the two.
        with NamedTemporaryFile(dir=self._path.parent, prefix=self._path.name, delete=False) as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        os.utime(file.name, (sent_at, sent_at))
        Path(file.name).replace(self._path)

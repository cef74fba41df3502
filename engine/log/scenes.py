"""What pending messages tell, put by beside a log: `<log>.scenes`.

The state of the outbox has room for the newest scenes alone. Older ones that somebody is still owed stand here, so that
a long backlog can be sent without a replay of the log. All of it follows from the log: the file may be lost, cut or
removed at any time, which costs time and changes no message. It is no part of the log, and no copy carries it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..errors import LogUnavailable
from ..sending import Place
from .driver import SqliteConnection, SqliteError, connect
from .files import make_like, remove

MOST: Final = 1_000_000
"""Scenes in the file, at most: some 400 MB. The oldest go first, and are told anew from the log."""
_SHARE: Final = 10
"""The part of them, one of so many, that goes at once."""
_CHECK: Final = 8
"""Bytes of a digest before each scene: one of which a bit was changed is taken for lost."""

_PRAGMAS: Final = (
    # Whole after a crash, whatever of the newest is lost, and no sync at a commit.
    "journal_mode = wal",
    "synchronous = normal",
    "cell_size_check = 1",
    "trusted_schema = 0",
    f"journal_size_limit = {16 << 20}",
)
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS scene (position INTEGER NOT NULL, subject TEXT NOT NULL, told BLOB NOT NULL, "
    "PRIMARY KEY (position, subject)) STRICT, WITHOUT ROWID"
)

_log = logging.getLogger(__name__)


def scenes_path(log: Path) -> Path:
    """Return where the scenes beside a log stand."""
    return log.with_name(log.name + ".scenes")


class SceneFile:
    """Scenes in a file, which is made when the first one is kept. One thread at a time may use it.

    Nothing here raises for the file's sake: what cannot be kept is not kept, and what cannot be read is not there. A
    file that is damaged is begun anew, once.
    """

    def __init__(self, log: Path) -> None:
        """*log*: the file of the log; who may not read it, may not read these."""
        self.path = scenes_path(log)
        self._like = log
        self._connection: SqliteConnection | None = None
        self._rows = 0
        self._failures = 0

    def keep(self, scenes: Mapping[Place, bytes]) -> None:
        """Keep scenes, in place of older ones of the same places."""
        rows = [(*place, bytearray(_checked(told))) for place, told in scenes.items()]
        if not rows or (connection := self._open(make=True)) is None:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO scene (position, subject, told) VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
            self._rows += len(rows)
        except SqliteError as error:
            self._begin_anew(error)

    def find(self, places: Collection[Place]) -> dict[Place, bytes]:
        """Return those scenes of some places that are here."""
        found: dict[Place, bytes] = {}
        if not places or (connection := self._open(make=False)) is None:
            return found
        query = "SELECT told FROM scene WHERE position = ? AND subject = ?"
        try:
            for place in places:
                for (kept,) in connection.execute(query, place).fetchall():
                    if _checked(told := kept[_CHECK:]) == kept:
                        found[place] = told
        except SqliteError as error:
            self._begin_anew(error)
        return found

    def let_go(self, before: int) -> None:
        """Let go of what was caused before a position, and of the oldest if they are too many."""
        if (connection := self._open(make=False)) is None:
            return
        try:
            connection.execute("DELETE FROM scene WHERE position < ?", (before,))
            ((self._rows,),) = connection.execute("SELECT count(*) FROM scene").fetchall()
            if self._rows > MOST:
                surplus = self._rows - MOST + MOST // _SHARE
                connection.execute(
                    "DELETE FROM scene WHERE position < (SELECT position FROM scene ORDER BY position "
                    "LIMIT 1 OFFSET ?)", (surplus,),
                )  # fmt: skip
        except SqliteError as error:
            self._begin_anew(error)

    def close(self, *, needed: bool) -> None:
        """Close the file; remove it if nothing of it is *needed* any more."""
        self._disconnect()
        if not needed:
            self._remove()

    # --- within ------------------------------------------------------------------------------------------------------

    def _open(self, *, make: bool) -> SqliteConnection | None:
        if self._connection is not None or self._failures > 1 or not (make or self.path.exists()):
            return self._connection
        try:
            if not self.path.exists():
                make_like(self.path, self._like)
            self._connection = connection = connect(self.path, mode="rw")
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(_TABLE)
        except LogUnavailable as error:
            self._failures = 2
            _log.warning("older messages will be made from the log, which takes longer: %s", error)
        except SqliteError as error:
            self._begin_anew(error)
        return self._connection

    def _begin_anew(self, error: SqliteError) -> None:
        self._failures += 1
        _log.warning(
            "%s is of no use (%s) and is made anew; messages are made from the log meanwhile", self.path, error
        )
        self._disconnect()
        self._remove()

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(SqliteError):
                connection.close()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            with suppress(LogUnavailable):
                remove(self.path.with_name(self.path.name + end))


def _checked(told: bytes) -> bytes:
    return sha256(told).digest()[:_CHECK] + told

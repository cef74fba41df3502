"""Secrets beside a log, in a file of their own: `<log>.secrets`.

Station credentials and signing secrets stand here under random ids; the log holds the ids alone, so that it can be
kept for ever and handed to auditors. What is forgotten is overwritten (`secure_delete`). The file names the log that
it belongs to: a log that is found beside another's secrets, or none, is a copy.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import LogForeign, LogNewer, LogUnavailable, SecretsExposed
from .library import SqliteConnection, SqliteError, connect, explain
from .lock import WriterLock

SECRETS_APPLICATION_ID: Final = 0x53544B53
"""`STKS`, in the header of every secrets file."""
_LAYOUT: Final = 1

_PRAGMAS: Final[dict[str, str | int]] = {
    # The journal ends with each commit, and no WAL keeps old pages: what was forgotten is nowhere.
    "journal_mode": "delete",
    # Overwrite with zeros what is deleted.
    "secure_delete": 1,
    "synchronous": 2,
    "fullfsync": 1,
    "trusted_schema": 0,
    # Nothing spills into temporary files.
    "temp_store": 2,
}


class Secrets(Protocol):
    """Secrets under random ids."""

    @property
    def belongs(self) -> bool:
        """Whether these are the secrets of this very log; if not, the log is a copy and must be mute."""
        ...

    def adopt(self) -> None:
        """Make these the secrets of this log: the copy becomes the original."""
        ...

    def keep(self, id: str, secret: bytes) -> None:
        """Keep a secret under an id, durably."""
        ...

    def get(self, id: str) -> bytes | None:
        """Return a secret; none if there is none of that id."""
        ...

    def forget(self, id: str) -> None:
        """Forget a secret for good; its bytes are overwritten. Twice is harmless."""
        ...

    def ids(self) -> frozenset[str]:
        """Return the ids of all secrets."""
        ...

    def close(self) -> None:
        """Close. Twice is harmless."""
        ...

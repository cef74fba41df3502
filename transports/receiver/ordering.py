"""What is news: of each station the highest version counts, and what is not higher is dropped.

A message may come more than once, one that was given up and asked for again comes late, and what comes over two
connections may be overtaken. The version puts all of that right. It is never counted back: not over re-registration,
and a log that was restored goes on far above what it may have told (by 2**20).
"""

from __future__ import annotations

from threading import Lock
from typing import Protocol

from .messages import ONCE, Message


class Versions(Protocol):
    """Where the highest version of each station is kept: yours to choose.

    *type* is empty for flips. `chargestation.offline.confirmed`, which speaks of a flip, has a version of its own
    beside theirs, so that a repeat of it is seen.
    """

    def get(self, station: str, type: str = "") -> int:
        """Return the version kept; 0 if there is none."""
        ...

    def put(self, station: str, version: int, type: str = "") -> bool:
        """Keep a version if it is higher than the one kept, and return whether it was: compare and set in one step."""
        ...


class MemoryVersions:
    """Keeps versions for as long as the process lives. Threads may share it."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], int] = {}
        self._lock = Lock()

    def get(self, station: str, type: str = "") -> int:
        """Return the version kept; 0 if there is none."""
        return self._versions.get((station, type), 0)

    def put(self, station: str, version: int, type: str = "") -> bool:
        """Keep a version if it is higher than the one kept, and return whether it was."""
        with self._lock:
            if version <= self._versions.get((station, type), 0):
                return False
            self._versions[station, type] = version
            return True


class Order:
    """Tells news from what is stale.

    Where what you do with a message can be done twice without harm, ask `is_news`, do it, then `keep`: after a crash in
    between it is done again. Where it must not, `keep` first: after a crash in between it is not done. To have both,
    keep the version in your own database, in the transaction that does it.
    """

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def is_news(self, message: Message) -> bool:
        """Would `keep` say so? Nothing is kept yet."""
        if message.station is None or message.version is None:
            return True
        kept = self._versions.get(message.station)
        if message.flip:
            return message.version > kept
        # Others carry the version of the flip they speak of: stale if there was another since.
        repeated = message.type in ONCE and message.version <= self._versions.get(message.station, message.type)
        return message.version >= kept and not repeated

    def keep(self, message: Message) -> bool:
        """Keep the version, and return whether the message is news. A repeat is none.

        Of types that are not known here a repeat is news: its id tells.
        """
        if message.station is None or message.version is None:
            return True
        if message.flip:
            return self._versions.put(message.station, message.version)
        if not self.is_news(message):
            return False
        return message.type not in ONCE or self._versions.put(message.station, message.version, message.type)

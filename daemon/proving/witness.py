"""A log that fails by script, around any other: between any two of its steps, and with the process or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import trio

from ...engine.entry import Entry
from ...engine.errors import LogUnavailable
from ...engine.log import Log
from .history import History, Unwritable

Failing: TypeAlias = Literal["crash before", "crash after", "lost", "written"]
"""crash before  the process dies before anything is written
crash after   it dies after all was written, and before anybody knew
lost          the append fails, and nothing was written
written       the append fails, and all was written: who appends cannot tell these two apart"""

RECOVERY = 7.0
"""Seconds after its end by which the engine has found that the log is well: it looks every 5 s at the latest."""


class Crash(BaseException):
    """The gateway's process has died. Nothing in it gets another word."""


class Witness:
    """Stands before a log, keeps what it acknowledged, and lets it fail. It implements `Log` as far as that does."""

    def __init__(self, log: Log, history: History) -> None:
        self.inner = log
        self.next: Failing | None = None
        """How the next append of an event fails."""
        self.outage = 0.0
        """Seconds for which the log then stays unwritable."""
        self.durable = 0
        """The newest position that was acknowledged."""
        self.crashed = False
        """Whether the process died in an append."""
        self._history = history
        self._failing_until = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, entries: Sequence[Entry], **beside: Any) -> list[int]:
        """Append, or fail."""
        if trio.current_time() < self._failing_until:
            raise LogUnavailable("the disk is full, says the script")
        failing = self.next if entries else None
        if entries:
            self.next = None
        if failing == "crash before":
            self._crash()
        if failing == "lost":
            self._fail()
        positions = self.inner.append(entries, **beside)
        if failing == "crash after":
            self._crash()
        if failing == "written":
            self._fail()
        acknowledged = self._history.acknowledged
        for entry, position in zip(entries, positions, strict=True):
            acknowledged.setdefault(position, entry.leaf)
        self.durable = max(self.durable, *positions, 0)
        return positions

    def recover(self) -> None:
        """Open the log anew, once its outage is over."""
        if trio.current_time() < self._failing_until:
            raise LogUnavailable("the disk is full, says the script")
        self.inner.recover()

    def _crash(self) -> None:
        self.crashed = True
        raise Crash

    def _fail(self) -> None:
        now = trio.current_time()
        self._failing_until = now + self.outage
        self._history.note(Unwritable(now, self._failing_until, self._failing_until + RECOVERY))
        raise LogUnavailable("the disk is full, says the script")

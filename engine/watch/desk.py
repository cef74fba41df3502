"""Where the doorway has events written: the run loop, as far as it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..entry import Entry
from ..errors import LogError
from ..events import Event, Micros
from ..stations import Busy


class Ticket(Protocol):
    """A batch on its way into the log."""

    required: bool
    """Whether it is kept however long the log cannot be written."""
    dropped: bool
    """Whether it never went into the log, and never will."""

    async def wait(self) -> Sequence[int]:
        """Return the positions once it is durable and folded."""
        ...

    def then(self, callback: Callable[[LogError | None], None]) -> None:
        """Have *callback* called once `wait` would return (None), or with what it would raise."""
        ...


class Desk(Protocol):
    """Where the doorway has events written: the run loop."""

    def seal(self, event: Event, *, id: str, subject: str, private: bytes = b"", at: Micros | None = None) -> Entry:
        """Put an event into the envelope of this run."""
        ...

    def submit(self, entries: Sequence[Entry], *, required: bool) -> Ticket:
        """Queue a batch. What is *required* is never refused."""
        ...

    def unavailable(self) -> Busy | None:
        """Return why nobody can be admitted now, for reasons that are not the doorway's."""
        ...

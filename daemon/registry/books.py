"""What the registrar writes into: a running engine, or a log that nobody serves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ...engine.events import Event, Micros
from ...engine.fold import Projection
from ...engine.log import Log
from .vault import SecretStore

S = TypeVar("S")


class Book(Protocol):
    """A log with the states of its projections. `engine.Engine` is one, `offline.OfflineBook` another."""

    @property
    def secrets(self) -> SecretStore:
        """Credentials and signing secrets by id."""
        ...

    @property
    def copied(self) -> bool:
        """Whether the log is a copy without its secrets, which nobody adopted: no secret can be kept."""
        ...

    @property
    def position(self) -> int:
        """The position of the newest event that is folded."""
        ...

    def now(self) -> Micros:
        """Return the time that an event of this moment bears."""
        ...

    def state(self, projection: Projection[S, Any]) -> S:
        """Return a projection's state as of `position`, for reading alone."""
        ...

    async def record(self, event: Event, *, subject: str = "", actor: str = "", id: str | None = None) -> int:
        """Append an event; return its position once it is durable and folded.

        Raises:
            LogUnavailable: the log cannot be written now.
        """
        ...

    def reader(self) -> AbstractContextManager[Log]:
        """Open the log for reading alone, to be used in a worker thread."""
        ...

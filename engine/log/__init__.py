"""The log: what happened, in order, kept.

`Log` is the whole interface. `sqlite` is the embedded default, `memory` serves tests and examples; one conformance
suite (`engine.testing`) judges both, and any other. All SQL of the engine lives in this folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from ..entry import Beat, Entry, Recorded
from ..events import Micros

ATTEMPTS_KEPT: Final = 30 * 24 * 3600 * 1_000_000
"""Microseconds."""


class Snapshot(msgspec.Struct, frozen=True):
    """A projection's state as of a position. It only speeds up the start, and is thrown away when anything differs."""

    name: str
    """The projection's."""
    version: int
    """The projection's."""
    position: int
    leaf: bytes
    """Of the event at `position`: binds the snapshot to this very history."""
    state: bytes


class Attempted(msgspec.Struct, frozen=True):
    """Telemetry: a failed attempt at a message, and when the next is due. Losing it costs attempts, no message.

    The newest one of a message without an outcome is what delivery goes on from after a restart; all of them are kept
    for about `ATTEMPTS_KEPT`, to be shown.
    """

    message: str
    round: int
    number: int
    """1, 2, 3 ... within the round."""
    at: Micros
    due: Micros
    """When the next one is, by the wall clock."""
    delay: float
    """The delay that made `due`: over a restart no message waits longer than this."""
    status: int | None
    error: str


class Log(Protocol):
    """An append-only sequence of events, and small disposable tables beside it.

    One thread at a time may use a log. Positions are 1, 2, 3 ... without gaps, in the order of appends.
    """

    @property
    def position(self) -> int:
        """The position of the newest event; 0 in an empty log."""
        ...

    @property
    def latest_at(self) -> Micros:
        """The newest time that any event bears; 0 in an empty log."""
        ...

    def append(
        self, entries: Sequence[Entry], *, beat: Beat | None = None, attempts: Sequence[Attempted] = ()
    ) -> list[int]:
        """Append a batch, whole or not at all, and return each entry's position once all of it is durable.

        An entry that the log already holds, byte for byte, is not written again: its old position is returned, also to
        a run that has ended. A run ends with its `gateway.stopped`, or with a `gateway.lost` that names it. *beat* and
        *attempts* are kept in the same transaction. With no entries, only those are.

        Raises:
            Conflict: the log holds an entry of that id with other bytes. Nothing of the batch was written.
            Fenced: an entry belongs to a run that has ended. Nothing of the batch was written.
            LogUnavailable: whether the batch was written is unknown. Call `recover`, then append the same again.
            LogDamaged: what the log holds contradicts itself; it must not be written any more.
        """
        ...

    def recover(self) -> None:
        """Open the log anew after `LogUnavailable`, making sure that what was acknowledged is on the disk.

        Raises:
            LogUnavailable: it still cannot be written; call again later.
            LogDamaged: what was acknowledged is gone.
        """
        ...

    def read(
        self,
        after: int = 0,
        *,
        until: int | None = None,
        subject: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> Iterator[Recorded]:
        """Yield the events after a position, up to and with *until*, in order; only those asked for.

        It holds no transaction open between batches, so a slow reader starves nobody. What is appended meanwhile may
        or may not be seen.
        """
        ...

    def position_at(self, at: Micros) -> int:
        """Return the last position whose time is at or before *at*; 0 if there is none."""
        ...

    def beats(self) -> Mapping[str, Beat]:
        """Return the last word of each run that left one."""
        ...

    def attempts(self) -> Mapping[str, Attempted]:
        """Return the newest attempt at each message whose delivery failed, until a `delivery.*` outcome is in."""
        ...

    def attempts_at(self, message: str) -> Sequence[Attempted]:
        """Return the failed attempts at a message, oldest first, as far as they are still remembered."""
        ...

    def snapshot(self, name: str) -> Snapshot | None:
        """Return the newest snapshot of a projection."""
        ...

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep snapshots in place of the older ones of their projections: all of them, or none.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        ...

    def close(self) -> None:
        """Close the log. Closing twice is harmless."""
        ...

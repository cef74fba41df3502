"""What checks the events of a log as they go by: each hash, that none is missing, and the root at a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from ..entry import Recorded, is_genuine, mended
from ..errors import LogContradicted, LogDamaged
from ..ledger.checkpoint import Checkpoint
from ..ledger.tree import Tree

_BATCH: Final = 1_000


class Progress(Protocol):
    """Yields the events of a log up to a position again, and shows how far that is."""

    def __call__(self, events: Iterable[Recorded], *, until: int) -> Iterable[Recorded]: ...


def no_progress(events: Iterable[Recorded], *, until: int) -> Iterable[Recorded]:
    """Show nothing."""
    return events


class Witness:
    """Checks a log's events, which must go by in order from the first one on."""

    def __init__(self, name: str, known: Checkpoint | None = None, *, lenient: bool = False) -> None:
        """Set out to check.

        Args:
            name: what the log is called in messages.
            known: a checkpoint that the log must agree with.
            lenient: let changed events and the checkpoint pass, and only remember them.
        """
        self.tree: Final = Tree()
        """Over the leaves that the events have by their content."""
        self.changed: Final[list[Recorded]] = []
        """If lenient: the events that are not what was written, as a log can go on with them."""
        self._name = name
        self._known = known
        self._lenient = lenient
        self._leaves: list[bytes] = []

    def watch(self, events: Iterable[Recorded]) -> Iterator[Recorded]:
        """Yield events again, each once it was checked; the last check follows the last event.

        Raises:
            LogContradicted: an event was changed, or the log does not agree with the checkpoint.
            LogDamaged: a position is missing.
        """
        known = -1 if self._known is None else self._known.size
        position = 0
        if known == 0:
            self._compare()
        for recorded in events:
            position += 1
            if recorded.position != position:
                raise LogDamaged(f"{self._name}: position {position} is missing; restore from another backup")
            self._leaves.append(recorded.leaf if is_genuine(recorded) else self._meet_change(recorded))
            if len(self._leaves) == _BATCH or position == known:
                self._grow()
            if position == known:
                self._compare()
            yield recorded
        self._grow()
        if known > position and not self._lenient:
            raise LogContradicted(f"{self._name} ends at position {position}, but a checkpoint knows of {known} events")

    def check(self, events: Iterable[Recorded]) -> None:
        """Check all of some events, as `watch` does."""
        for _ in self.watch(events):
            pass

    def _meet_change(self, recorded: Recorded) -> bytes:
        """Return the leaf that the log goes on with."""
        if not self._lenient:
            raise LogContradicted(f"{self._name}: position {recorded.position} was changed since it was written")
        self.changed.append(mended(recorded))
        return self.changed[-1].leaf

    def _grow(self) -> None:
        self.tree.extend(self._leaves)
        self._leaves.clear()

    def _compare(self) -> None:
        assert self._known is not None
        if self.tree.root() != self._known.root and not self._lenient:
            raise LogContradicted(
                f"{self._name} does not agree with its checkpoint: an event up to position {self._known.size} was "
                "changed or replaced"
            )

"""The judge's own small model of lanes: semantics 6, O5 and O6, written down once more from the page, not the code.

Nobody in a simulated world asks for a message again, so a message is pending once, and has at most one outcome.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from .model import Flip

LANE: Final = 64
"""Messages that may wait in a lane (semantics 6, O5)."""


class Lanes:
    """What one webhook is owed of each station, after each row of a log."""

    def __init__(self, patterns: Sequence[str], *, latest: bool = False) -> None:
        self._patterns = patterns
        self._latest = latest
        self.owed: defaultdict[str, list[Flip]] = defaultdict(list)
        """By station: all that was ever owed, in order."""
        self.excused: set[tuple[int, str]] = set()
        """Position and station of each flip that need not have been told: it was given up, or its lane was full."""
        self._pending: defaultdict[str, list[int]] = defaultdict(list)

    def owe(self, flip: Flip) -> None:
        """Take a flip. If that is one too many, the two behind the head go: never the newest, never one alone.

        Who asks for the latest alone need not be told of any that waits, or is being sent.
        """
        if not any(fnmatchcase(flip.station, pattern) for pattern in self._patterns):
            return
        self.owed[flip.station].append(flip)
        lane = self._pending[flip.station]
        if self._latest:
            self.excused |= {(position, flip.station) for position in lane}
            lane.clear()
        lane.append(flip.position)
        if len(lane) > LANE:
            self.excused |= {(position, flip.station) for position in lane[1:3]}
            del lane[1:3]

    def settle(self, station: str, position: int, *, parked: bool) -> None:
        """Take the outcome of a message; of one that is not pending it excuses nothing."""
        if position in self._pending[station]:
            self._pending[station].remove(position)
            if parked:
                self.excused.add((position, station))

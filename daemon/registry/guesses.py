"""Guesses at passwords: how long the next one has to wait. Time is an argument; nothing here sleeps or draws.

It is the identity that is slowed down, never an address (a whole fleet may stand behind one), and only where something
is wrong: whoever is right passes by without a look at this.
"""

from __future__ import annotations

from typing import Final

from attrs import Factory, define

FIRST: Final = 0.25
"""Seconds that the first wrong answer costs; each further one costs twice as much."""
LONGEST: Final = 2.25
"""Seconds that it comes to. One that is under way and the next, stretched, both fit into half of a handshake's 10 s, so
that the right station still gets its turn. A guesser is left with 38 400 tries a day: enough for a list of popular
passwords, and nothing against 16 characters that were drawn."""
FORGOTTEN: Final = 600.0
"""Seconds of quiet after which somebody is no guesser any more."""
KEPT: Final = 10_000
"""Identities that are remembered, about 2 MB. Who guesses at more than that has the oldest forgotten, and has spread
his guesses thin by then."""
SUSPECTS: Final = 64
"""Address blocks that are remembered for one identity."""


@define
class _Tries:
    count: int
    free_at: float
    """When the next guess may be looked at."""
    newest: bytes
    blocks: set[str] = Factory(set[str])
    """From which the wrong answers came, as far as they were told."""


class Guesses:
    """Wrong answers by identity, and the time that they cost."""

    def __init__(self, *, first: float = FIRST, longest: float = LONGEST, kept: int = KEPT) -> None:
        self._first, self._longest, self._kept = first, longest, kept
        self._tries: dict[str, _Tries] = {}

    def __len__(self) -> int:
        return len(self._tries)

    def wait(self, identity: str, now: float, *, ahead: int = 0) -> float:
        """Return the seconds until a guess may be looked at that so many others are *ahead* of."""
        tries = self._known(identity, now)
        return 0.0 if tries is None else max(0.0, tries.free_at - now) + ahead * self._pause(tries.count + 1)

    def suspected(self, identity: str, now: float) -> bool:
        """Return whether there were wrong answers of late."""
        return self._known(identity, now) is not None

    def came_from(self, identity: str, block: str, now: float) -> bool:
        """Return whether wrong answers of late came from an address block."""
        tries = self._known(identity, now)
        return tries is not None and block in tries.blocks

    def right(self, identity: str) -> None:
        """Note a right answer: what was wrong before is forgiven."""
        self._tries.pop(identity, None)

    def wrong(self, identity: str, now: float, mark: bytes = b"", *, block: str | None = None) -> float | None:
        """Note a wrong answer; return the seconds to hold it back, at most twice the longest pause.

        None: so many of them are held back already that this one should be told to come later, and is not counted.
        What bears the same *mark* as the one before is no new guess: a station with a wrong password pays the same
        each time, and does not pay for its patience.
        """
        tries = self._known(identity, now) or _Tries(0, now, b"")
        self._keep(identity, tries)
        if block is not None and len(tries.blocks) < SUSPECTS:
            tries.blocks.add(block)
        if mark and mark == tries.newest:
            return self._first
        if tries.free_at - now > self._longest:
            return None
        tries.count += 1
        tries.newest = mark
        tries.free_at = max(now, tries.free_at) + self._pause(tries.count)
        return tries.free_at - now

    def _known(self, identity: str, now: float) -> _Tries | None:
        tries = self._tries.get(identity)
        return None if tries is None or now - tries.free_at > FORGOTTEN else tries

    def _keep(self, identity: str, tries: _Tries) -> None:
        self._tries.pop(identity, None)
        self._tries[identity] = tries  # the newest stands last
        if len(self._tries) > self._kept:
            del self._tries[next(iter(self._tries))]

    def _pause(self, count: int) -> float:
        # float: 2 ** count would be a number of so many digits.
        return self._longest if count > 32 else min(self._longest, self._first * 2.0 ** (count - 1))

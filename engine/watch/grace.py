"""The grace: how long the stations of an ended run may take to come back (semantics 4).

Only time in which they could have come back counts: seconds in which somebody listened and nobody was turned away.
So neither a crash loop, nor an hour of downtime, nor our own overload lapses anybody wrongly; and every ended run
lapses at last.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen(kw_only=True)
class Lapse:
    """A run whose grace is over."""

    run: str
    listened: float
    """Seconds listened, by whichever runs, since its end."""


class Undecided:
    """One handshake that is not decided yet (`stations.Undecided`)."""

    __slots__ = ("_among", "_number")

    def __init__(self, among: dict[int, None], number: int) -> None:
        self._among = among
        self._number = number

    def decided(self) -> None:
        self._among.pop(self._number, None)

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self.decided()


class Handshakes:
    """Which handshakes are undecided: accepted, but neither admitted nor refused yet."""

    def __init__(self) -> None:
        self.accepted = 0
        """Handshakes so far."""
        self.turned_away = False
        """Whether one was answered 503 since this was last set back."""
        self._undecided: dict[int, None] = {}

    def one(self) -> Undecided:
        """Count a handshake as undecided until it is `decided`."""
        self.accepted += 1
        self._undecided[self.accepted] = None
        return Undecided(self._undecided, self.accepted)

    def decided_up_to(self, number: int) -> bool:
        """Return whether the first *number* handshakes are all decided."""
        oldest = next(iter(self._undecided), None)
        return oldest is None or oldest > number


class Grace:
    """Counts the seconds of one run, and says which ended runs lapse."""

    def __init__(self, grace: float, handshakes: Handshakes) -> None:
        self.grace = grace
        self.listened = 0.0
        """Seconds in which this run listened."""
        self._handshakes = handshakes
        self._at_end: dict[str, float] = {}
        """Ended run -> what we had listened when it ended: what we did before is no chance to come back after."""
        self._due: dict[str, int] = {}
        """Run whose grace is over -> the handshakes accepted until then."""

    def second(self, *, listening: bool, holding: Mapping[str, float]) -> list[Lapse]:
        """Count one second; return the runs that lapse now, oldest end first.

        *holding*: each ended run that still holds a station -> seconds that other ended runs listened since its end.
        """
        turned_away, self._handshakes.turned_away = self._handshakes.turned_away, False
        for run in holding:
            self._at_end.setdefault(run, self.listened)
        if not listening or turned_away:
            return []
        self.listened += 1
        lapses: list[Lapse] = []
        for run, others in holding.items():
            waited = others + self.listened - self._at_end[run]
            if waited < self.grace:
                continue
            last = self._due.setdefault(run, self._handshakes.accepted)
            if self._handshakes.decided_up_to(last):
                lapses.append(Lapse(run=run, listened=waited))
        return lapses

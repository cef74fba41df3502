"""Conflicts: stations whose identity two devices use at once, each taking it over from the other.

The newest connection wins, so two devices with one identity push each other out for ever, and the station's flag never
shows it. A takeover alone is no sign of that: a device that lost its network comes back, and takes over from its own
zombie, which has been silent since. One takes over from another device where the older connection had just spoken.
`TAKEOVERS` of these in a row, none later than `QUIET` after the one before, are a conflict, until `QUIET` has passed
without another.

Nothing is kept of a station that never took over from itself, and of any other at most two small records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import ConnectionClosed, ConnectionOpened, Event, Micros, StationRemoved
from ..engine.fold import Below, Projection
from .presence import presence

__all__ = ["LIFE", "QUIET", "TAKEOVERS", "Conflict", "Conflicts", "conflicts"]

LIFE: Final[Micros] = 5_000_000
"""The older connection had spoken so short a time before it was taken over, in microseconds. A device that has to find
out that its network is gone, and to dial in again, takes longer: its own time-out is 10 s and more as a rule."""
TAKEOVERS: Final = 3
"""One may be chance: a device that is restarted within a second. Three in a row are not."""
QUIET: Final[Micros] = 600 * 1_000_000
"""Microseconds: longer than devices wait before they dial in again, as a rule, and short enough that the end of a
conflict is seen by whoever has just taken one of the two away."""


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Takeovers of one station from connections that had just spoken, in a row."""

    station: str
    since: Micros
    """The first of them."""
    last: Micros
    """The newest of them."""
    takeovers: int = 1


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A connection that was taken over, whose close is on its way."""

    station: str
    connection: str
    """`<run>-<n>`."""
    opened_at: Micros
    last: Micros
    """When it was taken over."""


class Conflicts(Mapping[str, Conflict]):
    """The takeovers of each station that had some of late, by its id; `standing` says which are conflicts."""

    def __init__(self) -> None:
        # Of both, the oldest come first: what is over is found at the front.
        self._rows: dict[str, Conflict] = {}
        self._taken: dict[str, Taken] = {}

    def __getitem__(self, station: str) -> Conflict:
        return self._rows[station]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<takeovers of {len(self)} stations>"

    def of(self, station: str, at: Micros) -> Conflict | None:
        """Return the conflict that a station is in at a time, not before that of the newest event; none mostly."""
        row = self._rows.get(station)
        return row if row is not None and _stands(row, at) else None

    def standing(self, at: Micros) -> list[Conflict]:
        """Return all conflicts at a time, not before that of the newest event."""
        return [row for row in self._rows.values() if _stands(row, at)]

    def take_over(self, taken: Taken) -> None:
        """Note that a connection was taken over; whether it had just spoken, its close will say."""
        self._taken.pop(taken.station, None)
        self._taken[taken.station] = taken

    def close(self, station: str, connection: str, alive_at: Micros) -> Conflict | None:
        """Let a connection that was taken over be closed; return what is new if it had just spoken."""
        taken = self._taken.get(station)
        if taken is None or taken.connection != connection:
            return None
        del self._taken[station]
        # A connection that never spoke at all is a handshake whose answer was lost: the same device tries again.
        if alive_at <= taken.opened_at or taken.last - alive_at > LIFE:
            return None
        before = self._rows.pop(station, None)
        if before is None or taken.last - before.last > QUIET:
            now = Conflict(station, taken.last, taken.last)
        else:
            now = Conflict(station, before.since, taken.last, before.takeovers + 1)
        self._rows[station] = now
        return now

    def forget(self, station: str) -> None:
        """Forget a station that is no more."""
        self._rows.pop(station, None)
        self._taken.pop(station, None)

    def forget_what_is_over(self, at: Micros) -> None:
        """Forget what has been quiet for long enough at a time, from the front."""
        both: tuple[dict[str, Conflict] | dict[str, Taken], ...] = (self._rows, self._taken)
        for kept in both:
            while kept and at - kept[oldest := next(iter(kept))].last > QUIET:
                del kept[oldest]

    def dump(self) -> bytes:
        """Write them down, in order."""
        return _encode(_Kept(list(self._rows.values()), list(self._taken.values())))

    @staticmethod
    def load(kept: bytes) -> Conflicts:
        """Read what `dump` wrote."""
        read, conflicts = _decode(kept), Conflicts()
        conflicts._rows = {row.station: row for row in read.rows}
        conflicts._taken = {taken.station: taken for taken in read.taken}
        return conflicts


class _Kept(msgspec.Struct, frozen=True):
    """The takeovers as they are written down."""

    rows: list[Conflict]
    taken: list[Taken]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


def _stands(row: Conflict, at: Micros) -> bool:
    return row.takeovers >= TAKEOVERS and at - row.last <= QUIET


# --- the fold --------------------------------------------------------------------------------------------------------


def _opened(conflicts: Conflicts, recorded: Recorded, event: ConnectionOpened, below: Below) -> Sequence[Conflict]:
    conflicts.forget_what_is_over(recorded.at)
    for change in below.changes(presence):  # one, unless presence found it odd
        older = change.before.connection  # one, if the station was ON
        if older is not None:
            conflicts.take_over(Taken(change.station, older.id, older.opened_at, recorded.at))
    return ()


def _closed(conflicts: Conflicts, recorded: Recorded, event: ConnectionClosed, below: Below) -> Sequence[Conflict]:
    if event.cause != "superseded":
        return ()
    now = conflicts.close(recorded.subject, event.connection, event.alive_at)
    return () if now is None else (now,)


def _removed(conflicts: Conflicts, recorded: Recorded, event: StationRemoved, below: Below) -> Sequence[Conflict]:
    conflicts.forget(recorded.subject)
    return ()


_FOLDS: Final[dict[str, Callable[[Conflicts, Recorded, Any, Below], Sequence[Conflict]]]] = {
    ConnectionOpened.kind: _opened,
    ConnectionClosed.kind: _closed,
    StationRemoved.kind: _removed,
}


def _apply(conflicts: Conflicts, recorded: Recorded, event: Event, below: Below) -> Sequence[Conflict]:
    return _FOLDS[recorded.kind](conflicts, recorded, event, below)


conflicts: Projection[Conflicts, Conflict] = Projection(
    name="conflicts",
    version=1,
    kinds=frozenset(_FOLDS),
    initial=Conflicts,
    apply=_apply,
    dump=Conflicts.dump,
    load=Conflicts.load,
    needs=(presence,),
)
"""Which identities two devices fight over. Its state is `Conflicts`, its changes are `Conflict`: a takeover more."""

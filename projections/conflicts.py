"""Conflicts: stations whose identity two devices use at once, each taking it over from the other.

The newest connection wins, so two devices with one identity push each other out for ever, and the station's flag never
shows it. A takeover alone is no sign of that: a device that lost its network comes back, and takes over from its own
zombie. So takeovers are weighed. One from a connection that had just spoken counts for much: a device that has to find
out that its network is gone takes longer. One from a connection that was not silent for longer than a living one may be
counts for less: idle devices that fight look so, and now and then a quick return. Any other counts for nothing, and
ends the row: the older connection was a zombie. So does a connection that ends otherwise: then nobody pushed it out.
What a conflict cannot tell: whether it is two devices, or one that opens a second connection while it has one.

`ENOUGH` in a row, none later than `QUIET` after the one before, are a conflict, until `QUIET` has passed without
another. Nothing is kept of a station that never took over from itself, and of any other at most two small records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import ConnectionClosed, ConnectionOpened, ConnectionPingTimedOut, Event, Micros, StationRemoved
from ..engine.fold import Below, Projection
from .presence import presence

__all__ = ["ENOUGH", "JUST", "QUIET", "Conflict", "Conflicts", "conflicts"]

JUST: Final[Micros] = 5_000_000
"""Microseconds: who spoke so short a time ago has just spoken. A device's own time-out is 10 s and more as a rule."""
SPOKEN: Final = 2
"""What a takeover counts for whose older connection had just spoken."""
ALIVE: Final = 1
"""What one counts for whose older connection had been silent for no longer than its ping interval, and `JUST`."""
ENOUGH: Final = 6
"""Three takeovers of the first sort in a row, or six of the second."""
QUIET: Final[Micros] = 600 * 1_000_000
"""Microseconds: longer than devices wait before they dial in again, as a rule, and short enough that the end of a
conflict is seen by whoever has just taken one of the two away."""
_LONGEST: Final = 3600.0
"""Seconds; a longer ping interval counts as this, so that no odd one overflows anything."""


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Takeovers of one station in a row; a conflict once their weight is enough."""

    station: str
    since: Micros
    """The first of them."""
    last: Micros
    """The newest of them."""
    takeovers: int
    weight: int


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A connection that was taken over, whose close is on its way."""

    station: str
    connection: str
    """`<run>-<n>`."""
    opened_at: Micros
    last: Micros
    """When it was taken over."""
    silence: Micros
    """For so long a living connection of this station may be silent."""


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
        """Note that a connection was taken over; what that counts for, its close will say."""
        self._taken.pop(taken.station, None)
        self._taken[taken.station] = taken

    def close(self, station: str, connection: str, alive_at: Micros) -> Conflict | None:
        """Let a connection that was taken over be closed; return what is new if it may have been another device's."""
        taken = self._taken.get(station)
        if taken is None or taken.connection != connection:
            return None
        del self._taken[station]
        weight = _weight(taken, alive_at)
        if not weight:
            self.break_off(station)
            return None
        before = self._rows.pop(station, None)
        if before is None or taken.last - before.last > QUIET:
            before = Conflict(station, taken.last, taken.last, 0, 0)
        weight = min(before.weight + weight, ENOUGH)
        self._rows[station] = now = Conflict(station, before.since, taken.last, before.takeovers + 1, weight)
        return now

    def break_off(self, station: str) -> None:
        """End a row of takeovers that is no conflict yet."""
        row = self._rows.get(station)
        if row is not None and row.weight < ENOUGH:
            del self._rows[station]

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
    return row.weight >= ENOUGH and at - row.last <= QUIET


def _weight(taken: Taken, alive_at: Micros) -> int:
    """Return what a takeover counts for, by the older connection's last proof of life."""
    if alive_at <= taken.opened_at:
        return 0  # It never spoke: a handshake whose answer was lost, and the same device that tries again.
    silent = taken.last - alive_at
    return SPOKEN if silent <= JUST else ALIVE if silent <= taken.silence else 0


# --- the fold --------------------------------------------------------------------------------------------------------


def _opened(conflicts: Conflicts, recorded: Recorded, event: ConnectionOpened, below: Below) -> Sequence[Conflict]:
    conflicts.forget_what_is_over(recorded.at)
    for change in below.changes(presence):  # one, unless presence found it odd
        older = change.before.connection  # one, if the station was ON
        if older is not None:
            # Of the newer connection, for the station's settings seldom change; 0 where it is never pinged.
            interval = min(max(0.0, event.ping_interval), _LONGEST)
            silence = round(interval * 1_000_000) + JUST
            conflicts.take_over(Taken(change.station, older.id, older.opened_at, recorded.at, silence))
    return ()


def _ended(
    conflicts: Conflicts, recorded: Recorded, event: ConnectionClosed | ConnectionPingTimedOut, below: Below
) -> Sequence[Conflict]:
    if any(change.flipped for change in below.changes(presence)):
        conflicts.break_off(recorded.subject)
    if not isinstance(event, ConnectionClosed) or event.cause != "superseded":
        return ()
    now = conflicts.close(recorded.subject, event.connection, event.alive_at)
    return () if now is None else (now,)


def _removed(conflicts: Conflicts, recorded: Recorded, event: StationRemoved, below: Below) -> Sequence[Conflict]:
    conflicts.forget(recorded.subject)
    return ()


_FOLDS: Final[dict[str, Callable[[Conflicts, Recorded, Any, Below], Sequence[Conflict]]]] = {
    ConnectionOpened.kind: _opened,
    ConnectionClosed.kind: _ended,
    ConnectionPingTimedOut.kind: _ended,
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

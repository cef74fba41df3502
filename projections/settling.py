"""Settling: which stations are offline at a version for which nobody has said yet that it settled.

A timer outside looks at this, and appends `station.settled` when a station has been offline for long enough. Derived
like everything else, it is right after a restart, however long that took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import Event, Micros, StationSettled
from ..engine.fold import Below, Projection
from .presence import Change, presence

__all__ = ["Settling", "Unsettled", "settling"]


class Unsettled(msgspec.Struct, frozen=True, gc=False):
    """A station that went offline a while ago."""

    station: str
    version: int
    """At which it is offline."""
    since: Micros
    """The time of the event that said so."""


class Settling(Mapping[str, Unsettled]):
    """The stations that are offline and not settled, by id; the one that went first comes first."""

    def __init__(self) -> None:
        self._unsettled: dict[str, Unsettled] = {}

    def __getitem__(self, station: str) -> Unsettled:
        return self._unsettled[station]

    def __iter__(self) -> Iterator[str]:
        return iter(self._unsettled)

    def __len__(self) -> int:
        return len(self._unsettled)

    def __repr__(self) -> str:
        return f"<{len(self)} unsettled>"

    def follow(self, change: Change, at: Micros) -> Unsettled | None:
        """Take what an event of this time changed of a station; return who is new here."""
        now, version = change.now, change.now.version
        since = at
        if not change.flipped:
            known = self._unsettled.get(now.id)
            if known is None or known.version == version:
                return None
            # A restored log raises versions; the station is offline for no shorter by that.
            since = known.since
        else:
            self._unsettled.pop(now.id, None)
            if now.online:
                return None
        self._unsettled[now.id] = unsettled = Unsettled(now.id, version, since)
        return unsettled

    def settle(self, station: str, version: int) -> None:
        """Let a station be settled, if it is at this version."""
        known = self._unsettled.get(station)
        if known is not None and known.version == version:
            del self._unsettled[station]

    def written(self) -> bytes:
        """Write it down, in order."""
        return _encode(list(self._unsettled.values()))

    @staticmethod
    def read(kept: bytes) -> Settling:
        """Return what was written down."""
        settling = Settling()
        settling._unsettled = {unsettled.station: unsettled for unsettled in _decode(kept)}
        return settling


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Unsettled]).decode


def _apply(settling: Settling, recorded: Recorded, event: Event, below: Below) -> Sequence[Unsettled]:
    if isinstance(event, StationSettled):
        settling.settle(recorded.subject, event.version)
        return ()
    new: list[Unsettled] = []
    for change in below.changes(presence):
        unsettled = settling.follow(change, recorded.at)
        if unsettled is not None:
            new.append(unsettled)
    return new


settling: Projection[Settling, Unsettled] = Projection(
    name="settling",
    version=1,
    kinds=presence.kinds | {StationSettled.kind},
    initial=Settling,
    apply=_apply,
    dump=Settling.written,
    load=Settling.read,
    needs=(presence,),
)
"""Which stations have yet to settle. Its state is `Settling`, its changes are `Unsettled`: new ones."""

"""The registry: which stations are known, and what is recorded of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import msgspec
from attrs import fields

from ..engine.entry import Recorded
from ..engine.events import Event, Micros, StationRecord, StationRegistered, StationRemoved, StationUpdated
from ..engine.fold import Below, Projection

__all__ = ["Change", "Registration", "Registry", "registry"]

TWICE: Final = "a station registered that was registered"
UNKNOWN: Final = "a change of a station that was not registered"
NO_STATION: Final = "a registration of no station"


class Registration(msgspec.Struct, frozen=True):
    """A station as it is registered."""

    record: StationRecord
    created_at: Micros
    updated_at: Micros
    position: int
    """Of the event that gave the record."""


class Change(msgspec.Struct, frozen=True):
    """What one event did to one registration; none: not registered."""

    station: str
    before: Registration | None
    now: Registration | None


class _Kept(msgspec.Struct, frozen=True):
    """A registry as it is written down."""

    present: dict[str, Registration]
    removed: dict[str, Registration]
    odd: dict[str, int]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class Registry(Mapping[str, Registration]):
    """The stations that are registered, by id."""

    def __init__(self) -> None:
        self._present: dict[str, Registration] = {}
        self._removed: dict[str, Registration] = {}
        self.odd: Counter[str] = Counter()
        """Events that make no sense where they stand and changed nothing, by reason; for `verify`."""

    def __getitem__(self, station: str) -> Registration:
        return self._present[station]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present)

    def __len__(self) -> int:
        return len(self._present)

    def __repr__(self) -> str:
        return f"<registry of {len(self)}>"

    @property
    def removed(self) -> Mapping[str, Registration]:
        """Those that were registered once and are no more, as they last were."""
        return self._removed

    def registered(self, station: str) -> Registration | None:
        """Return a station's registration; as `get`, without its detour."""
        return self._present.get(station)

    def last(self, station: str) -> Registration | None:
        """Return a station's registration, or the last one that it had."""
        return self._present.get(station) or self._removed.get(station)

    def put(self, station: str, now: Registration) -> None:
        """Let a station be registered so."""
        self._removed.pop(station, None)
        self._present[station] = now

    def remove(self, station: str) -> None:
        """Let a registered station be registered no more."""
        self._removed[station] = self._present.pop(station)

    def dump(self) -> bytes:
        """Write it down; equal ones give equal bytes."""
        return _encode(_Kept(self._present, self._removed, dict(self.odd)))

    @staticmethod
    def load(kept: bytes) -> Registry:
        """Read what `dump` wrote."""
        read = _decode(kept)
        registry = Registry()
        registry._present, registry._removed = read.present, read.removed
        registry.odd = Counter(read.odd)
        return registry


def _record(event: StationRecord) -> StationRecord:
    """Return what an event records, without which kind of event it was."""
    return StationRecord(**{field.name: getattr(event, field.name) for field in fields(StationRecord)})


def _apply(registry: Registry, recorded: Recorded, event: Event, below: Below) -> Sequence[Change]:
    station = recorded.subject
    before = registry.get(station)
    odd = _odd(station, event, before)
    if odd:
        registry.odd[odd] += 1
        return ()
    if before is not None and isinstance(event, StationRemoved):
        registry.remove(station)
        return (Change(station, before, None),)
    now = Registration(
        record=_record(cast(StationRecord, event)),
        created_at=recorded.at if before is None else before.created_at,
        updated_at=recorded.at,
        position=recorded.position,
    )
    registry.put(station, now)
    return (Change(station, before, now),)


def _odd(station: str, event: Event, before: Registration | None) -> str:
    if not station:
        return NO_STATION
    if isinstance(event, StationRegistered):
        return TWICE if before is not None else ""
    return UNKNOWN if before is None else ""


registry: Projection[Registry, Change] = Projection(
    name="registry",
    version=2,
    kinds=frozenset({StationRegistered.kind, StationUpdated.kind, StationRemoved.kind}),
    initial=Registry,
    apply=_apply,
    dump=Registry.dump,
    load=Registry.load,
)
"""Which stations are registered, and how. Its state is a `Registry`, its changes are `Change`."""

"""The fold: projections, and how events are turned into their states.

A projection is a value. Its state starts empty and is moved by `apply`, one event after the other, in position order;
nothing else moves it. `apply` is total: any well-formed event, in any order, is folded without an exception, and an
odd one changes nothing. It says what it changed as a sequence of changes, each with what was *before* and what is
*now*, so that projections above it and subscribers need not compare states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from .codec import decode
from .entry import Recorded
from .errors import NewerSchema
from .events import Event, GatewayStarted, Unknown
from .sending import Owed, Owing, Place

S = TypeVar("S")
C = TypeVar("C")


class Below:
    """What the projections below made of the event that is being folded."""

    __slots__ = ("_changes", "_states")

    def __init__(self, states: Mapping[str, Any], changes: Mapping[str, Sequence[Any]]) -> None:
        self._states = states
        self._changes = changes

    def state(self, projection: Projection[S, Any]) -> S:
        """Return the projection's state after the event."""
        state: S = self._states[projection.name]
        return state

    def changes(self, projection: Projection[Any, C]) -> Sequence[C]:
        """Return what the event changed in the projection."""
        return self._changes.get(projection.name, ())


@frozen(kw_only=True, eq=False)
class Retelling:
    """How bodies of messages are made that the state no longer has."""

    kinds: frozenset[str]
    """The kinds of events that they follow from."""
    retell: Callable[[Iterable[Recorded], Collection[Place]], Iterator[tuple[Place, bytes]]]
    """Make what was told at some places, from a log up to the last of them; of a station, from its share of it."""
    render: Callable[[Owed, bytes], bytes]
    """Make a body of that; LookupError if it is of another message."""


@frozen(kw_only=True, eq=False, repr=False)
class Projection(Generic[S, C]):
    """A pure answer over the log, as a value. S is its state, C what a change of it looks like."""

    name: str
    version: int
    """Raised whenever the same events would give another state, or be written down otherwise."""
    kinds: frozenset[str]
    """The kinds it folds; all others pass it by, unread."""
    initial: Callable[[], S]
    """Make the empty state."""
    apply: Callable[[S, Recorded, Event, Below], Sequence[C]]
    """Fold one event into the state, in place, and return what changed."""
    dump: Callable[[S], bytes]
    """Write the state down: equal states give equal bytes, whatever the hash seed."""
    load: Callable[[bytes], S]
    """Read what `dump` wrote. Any exception means: fold the log instead."""
    needs: tuple[Projection[Any, Any], ...] = ()
    """The projections it stands on; they are folded before it."""
    holding: Callable[[S], Mapping[str, float]] | None = field(default=None)
    """For the grace: the ended runs that still hold a station, oldest end first -> seconds that later *ended* runs
    have listened since. At most one projection of an engine says this."""
    owing: Callable[[S], Owing] | None = field(default=None)
    """For delivery: the messages that webhooks are owed; its changes are `Owed`. At most one projection has this."""
    retelling: Retelling | None = field(default=None)
    """For delivery: how to make the body of a message that the state no longer has."""

    def __repr__(self) -> str:
        return f"<projection {self.name} {self.version}>"


def in_order(projections: Iterable[Projection[Any, Any]]) -> list[Projection[Any, Any]]:
    """Return the projections with all that they stand on, each once, each after what it needs."""
    ordered: dict[str, Projection[Any, Any]] = {}

    def place(projection: Projection[Any, Any]) -> None:
        for need in projection.needs:
            place(need)
        ordered.setdefault(projection.name, projection)

    for projection in projections:
        place(projection)
    return list(ordered.values())


class Fold:
    """The states of some projections as of one position."""

    def __init__(self, projections: Iterable[Projection[Any, Any]]) -> None:
        self.projections = in_order(projections)
        self.position = 0
        """Of the newest event that was folded."""
        self.leaf = b""
        """Of that event."""
        self.passed_over: Counter[str] = Counter()
        """How many events of each kind that no projection here folds went by, known to this release or not."""
        self._states: dict[str, Any] = {projection.name: projection.initial() for projection in self.projections}
        self._releases: dict[str, str] = {}
        self._by_kind: dict[str, list[tuple[str, Callable[[Any, Recorded, Event, Below], Sequence[Any]]]]] = {}
        """Who folds a kind, in order: name and `apply`."""
        for projection in self.projections:
            for kind in projection.kinds:
                self._by_kind.setdefault(kind, []).append((projection.name, projection.apply))

    def state(self, projection: Projection[S, Any]) -> S:
        """Return a projection's state. It goes on changing as events are folded; it is for reading alone."""
        state: S = self._states[projection.name]
        return state

    def resume(self, states: Mapping[str, Any], position: int, leaf: bytes) -> None:
        """Take up states that were kept, as of *position*, in place of the empty ones."""
        self._states.update(states)
        self.position, self.leaf = position, leaf

    def advance(self, recorded: Recorded) -> Below:
        """Fold the next event.

        Raises:
            NewerSchema: a projection folds this kind, but a newer release wrote it.
            UnreadableEvent: the bytes are no event of their kind.
        """
        states = self._states
        changes: dict[str, Sequence[Any]] = {}
        below = Below(states, changes)
        folds = self._by_kind.get(recorded.kind)
        if folds:
            event = decode(recorded)
            if isinstance(event, Unknown):
                raise self._newer(recorded, needed_by=folds[0][0])
            for name, apply in folds:
                changes[name] = apply(states[name], recorded, event, below)
            if isinstance(event, GatewayStarted):
                self._releases[recorded.id] = event.software
        else:
            self.passed_over[recorded.kind] += 1
        self.position, self.leaf = recorded.position, recorded.leaf
        return below

    def _newer(self, recorded: Recorded, *, needed_by: str) -> NewerSchema:
        release = self._releases.get(recorded.run, "a newer release")
        return NewerSchema(
            f"position {recorded.position} is a {recorded.kind} of schema {recorded.schema}, which {release} wrote "
            f"and this release cannot read; {needed_by} needs it: upgrade Stationkeeper"
        )


def fold(projection: Projection[S, Any], events: Iterable[Recorded]) -> S:
    """Fold events into a projection's state, from nothing.

    Raises:
        NewerSchema: it folds a kind that a newer release wrote.
        UnreadableEvent: stored bytes are no event of their kind.
    """
    states = Fold([projection])
    for recorded in events:
        states.advance(recorded)
    return states.state(projection)

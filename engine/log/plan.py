"""Where each entry of a batch belongs: the rules of append, once for every log.

An entry that the log holds keeps its position; the same id with other bytes is a conflict; a run that has ended
appends no more. Bytes are compared by their leaf, which covers them all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from ..entry import Entry
from ..errors import Conflict, Fenced
from ..events import KINDS, DeliveryParked, DeliverySkipped, DeliverySucceeded, GatewayLost, GatewayStopped, LogRestored

ENDINGS: Final = frozenset({GatewayStopped.kind, GatewayLost.kind})
"""The kinds that end a run."""
CONCERN_ALL: Final = frozenset(
    kind for kind in KINDS if kind.startswith(("gateway.", "webhook.")) or kind == LogRestored.kind
)
"""The kinds that may change what is true of, or owed for, any station."""
OUTCOMES: Final = frozenset({DeliverySucceeded.kind, DeliveryParked.kind, DeliverySkipped.kind})
"""The kinds after which the attempts at a message are of no more use."""


class Plan(msgspec.Struct, frozen=True):
    """What an append has to do."""

    positions: list[int]
    """One for each entry of the batch."""
    fresh: list[Entry]
    """Those to be written, in order, from the position after the head on."""
    ended: list[tuple[str, int]]
    """The runs that they end, each with the position that ends it."""


class _Named(msgspec.Struct):
    run: str = ""
    message: str = ""


_named: Final = msgspec.json.Decoder(_Named).decode


def place(
    entries: Sequence[Entry],
    *,
    head: int,
    known: Callable[[str], tuple[int, bytes] | None],
    ended: Collection[str],
) -> Plan:
    """Decide each entry's position; *known* tells position and leaf of an id that the log holds.

    Raises:
        Conflict: an id is known with another leaf.
        Fenced: an entry that is not known belongs to a run that has ended.
    """
    positions: list[int] = []
    fresh: list[Entry] = []
    over: dict[str, int] = {}
    here: dict[str, tuple[int, bytes]] = {}
    for entry in entries:
        found = here.get(entry.id) or known(entry.id)
        if found is None:
            if entry.run in over or entry.run in ended:
                raise Fenced(entry.run)
            fresh.append(entry)
            found = here[entry.id] = (head + len(fresh), entry.leaf)
            run = run_ended_by(entry)
            if run and run not in ended:
                over.setdefault(run, found[0])
        elif found[1] != entry.leaf:
            raise Conflict(entry.id)
        positions.append(found[0])
    return Plan(positions=positions, fresh=fresh, ended=list(over.items()))


def run_ended_by(entry: Entry) -> str:
    """Return the run that this entry ends; empty if it ends none."""
    if entry.kind == GatewayStopped.kind:
        return entry.run
    return _name(entry).run if entry.kind == GatewayLost.kind else ""


def messages_settled(entries: Sequence[Entry]) -> list[str]:
    """Return the messages that were delivered, given up or skipped."""
    return [_name(entry).message for entry in entries if entry.kind in OUTCOMES]


def _name(entry: Entry) -> _Named:
    try:
        return _named(entry.body)
    except msgspec.DecodeError:
        # Whoever reads the event will say that it is malformed; a log only keeps bytes.
        return _Named()

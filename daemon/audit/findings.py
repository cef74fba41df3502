"""What an audit found, in words that cross from process to process."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ...engine.events import Micros

SHOWN: Final = 20
"""Positions that are named for one sort of oddity; the others are counted."""

State: TypeAlias = Literal["ok", "failed", "not checked"]


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    """What was found, in words."""
    position: int | None = None
    """The first position that is wrong."""
    at_most: int | None = None
    """Where it is only known between which two positions that one lies: the second of them."""


class Oddity(msgspec.Struct):
    """Events worth a look, because they make no sense where they stand, or tell of a restore. That is no failure."""

    reason: str
    count: int = 0
    positions: list[int] = []
    """The first of them."""


class Root(msgspec.Struct, frozen=True):
    """The root of the tree over the events up to a position, computed anew."""

    position: int
    at: Micros
    """The time of the event there."""
    root: bytes


class Found(msgspec.Struct):
    """What one or several passes over a log found."""

    checks: list[Check] = []
    oddities: list[Oddity] = []
    roots: list[Root] = []

    def add(self, other: Found) -> None:
        self.checks += other.checks
        self.oddities += other.oddities
        self.roots += other.roots


class Oddities:
    """Counts oddities by their reason."""

    def __init__(self) -> None:
        self._by_reason: dict[str, Oddity] = {}

    def note(self, reason: str, position: int | None, count: int = 1) -> None:
        oddity = self._by_reason.setdefault(reason, Oddity(reason, 0, []))
        oddity.count += count
        if position is not None and len(oddity.positions) < SHOWN:
            oddity.positions.append(position)

    def found(self) -> list[Oddity]:
        return list(self._by_reason.values())


class Wrong:
    """Notes the first thing that is wrong of one sort, and how many there are."""

    def __init__(self) -> None:
        self.position: int | None = None
        """The first position."""
        self.count = 0
        self._what = ""

    def note(self, position: int, what: str) -> None:
        self.count += 1
        if self.position is None or position < self.position:
            self.position, self._what = position, what

    def check(self, name: str, otherwise: str) -> Check:
        """Return the check that this makes; *otherwise*: what it says if nothing is wrong."""
        if self.position is None:
            return Check(name, "ok", otherwise)
        more = f" (and {self.count - 1:,} more)" if self.count > 1 else ""
        return Check(name, "failed", f"{self._what}{more}", self.position)

"""The judge's own small model of presence: semantics 3, written down once more from the page, not from the code.

It reads rows of the log and imports neither a projection nor the engine's fold, so that it shares no error with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from attrs import frozen

from ...engine.entry import Recorded

Held: TypeAlias = tuple[str, int]
"""By which run, and by which of its connections; 0: by none any more, only the run holds it."""


@frozen
class Flip:
    """A change of a station's flag."""

    position: int
    station: str
    version: int
    online: bool
    lapsed: bool
    """Whether it came of the end of a grace."""


class Model:
    """Which stations are online, after each row of a log."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        """By station that was ever online."""
        self.held: dict[str, Held] = {}
        """By station that is online."""
        self.running: set[str] = set()
        self._marks: dict[tuple[str, str], int] = {}

    def follow(self, row: Recorded) -> Iterator[Flip]:
        """Take a row; yield what flips."""
        kind, station = row.kind, row.subject
        if kind == "gateway.started":
            self.running.add(row.id)
        elif kind in ("gateway.stopped", "gateway.lost"):
            run = row.run if kind == "gateway.stopped" else self._body(row)["run"]
            self.running.discard(run)
            for held in [station for station, (by, n) in self.held.items() if by == run and n]:
                self.held[held] = (run, 0)
        elif kind == "gateway.lapsed":
            run = self._body(row)["run"]
            for held in [station for station, (by, _) in self.held.items() if by == run]:
                yield self._flip(row, held, None)
        elif kind == "connection.opened":
            connection = self._connection(row)
            run, n = connection
            if run in self.running and n > self._marks.get((station, run), 0):
                self._marks[station, run] = n
                was, self.held[station] = self.held.get(station), connection
                if was is None:
                    yield self._flip(row, station, connection)
        elif kind in ("connection.closed", "connection.ping_timed_out"):
            connection = self._connection(row)
            self._marks[station, connection[0]] = max(self._marks.get((station, connection[0]), 0), connection[1])
            if self.held.get(station) == connection:
                if kind == "connection.closed" and self._body(row)["cause"] == "shutdown":
                    self.held[station] = (connection[0], 0)
                else:
                    yield self._flip(row, station, None)

    def _flip(self, row: Recorded, station: str, to: Held | None) -> Flip:
        self.versions[station] = version = self.versions.get(station, 0) + 1
        if to is None:
            del self.held[station]
        return Flip(row.position, station, version, to is not None, row.kind == "gateway.lapsed")

    @staticmethod
    def _connection(row: Recorded) -> Held:
        run, _, n = json.loads(row.body)["connection"].rpartition("-")
        return run, int(n)

    @staticmethod
    def _body(row: Recorded) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(row.body)
        return body

"""The fleet: what presence keeps of every station, and of every run that still matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from ..engine.events import Cause, Micros, Side

Presence: TypeAlias = Literal["off", "on", "held"]
"""`held`: the station counts as online, but its connection went with its gateway's run, and the grace is not over."""

DisconnectCause: TypeAlias = Cause | Literal["gateway_lost", "lapsed"]
"""What ended a connection: a cause of `connection.closed`, or the loss of its run; `lapsed` once the grace was over."""

_MOST: Final = 1e15
"""Seconds; sums of listened time stop there, so that no odd history makes them infinite."""


class Connection(msgspec.Struct, frozen=True, gc=False):
    """The connection that a station has now."""

    id: str
    """`<run>-<n>`."""
    opened_at: Micros


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """How a station's newest ended connection came to its end."""

    connection: str
    cause: DisconnectCause
    code: int | None
    """The WebSocket close code on the wire, if there was one."""
    reason: str
    """The close reason on the wire."""
    side: Side | None
    """Who ended it; none as long as only a timeout is known, not yet the close."""
    last_alive_at: Micros
    """The last proof of life before the end."""
    detected_at: Micros
    """When we knew."""


class Station(msgspec.Struct, frozen=True, gc=False):
    """One station, as the log has it. As given by its id alone: never seen, offline, in a log never restored."""

    id: str
    state: Presence = "off"
    run: str = ""
    """The run of its connection (`on`), or that its connection went with (`held`)."""
    version: int = 0
    """Counts the flips of `online`, for ever."""
    position: int = 0
    """Of the event behind the present state."""
    connection: Connection | None = None
    disconnect: Disconnect | None = None
    """Kept while the station is online again, until the next one."""
    last_connect_at: Micros | None = None
    last_disconnect_at: Micros | None = None
    last_message_at: Micros | None = None
    """The newest recorded proof of life."""
    connection_url: str = ""
    """Where it dialled in last, without its id."""
    subprotocol: str | None = None
    """Of its last connection, as the next one."""
    security: str = "none"
    created_at: Micros = 0
    """When it was first let in."""
    updated_at: Micros = 0
    """When anything of this last changed."""

    @property
    def online(self) -> bool:
        """The flag."""
        return self.state != "off"


class Run(msgspec.Struct):
    """One life of a gateway: running, or ended and still holding stations."""

    id: str
    gateway: str
    public_url: str
    started: int
    """The position of its `gateway.started`."""
    ended: int | None = None
    """The position of what ended it; none while it runs."""
    waited: float = 0.0
    """Seconds that later runs listened which have ended, too, since this one did."""
    marks: dict[str, int] = {}
    """Station -> the highest n of a connection of it in this run. A run that ended needs them no longer."""
    stations: set[str] = set()
    """Those whose state names this run: an end of the run has to touch no others."""


class Fleet(Mapping[str, Station]):
    """Every station that was ever let in, by id; and the runs that hold them."""

    def __init__(self) -> None:
        self._stations: dict[str, Station] = {}
        self.runs: dict[str, Run] = {}
        """Those running, and those ended that still hold a station."""
        self.url: str = ""
        """Where the newest run takes stations in."""
        self.base = 0
        """The version of whoever was never let in. It is above 0 in a log that was restored: what it lost may have told
        of stations that it never saw."""
        self.odd: Counter[str] = Counter()
        """Events that make no sense where they stand and changed nothing by themselves, by reason; for `verify`."""

    def __getitem__(self, station: str) -> Station:
        return self._stations[station]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stations)

    def __len__(self) -> int:
        return len(self._stations)

    def __repr__(self) -> str:
        return f"<fleet of {len(self)}, {'watched' if self.watching else 'not watched'}>"

    @property
    def watching(self) -> bool:
        """Is any gateway watching?"""
        for run in self.runs.values():  # noqa: SIM110 - asked for every message, and any() takes three times as long
            if run.ended is None:
                return True
        return False

    def observed(self, station: str) -> bool:
        """Is the flag what a gateway sees now, and not only the last one reported?"""
        known = self._stations.get(station)
        return (known is None or known.state != "held") and self.watching

    def known(self, station: str) -> Station:
        """Return a station; one that was never let in is offline, at the base version."""
        return self._stations.get(station) or Station(id=station, version=self.base)

    def running(self, run: str) -> Run | None:
        """Return a run that has started and not ended."""
        found = self.runs.get(run)
        return found if found is not None and found.ended is None else None

    def holding(self) -> dict[str, float]:
        """Return the ended runs that still hold a station, oldest end first, with what each has waited."""
        ended = [(run.ended, run) for run in self.runs.values() if run.ended is not None]
        return {run.id: run.waited for _, run in sorted(ended, key=lambda pair: pair[0])}

    def put(self, before: Station, now: Station) -> None:
        """Let a station be *now* what it was not *before*."""
        self._stations[now.id] = now
        if before.run != now.run:
            if now.run:
                self.runs[now.run].stations.add(now.id)
            if before.run:
                left = self.runs[before.run]
                left.stations.discard(now.id)
                self._forget_if_done(left)

    def end(self, run: Run, position: int, listened: float) -> None:
        """Let a run have ended at a position, after so many seconds listened.

        What it listened is added to what the runs wait that had ended before it started. Of one that ended while this
        one ran, nobody knows how much of this one's time came later; none is counted, so that nothing lapses early.
        """
        for other in self.runs.values():
            if other.ended is not None and other.ended <= run.started:
                other.waited = min(other.waited + max(listened, 0.0), _MOST)
        run.ended = position
        run.marks = {}
        self._forget_if_done(run)

    def _forget_if_done(self, run: Run) -> None:
        if run.ended is not None and not run.stations:
            del self.runs[run.id]


class _Kept(msgspec.Struct, frozen=True):
    """A fleet as it is written down."""

    stations: list[Station]
    runs: list[Run]
    url: str
    base: int
    odd: dict[str, int]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


def dump(fleet: Fleet) -> bytes:
    """Write a fleet down; equal ones give equal bytes."""
    return _encode(
        _Kept(
            stations=[fleet[station] for station in sorted(fleet)],
            # Which stations a run holds is read off the stations again.
            runs=[msgspec.structs.replace(run, stations=set()) for _, run in sorted(fleet.runs.items())],
            url=fleet.url,
            base=fleet.base,
            odd=dict(fleet.odd),
        )
    )


def load(kept: bytes) -> Fleet:
    """Read what `dump` wrote."""
    read = _decode(kept)
    fleet = Fleet()
    fleet.runs = {run.id: run for run in read.runs}
    fleet.url = read.url
    fleet.base = read.base
    fleet.odd = Counter(read.odd)
    for station in read.stations:
        fleet.put(Station(id=station.id), station)
    return fleet

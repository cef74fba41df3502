"""The online flags of stations with the `eventsourcing` library: stations as aggregates, in its SQLite recorder.

Both of its ways to rebuild a state are here: each aggregate from its own events, through the repository; and all at
once from the notification log, as its followers read it. JSON is its default; caches and snapshots are off, as ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, ConnectionPingTimedOut

KINDS = frozenset({ConnectionOpened.kind, ConnectionPingTimedOut.kind, ConnectionClosed.kind})
"""What it is given: what happened to connections, each event with its whole body."""
BATCH = 1_000


class Station(Aggregate):
    """A station, and whether it is online. The newest connection wins, as with us."""

    class Began(Aggregate.Created):
        station: str

    class Opened(Aggregate.Event):
        connection: str
        details: dict[str, Any]

    class TimedOut(Aggregate.Event):
        connection: str
        details: dict[str, Any]

    class Closed(Aggregate.Event):
        connection: str
        cause: str
        details: dict[str, Any]

    @event(Began)
    def __init__(self, station: str) -> None:
        self.station = station
        self.online = False
        self.connection = ""

    @staticmethod
    def create_id(station: str) -> UUID:
        return uuid5(NAMESPACE_URL, station)

    @event(Opened)
    def opened(self, connection: str, details: dict[str, Any]) -> None:
        self.online, self.connection = True, connection

    @event(TimedOut)
    def timed_out(self, connection: str, details: dict[str, Any]) -> None:
        if connection == self.connection:
            self.online = False

    @event(Closed)
    def closed(self, connection: str, cause: str, details: dict[str, Any]) -> None:
        if connection == self.connection and cause != "shutdown":
            self.online = False


class Stations(Application[UUID]):
    """Its application: a recorder, and how events are written down."""

    log_section_size = BATCH


def stations_in(path: Path) -> Stations:
    """Open the application over a file."""
    return Stations(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)})


def write(path: Path, history: Iterable[Entry]) -> tuple[int, list[str]]:
    """Write what happened to connections; return how many events that were, and the stations that they are of."""
    application, written = stations_in(path), 0
    stations: dict[str, Station] = {}
    batch: list[Any] = []
    for entry in history:
        if entry.kind not in KINDS:
            continue
        station = stations.get(entry.subject)
        if station is None:
            station = stations[entry.subject] = Station(entry.subject)
        happened = decode(entry)
        details: dict[str, Any] = msgspec.json.decode(entry.body)
        connection = details.pop("connection")
        match happened:
            case ConnectionOpened():
                station.opened(connection, details)
            case ConnectionPingTimedOut():
                station.timed_out(connection, details)
            case _:
                station.closed(connection, details.pop("cause"), details)
        batch += station.collect_events()
        if len(batch) >= BATCH:
            application.events.put(batch)
            written, batch = written + len(batch), []
    application.events.put(batch)
    application.close()
    return written + len(batch), list(stations)


def by_repository(application: Stations, stations: Iterable[str]) -> dict[str, bool]:
    """Rebuild each station from its own events; return their flags."""
    rebuilt: Iterator[Station] = (application.repository.get(Station.create_id(station)) for station in stations)
    return {station.station: station.online for station in rebuilt}


def by_following(application: Stations) -> dict[str, bool]:
    """Rebuild all flags from the notification log, in the order in which events were recorded."""
    flags = Flags()
    start: int | None = None
    while notifications := application.notification_log.select(start, BATCH, inclusive_of_start=False):
        for notification in notifications:
            take(application.mapper.to_domain_event(notification), flags)
        start = notifications[-1].id
    return {flags.names[id]: online for id, online in flags.online.items()}


class Flags:
    """What a follower keeps: of each station its flag and its newest connection."""

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.online: dict[UUID, bool] = {}
        self.connection: dict[UUID, str] = {}


@singledispatch
def take(happened: object, flags: Flags) -> None:
    """Take an event into the flags: a follower's policy, as the library's documentation writes one."""
    raise TypeError(f"{happened!r} is no event of a station")


@take.register
def _began(happened: Station.Began, flags: Flags) -> None:
    flags.names[happened.originator_id] = happened.station
    flags.online[happened.originator_id] = False


@take.register
def _opened(happened: Station.Opened, flags: Flags) -> None:
    flags.online[happened.originator_id], flags.connection[happened.originator_id] = True, happened.connection


@take.register
def _timed_out(happened: Station.TimedOut, flags: Flags) -> None:
    if flags.connection[happened.originator_id] == happened.connection:
        flags.online[happened.originator_id] = False


@take.register
def _closed(happened: Station.Closed, flags: Flags) -> None:
    if flags.connection[happened.originator_id] == happened.connection and happened.cause != "shutdown":
        flags.online[happened.originator_id] = False

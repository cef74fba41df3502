"""Who is told of what: filters by type, station and site, as they stood at the event's position (O1, O3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from effort import examples
from histories import History
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold
from stationkeeper.projections import outbox

ONLINE, OFFLINE = "chargestation.online", "chargestation.offline"

MEETS = {"*": ("A1", "B1"), "A*": ("A1",), "?1": ("A1", "B1"), "B1": ("B1",), "a1": ()}
"""Patterns of stations, and which stations they mean."""
STANDS = {
    "*": ("", "north", "north/2"),
    "north": ("north",),
    "north*": ("north", "north/2"),
    "?*": ("north", "north/2"),
    "**": ("north", "north/2"),
}
"""Patterns of sites, and which sites they mean; a station without a site is meant by `*` alone."""

Filter: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Types, stations, sites."""


def some(words: Iterable[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(sorted(words)), max_size=2, unique=True).map(tuple)


filters = st.tuples(st.just((ONLINE, OFFLINE)) | some((ONLINE, OFFLINE)), some(MEETS), some(STANDS))


class Told:
    """A history that is folded as it grows, beside a plain model of who must be told."""

    def __init__(self) -> None:
        self.history = History()
        self.folding = Fold([outbox])
        self.sites: dict[str, str] = {}
        """As last registered; a station that is removed still stands where it stood."""
        self.registered: set[str] = set()
        self.filters: dict[str, Filter] = {}
        self.online: dict[str, str] = {}
        self.expected: list[tuple[str, str, str]] = []
        self.told: list[tuple[str, str, str]] = []
        self.history.started()
        self.fold()

    def fold(self) -> None:
        for recorded in self.history.events[self.folding.position :]:
            changes = self.folding.advance(recorded).changes(outbox)
            self.told += [(one.webhook, one.type, one.subject) for one in changes if one.state == "pending"]

    def flip(self, station: str) -> None:
        connection = self.online.pop(station, None)
        if connection is None:
            self.online[station] = connection = f"r1-{len(self.history.events)}"
            self.history.opened(station, connection)
            self.expect(ONLINE, station)
        else:
            self.history.closed(station, connection)
            self.expect(OFFLINE, station)

    def expect(self, type: str, station: str) -> None:
        for webhook, (types, stations, sites) in sorted(self.filters.items()):
            meant = any(station in MEETS[pattern] for pattern in stations)
            here = any(self.sites.get(station, "") in STANDS[pattern] for pattern in sites)
            if type in types and meant and here:
                self.expected.append((webhook, type, station))

    def station_moves(self, station: str, site: str) -> None:
        kind = e.StationUpdated if station in self.registered else e.StationRegistered
        self.history.add(kind(site=site), station)
        self.registered.add(station)
        self.sites[station] = site

    def station_goes(self, station: str) -> None:
        self.history.add(e.StationRemoved(), station)
        self.registered.discard(station)

    def webhook_asks(self, webhook: str, asked: Filter) -> None:
        kind = e.WebhookUpdated if webhook in self.filters else e.WebhookAdded
        types, stations, sites = asked
        self.history.add(kind(url="https://a.example/", events=types, stations=stations, sites=sites), webhook)
        self.filters[webhook] = asked

    def webhook_goes(self, webhook: str) -> None:
        self.history.add(e.WebhookRemoved(), webhook)
        self.filters.pop(webhook, None)


@composite
def lives(draw: DrawFn) -> Told:
    """Stations flip, move and go, webhooks change what they ask for, in any order."""
    told = Told()
    for webhook in ("w1", "w2"):
        told.webhook_asks(webhook, draw(filters))
    stations, webhooks = st.sampled_from(("A1", "B1")), st.sampled_from(("w1", "w2"))
    sites = st.sampled_from(("", "north", "north/2"))
    for move in draw(st.lists(st.sampled_from("ffffmmgww-"), max_size=30)):
        match move:
            case "f":
                told.flip(draw(stations))
            case "m":
                told.station_moves(draw(stations), draw(sites))
            case "g":
                told.station_goes(draw(stations))
            case "w":
                told.webhook_asks(draw(webhooks), draw(filters))
            case _:
                told.webhook_goes(draw(webhooks))
        told.fold()
    return told


@settings(max_examples=examples(150), deadline=None)
@given(told=lives())
def test_filters_are_those_of_the_events_position_whatever_changes_before_and_after(told: Told) -> None:
    assert told.told == told.expected


def test_whoever_heard_of_a_station_at_a_site_hears_that_it_went_when_it_is_removed() -> None:
    told = Told()
    told.webhook_asks("w1", ((ONLINE, OFFLINE), ("*",), ("north",)))
    told.station_moves("A1", "north")
    told.flip("A1")
    told.station_goes("A1")
    told.flip("A1")
    told.fold()

    assert told.told == [("w1", ONLINE, "A1"), ("w1", OFFLINE, "A1")]


def test_a_first_picture_is_of_the_sites_that_are_asked_for_alone() -> None:
    told = Told()
    for station, site in (("A1", "north"), ("B1", "south")):
        told.station_moves(station, site)
        told.flip(station)
    told.history.subscribed("w1", sites=("n*",), initial="state")
    told.fold()

    assert told.told == [("w1", ONLINE, "A1")]

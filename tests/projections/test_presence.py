"""Presence: what must hold over whole histories. The single rows of its table are in `test_presence_table`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from histories import SECOND, START, History
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from strategies import STATIONS, arbitrary_histories, causes, histories, legal_histories

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.engine.names import run_and_number, run_of
from stationkeeper.projections import presence
from stationkeeper.projections.presence import Change, Disconnect, Fleet


class Model:
    """The table of semantics 3, told anew: each event is shown to every station, and nothing is forgotten."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, str]] = dict.fromkeys(STATIONS, ("off", ""))
        self.versions: dict[str, int] = dict.fromkeys(STATIONS, 0)
        self.marks: dict[tuple[str, str], int] = {}
        self.running: dict[str, str] = {}
        self.ended: set[str] = set()

    def fold(self, recorded: Recorded) -> None:
        event = decode(recorded)
        match event:
            case e.GatewayStarted() if recorded.id not in self.running:
                for run in [run for run, gateway in self.running.items() if gateway == recorded.gateway]:
                    self.end(run)
                self.running[recorded.id] = recorded.gateway
            case e.GatewayStopped():
                self.end(recorded.run)
            case e.GatewayLost():
                self.end(event.run)
            case e.GatewayLapsed():
                for station, (state, of) in self.states.items():
                    if (state == "held" and of == event.run) or (state == "on" and run_of(of) == event.run):
                        self.go(station, "off", "")
                self.running.pop(event.run, None)
            case e.ConnectionOpened() | e.ConnectionPingTimedOut() | e.ConnectionClosed() if recorded.subject:
                self.connection(recorded.subject, event)
            case e.LogRestored():
                for station in self.versions:
                    self.versions[station] += 2**20
            case _:
                pass

    def connection(
        self, station: str, event: e.ConnectionOpened | e.ConnectionPingTimedOut | e.ConnectionClosed
    ) -> None:
        c = event.connection
        run, n = run_and_number(c)
        newest = run in self.running and n > self.marks.get((station, run), 0)
        if newest:
            self.marks[station, run] = n
        if isinstance(event, e.ConnectionOpened):
            if newest:
                self.go(station, "on", c)
        elif self.states[station] == ("on", c):
            ours = isinstance(event, e.ConnectionClosed) and event.cause == "shutdown"
            self.go(station, "held" if ours else "off", run if ours else "")

    def end(self, run: str) -> None:
        if self.running.pop(run, None) is not None:
            for station, (state, of) in self.states.items():
                if state == "on" and run_of(of) == run:
                    self.go(station, "held", run)

    def go(self, station: str, state: str, of: str) -> None:
        self.versions[station] += (self.states[station][0] == "off") != (state == "off")
        self.states[station] = (state, of)


def seen(fleet: Fleet, station: str) -> tuple[tuple[str, str], int]:
    known = fleet.known(station)
    return (known.state, known.connection.id if known.connection else known.run), known.version


@given(history=histories() | arbitrary_histories(60, presence_alone=True))
def test_the_fold_does_to_each_station_what_the_table_says(history: list[Recorded]) -> None:
    model, folding = Model(), Fold([presence])
    for recorded in history:
        model.fold(recorded)
        folding.advance(recorded)

        fleet = folding.state(presence)
        for station in STATIONS:
            assert seen(fleet, station) == (model.states[station], model.versions[station])


def changes_of(history: list[Recorded]) -> list[Change]:
    folding = Fold([presence])
    return [change for recorded in history for change in folding.advance(recorded).changes(presence)]


@given(history=histories())
def test_changes_join_without_a_gap_and_flips_alternate_and_are_numbered(history: list[Recorded]) -> None:
    changes = changes_of(history)
    for station in STATIONS:
        own = [change for change in changes if change.station == station]
        flips = [change for change in own if change.flipped]

        assert all(earlier.now is later.before for earlier, later in pairwise(own))
        assert [flip.now.online for flip in flips] == [n % 2 == 0 for n in range(len(flips))]
        assert all(flip.now.version == flip.before.version + 1 for flip in flips)
        assert all((change.now.version - change.before.version) in (0, 2**20) for change in own if not change.flipped)


@given(history=histories())
def test_each_flip_has_one_event_as_its_cause_with_both_times(history: list[Recorded]) -> None:
    by_position = {recorded.position: recorded for recorded in history}
    for change in changes_of(history):
        if change.flipped:
            assert change.now.updated_at == by_position[change.now.position].at
            if not change.now.online:
                assert change.now.disconnect is not None
                assert change.now.disconnect.detected_at == by_position[change.now.position].at


@given(history=legal_histories())
def test_the_newest_connection_wins(history: list[Recorded]) -> None:
    fleet = fold(presence, history)
    newest: dict[str, str] = {}
    for recorded in history:
        event = decode(recorded)
        if isinstance(event, e.ConnectionOpened):
            newest[recorded.subject] = event.connection

    assert set(fleet) == set(newest)
    assert len(fleet) == len(newest)
    for station in fleet.values():
        assert station.connection is None or station.connection.id == newest[station.id]


@given(history=legal_histories(), cause=causes, data=st.data())
def test_a_late_close_changes_nothing(history: list[Recorded], cause: e.Cause, data: st.DataObject) -> None:
    opened = [recorded for recorded in history if recorded.kind == "connection.opened"]
    fleet = fold(presence, history)
    late = [
        (recorded.subject, connection)
        for recorded in opened
        if (connection := recorded.id.removesuffix(":opened"))
        and (now := fleet[recorded.subject].connection)
        and now.id != connection
    ]
    if late:
        station, connection = data.draw(st.sampled_from(late))
        again = History()
        again.events = list(history)
        again.closed(station, connection, cause)
        again.timed_out(station, connection)

        after = fold(presence, again)
        assert dict(after) == dict(fleet)


def test_who_was_first_let_in_after_a_restore_is_past_what_the_lost_tail_told_of_it() -> None:
    history = History()
    history.restored()
    history.started("r1")
    history.restored()
    opened = history.opened("CP", "r1-1")

    changes = changes_of(history.events)

    assert [change.now.version for change in changes] == [2 * 2**20 + 1]
    assert changes[-1].now.position == opened.position


@given(history=histories())
def test_no_other_kind_touches_the_flag(history: list[Recorded]) -> None:
    only = [recorded for recorded in history if recorded.kind in presence.kinds]

    assert presence.dump(fold(presence, history)) == presence.dump(fold(presence, only))


@pytest.mark.parametrize("end", ["closed", "timed_out"])
@pytest.mark.parametrize("prior", ["off", "on"])
def test_rows_10_and_11_an_end_that_comes_before_its_open_leaves_its_mark(end: str, prior: str) -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    if prior == "off":
        history.closed("CP", "r1-1")
    before = fold(presence, history)["CP"]
    history.closed("CP", "r1-3") if end == "closed" else history.timed_out("CP", "r1-3")
    history.opened("CP", "r1-3")
    history.opened("CP", "r1-2")

    assert fold(presence, history)["CP"] == before
    history.opened("CP", "r1-4")
    assert fold(presence, history)["CP"].connection is not None


def test_row_13_is_odd_each_time() -> None:
    history = History()
    for n in (1, 2, 3):
        history.started(f"r{n}")

    assert fold(presence, history).odd == {"a gateway started anew before its last run had ended": 2}


def test_row_13_the_old_run_counts_as_ended() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.started("r2")
    history.opened("b", "r1-2")

    fleet = fold(presence, history)

    assert "b" not in fleet
    assert fleet.holding() == {"r1": 0.0}
    history.lapsed("r1")
    assert not fold(presence, history)["a"].online


def test_a_mark_never_goes_down() -> None:
    history = History()
    history.started("r1")
    for n in (3, 1, 2, 3):
        history.opened("a", f"r1-{n}")

    connection = fold(presence, history)["a"].connection

    assert connection is not None
    assert (connection.id, connection.opened_at) == ("r1-3", history.events[1].at)


def test_a_mark_is_the_stations_own_and_the_runs_own() -> None:
    history = History()
    history.started("r1")
    history.started("q1", gateway="h")
    history.opened("a", "r1-5")
    history.opened("b", "r1-4")
    history.opened("a", "q1-1")

    fleet = fold(presence, history)

    assert fleet["b"].online
    assert fleet["a"].run == "q1"


def test_of_a_station_that_never_came_nothing_is_known_but_that_it_is_offline() -> None:
    assert asdict(Fleet().known("CP")) == {
        "id": "CP",
        "state": "off",
        "run": "",
        "version": 0,
        "position": 0,
        "connection": None,
        "disconnect": None,
        "last_connect_at": None,
        "last_disconnect_at": None,
        "last_message_at": None,
        "connection_url": "",
        "subprotocol": None,
        "security": "none",
        "created_at": 0,
        "updated_at": 0,
    }


def test_a_station_was_created_when_it_was_first_let_in() -> None:
    history = History()
    history.started("r1")
    first = history.opened("CP", "r1-1")
    history.opened("CP", "r1-2")

    assert fold(presence, history)["CP"].created_at == first.at


def test_back_within_the_grace_is_no_flip_and_another_connection() -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    history.lost("r1")
    history.started("r2", url="ws://there/ocpp")
    opened = history.opened("CP", "r2-1")

    changes = changes_of(history.events)

    assert [change.flipped for change in changes] == [True, False, False]
    assert changes[-1].now.version == 1
    assert changes[-1].now.connection_url == "ws://there/ocpp"
    assert changes[-1].now.position == opened.position


def test_a_lapse_tells_when_we_knew_and_the_last_proof_of_life() -> None:
    history = History()
    history.started("r1")
    opened = history.opened("CP", "r1-1")
    lost = history.lost("r1")
    history.started("r2")
    lapsed = history.lapsed("r1")

    station = fold(presence, history)["CP"]

    assert station.disconnect is not None
    assert station.disconnect.cause == "lapsed"
    assert station.disconnect.last_alive_at == opened.at
    assert station.disconnect.detected_at == lapsed.at
    assert station.last_disconnect_at == lost.at


def test_a_lapse_flips_every_station_that_the_run_still_holds_and_no_other_in_the_order_of_their_ids() -> None:
    history = History()
    history.started("r1")
    for n, station in enumerate("hgfedcba", start=1):
        history.opened(station, f"r1-{n}")
    history.stopped("r1")
    history.started("r2")
    history.opened("c", "r2-1")
    history.lapsed("r1")

    lapse = [change for change in changes_of(history.events) if change.flipped and not change.now.online]

    assert [change.station for change in lapse] == list("abdefgh")
    assert fold(presence, history)["c"].online


def test_observed_needs_a_gateway_that_watches_and_a_station_that_is_not_held() -> None:
    history = History()
    history.started("r1", gateway="g")
    history.started("q1", gateway="h")
    history.opened("CP", "r1-1")
    history.opened("other", "q1-1")
    folding = Fold([presence])
    fleet = folding.state(presence)
    told: list[tuple[bool, ...]] = []
    for recorded in history:
        folding.advance(recorded)
    for last in (history.stopped("r1"), history.stopped("q1")):
        folding.advance(last)
        told.append((fleet.observed("CP"), fleet.observed("other"), fleet.observed("unknown"), fleet.watching))

    assert told == [(False, True, True, True), (False, False, False, False)]


ALIVE = START + 2 * SECOND + 1
"""Later than the open of a history's second event, so that it is the newest proof of life."""


LETTING_IN = START + 2 * SECOND


# The last of each: the position of the event by which we knew.
@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("closed", Disconnect("r1-1", "network_lost", 1006, "gone", "network", ALIVE, 3)),
        ("timed_out", Disconnect("r1-1", "ping_timeout", None, "", None, ALIVE, 3)),
        ("timed_out closed", Disconnect("r1-1", "ping_timeout", 1006, "gone", "network", ALIVE, 3)),
        ("stopped", Disconnect("r1-1", "shutdown", None, "", "gateway", LETTING_IN, 3)),
        ("lost", Disconnect("r1-1", "gateway_lost", None, "", "gateway", LETTING_IN, 3)),
        ("started_anew", Disconnect("r1-1", "gateway_lost", None, "", "gateway", LETTING_IN, 3)),
        ("stopped lapsed", Disconnect("r1-1", "lapsed", None, "", "gateway", LETTING_IN, 4)),
        ("lapsed", Disconnect("r1-1", "lapsed", None, "", "gateway", LETTING_IN, 3)),
    ],
)
def test_how_a_connection_ended_is_told_whole(ends: str, told: Disconnect) -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    ways: dict[str, Callable[[], Recorded]] = {
        "closed": lambda: history.closed(
            "CP", "r1-1", "network_lost", side="network", code=1006, reason="gone", alive_at=ALIVE
        ),
        "timed_out": lambda: history.timed_out("CP", "r1-1", alive_at=ALIVE),
        "started_anew": lambda: history.started("r2"),
    }
    for end in ends.split():
        (ways.get(end) or getattr(history, end))()

    station = fold(presence, history)["CP"]

    assert station.disconnect == replace(told, detected_at=history.events[told.detected_at - 1].at)
    assert station.last_disconnect_at == history.events[2].at
    assert station.last_message_at == told.last_alive_at
    assert station.updated_at == history.events[-1].at


def test_row_21_tells_of_the_connection_that_it_ends_and_not_of_one_that_ended_before() -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    history.closed("CP", "r1-1")
    history.opened("CP", "r1-2")
    history.lapsed("r1")

    station = fold(presence, history)["CP"]

    assert station.disconnect is not None
    assert (station.disconnect.connection, station.disconnect.cause) == ("r1-2", "lapsed")
    assert station.connection is None


def test_last_message_is_the_newest_recorded_proof_of_life() -> None:
    history = History()
    history.started("r1")
    opened = history.opened("CP", "r1-1")
    history.timed_out("CP", "r1-1", alive_at=opened.at + 5 * SECOND)
    history.closed("CP", "r1-1", "ping_timeout", alive_at=opened.at + 5 * SECOND)
    assert fold(presence, history)["CP"].last_message_at == opened.at + 5 * SECOND

    opened = history.opened("CP", "r1-2")
    history.closed("CP", "r1-2", alive_at=START)

    assert fold(presence, history)["CP"].last_message_at == opened.at


def test_ended_runs_wait_for_what_later_runs_listened_oldest_first() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.lost("r1", listened=100.0)
    history.started("r2")
    history.opened("b", "r2-1")
    history.stopped("r2", listened=7.0)
    history.started("r3")
    history.lost("r3", listened=5.0)

    holding = fold(presence, history).holding()

    assert list(holding.items()) == [("r1", 12.0), ("r2", 5.0)]


def test_a_run_that_ended_because_its_gateway_started_anew_waits_for_all_that_the_new_run_listens() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.started("r2")
    history.stopped("r2", listened=7.0)

    assert fold(presence, history).holding() == {"r1": 7.0}


@pytest.mark.parametrize(("listened", "waited"), [((-5.0, 3.0), 3.0), ((1e308, 1e308), 1e15)])
def test_odd_lengths_of_listened_time_make_no_sum_negative_or_infinite(
    listened: tuple[float, float], waited: float
) -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.stopped("r1")
    for n, seconds in enumerate(listened, start=2):
        history.started(f"r{n}")
        history.stopped(f"r{n}", listened=seconds)

    assert fold(presence, history).holding() == {"r1": waited}


def test_a_run_that_holds_nobody_any_more_is_forgotten() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.stopped("r1")
    history.started("r2")
    assert fold(presence, history).holding() == {"r1": 0.0}

    history.opened("a", "r2-1")

    fleet = fold(presence, history)
    assert fleet.holding() == {}
    assert set(fleet.runs) == {"r2"}


def test_time_listened_before_another_gateways_end_is_not_counted_for_it() -> None:
    history = History()
    history.started("q1", gateway="h")
    history.started("r1", gateway="g")
    history.opened("a", "r1-1")
    history.stopped("r1")
    history.stopped("q1", listened=1000.0)

    assert fold(presence, history).holding() == {"r1": 0.0}


def test_a_run_that_ended_leaves_no_marks() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.stopped("r1")

    assert fold(presence, history).runs["r1"].marks == {}


def test_odd_events_are_counted_by_reason() -> None:
    history = History()
    history.opened("a", "r9-1")
    history.opened("b", "r9-2")
    history.started("r1")
    history.opened("a", "r1-2")
    history.opened("a", "r1-1")
    history.started("r2")
    history.opened("", "r2-1")

    assert set(fold(presence, history).odd.items()) == {
        ("opened in a run that is not running", 2),
        ("opened after a newer connection of its run", 1),
        ("a gateway started anew before its last run had ended", 1),
        ("a connection of no station", 1),
    }


def test_every_odd_event_is_counted_and_changes_nothing() -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-3")
    before = fold(presence, history)
    told = len(history.events)
    for _ in range(2):
        history.opened("a", "r1-3")
        history.opened("a", "r9-1")
        history.opened("", "r1-9")
        history.started("r1", url="ws://elsewhere")
        history.stopped("r9")

    after = fold(presence, history)

    assert after.odd == {
        "opened after a newer connection of its run": 2,
        "opened in a run that is not running": 2,
        "a connection of no station": 2,
        "a run started twice": 2,
        "the end of a run that was not running": 2,
    }
    assert dict(after) == dict(before)
    assert (after.url, set(after.runs)) == (before.url, set(before.runs))
    assert changes_of(history.events) == changes_of(history.events[:told])


@pytest.mark.parametrize("end", ["started anew", "lapsed"])
def test_what_a_run_listened_that_never_told_is_counted_for_nobody(end: str) -> None:
    history = History()
    history.started("r1")
    history.opened("a", "r1-1")
    history.stopped("r1")
    history.started("r2")
    history.lapsed("r2") if end == "lapsed" else history.started("r3")

    assert fold(presence, history).holding() == {"r1": 0.0}


def test_row_21_a_run_that_lapsed_without_an_end_runs_no_more() -> None:
    history = History()
    history.started("r1")
    history.lapsed("r1")
    history.opened("a", "r1-1")

    fleet = fold(presence, history)

    assert "a" not in fleet
    assert not fleet.watching
    assert fleet.odd["a run lapsed that had not ended"] == 1


@pytest.mark.parametrize("number", ["0", "", "x", "-1", "²", "9" * 5000])
def test_a_connection_without_a_number_of_ours_opens_nothing(number: str) -> None:
    history = History()
    history.started("r1")
    history.opened("a", f"r1-{number}")

    assert "a" not in fold(presence, history)

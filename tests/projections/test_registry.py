"""The registry: what is registered, and what was."""

from __future__ import annotations

from histories import History
from hypothesis import given
from strategies import histories

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import registry


def test_a_registration_carries_the_whole_record_and_its_times() -> None:
    history = History()
    first = history.registered("CP", name="Bay 1", site="Depot", security="mtls")
    second = history.add(e.StationUpdated(name="Bay 2", credentials=(e.Validity(id="c1"),)), "CP")

    registration = fold(registry, history)["CP"]

    assert registration.record == e.StationRecord(name="Bay 2", credentials=(e.Validity(id="c1"),))
    assert (registration.created_at, registration.updated_at) == (first.at, second.at)
    assert registration.position == second.position


def test_a_removed_station_is_not_registered_but_remembered() -> None:
    history = History()
    history.registered("CP", name="Bay 1")
    history.add(e.StationRemoved(), "CP")

    state = fold(registry, history)

    assert "CP" not in state
    assert state.removed["CP"].record.name == "Bay 1"
    assert state.last("CP") is state.removed["CP"]


def test_registering_again_begins_anew() -> None:
    history = History()
    history.registered("CP", name="old")
    history.add(e.StationRemoved(), "CP")
    again = history.registered("CP", name="new")

    state = fold(registry, history)

    assert state["CP"].created_at == again.at
    assert not state.removed


def test_changes_say_what_was_before() -> None:
    history = History()
    told = [history.registered("CP", name="a"), history.add(e.StationRemoved(), "CP")]
    folding = Fold([registry])
    changes = [change for recorded in told for change in folding.advance(recorded).changes(registry)]

    assert [(change.before is None, change.now is None) for change in changes] == [(True, False), (False, True)]
    assert changes[0].now is changes[1].before


def test_odd_events_change_nothing_and_are_counted() -> None:
    history = History()
    history.registered("CP", name="first")
    before = registry.dump(fold(registry, history))
    history.registered("CP", name="second")
    history.add(e.StationUpdated(name="stray"), "unknown")
    history.add(e.StationRemoved(), "unknown")
    history.registered("")

    state = fold(registry, history)
    assert state.odd.total() == 4
    state.odd.clear()
    assert registry.dump(state) == before


@given(history=histories())
def test_the_newest_record_since_the_registration_stands(history: list[Recorded]) -> None:
    expected: dict[str, e.StationRecord] = {}
    for recorded in history:
        event, station = decode(recorded), recorded.subject
        if isinstance(event, e.StationRemoved):
            expected.pop(station, None)
        elif isinstance(event, e.StationRecord) and isinstance(event, e.StationUpdated) == (station in expected):
            expected[station] = event

    state = fold(registry, history)

    assert {station: registration.record.name for station, registration in state.items()} == {
        station: record.name for station, record in expected.items()
    }

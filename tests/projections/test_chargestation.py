"""The Chargestation object of the contract."""

from __future__ import annotations

from histories import SECOND, START, History
from hypothesis import given
from strategies import STATIONS, histories

from stationkeeper.engine import events as e
from stationkeeper.engine.clock import rfc3339
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold
from stationkeeper.projections import presence, registry
from stationkeeper.projections.chargestation import chargestation

KEYS = [
    "id",
    "object",
    "endpoint",
    "connection_url",
    "name",
    "site",
    "online",
    "observed",
    "protocol",
    "security",
    "lastConnectAt",
    "lastDisconnectAt",
    "lastMessageAt",
    "createdAt",
    "updatedAt",
    "version",
    "position",
    "connection",
    "disconnect",
]


def shown(history: History, station: str = "CP") -> dict[str, object] | None:
    folding = Fold([presence, registry])
    for recorded in history:
        folding.advance(recorded)
    return chargestation(folding.state(presence), folding.state(registry), station)


def test_a_connected_station_shows_its_connection() -> None:
    history = History()
    history.started("r1", url="wss://gw.example/ocpp")
    opened = history.opened("CP", "r1-1", security="basic", protocol="ocpp2.0.1")

    found = shown(history)

    at = rfc3339(opened.at)
    assert found == {
        "id": "CP",
        "object": "chargestation",
        "endpoint": "CP",
        "connection_url": "wss://gw.example/ocpp",
        "name": "",
        "site": "",
        "online": True,
        "observed": True,
        "protocol": "ocpp2.0.1",
        "security": {"type": "basic"},
        "lastConnectAt": at,
        "lastDisconnectAt": None,
        "lastMessageAt": at,
        "createdAt": at,
        "updatedAt": at,
        "version": 1,
        "position": 2,
        "connection": {"id": "r1-1", "openedAt": at},
        "disconnect": None,
    }


def test_an_offline_station_shows_how_it_went_with_both_times() -> None:
    history = History()
    history.started("r1")
    opened = history.opened("CP", "r1-1")
    alive_at = opened.at + SECOND // 2
    closed = history.closed("CP", "r1-1", "network_lost", side="network", code=1006, reason="", alive_at=alive_at)

    found = shown(history)

    assert found is not None
    assert (found["online"], found["connection"], found["version"]) == (False, None, 2)
    assert found["lastDisconnectAt"] == rfc3339(closed.at)
    assert found["lastMessageAt"] == rfc3339(alive_at)
    assert found["disconnect"] == {
        "cause": "network_lost",
        "code": 1006,
        "reason": "",
        "side": "network",
        "lastAliveAt": rfc3339(alive_at),
        "detectedAt": rfc3339(closed.at),
    }


def test_a_station_whose_run_was_lost_is_online_and_not_observed() -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    history.lost("r1")
    history.started("r2")

    found = shown(history)

    assert found is not None
    assert (found["online"], found["observed"], found["connection"]) == (True, False, None)


def test_a_registered_station_that_never_came_shows_where_to_dial_in() -> None:
    history = History()
    registered = history.registered("CP", protocol="ocpp1.6", security="mtls", name="Bay 1", site="Depot")
    history.started("r1", url="wss://gw.example/ocpp")

    found = shown(history)

    assert found is not None
    assert (found["online"], found["version"], found["position"]) == (False, 0, 0)
    assert (found["connection_url"], found["protocol"]) == ("wss://gw.example/ocpp", "ocpp1.6")
    assert (found["security"], found["name"], found["site"]) == ({"type": "mtls"}, "Bay 1", "Depot")
    assert found["createdAt"] == found["updatedAt"] == rfc3339(registered.at)
    assert found["lastConnectAt"] is None
    history.restored()
    assert (shown(history) or {})["version"] == 2**20


def test_before_a_gateway_ever_ran_there_is_nowhere_to_dial_in() -> None:
    history = History()
    history.registered("CP")

    found = shown(history)

    assert found is not None
    assert (found["connection_url"], found["observed"]) == ("", False)


def test_a_removed_station_that_once_came_is_still_shown_and_one_that_never_came_is_not() -> None:
    history = History()
    history.started("r1")
    for station in ("came", "never"):
        history.registered(station)
    history.opened("came", "r1-1")
    for station in ("came", "never"):
        history.add(e.StationRemoved(), station)

    assert shown(history, "came") is not None
    assert shown(history, "never") is None
    assert shown(history, "unknown") is None


def test_a_station_was_created_when_it_was_first_let_in_or_registered_and_updated_with_either() -> None:
    history = History()
    history.started("r1")
    opened = history.opened("CP", "r1-1")
    registered = history.registered("CP")

    found = shown(history)

    assert found is not None
    assert (found["createdAt"], found["updatedAt"]) == (rfc3339(opened.at), rfc3339(registered.at))


def test_a_time_that_rfc_3339_cannot_write_becomes_the_nearest() -> None:
    history = History()
    history.started("r1")
    history.opened("CP", "r1-1")
    history.closed("CP", "r1-1", alive_at=10**30)

    found = shown(history)

    assert found is not None
    assert found["lastMessageAt"] == "9999-12-31T23:59:59.999999Z"


@given(history=histories())
def test_the_keys_are_always_the_contracts_in_the_same_order(history: list[Recorded]) -> None:
    folding = Fold([presence, registry])
    for recorded in history:
        folding.advance(recorded)
    fleet, known = folding.state(presence), folding.state(registry)
    for station in STATIONS:
        found = chargestation(fleet, known, station)

        assert (found is not None) == (station in fleet or station in known)
        if found is not None:
            assert list(found) == KEYS
            assert str(found["createdAt"]) >= rfc3339(START)
            assert (found["connection"] is not None) <= bool(found["online"])

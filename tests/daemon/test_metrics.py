"""The numbers: that they are the engine's, and that peers cannot make their number grow."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from office import Office, open_office
from prometheus_client.parser import text_string_to_metric_families

from stationkeeper.daemon.dashboard.views import Roll
from stationkeeper.engine.events import StationRegistered
from stationkeeper.projections import conflicts
from stationkeeper.transports import NotLetIn


async def numbers(office: Office) -> dict[str, float]:
    """Return every sample, by its name and labels."""
    text = (await office.ask("GET", "/metrics")).text
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_numbers_are_the_engines() -> None:
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-9")
        await office.stations.connect("CP-7")
        await (await office.stations.connect("CP-8")).close(4000)
        await office.until_offline("CP-8")
        said = await numbers(office)

    assert said["stationkeeper_ready"] == said["stationkeeper_log_writable"] == said["stationkeeper_watching"] == 1
    assert (said["stationkeeper_stations_known"], said["stationkeeper_stations_registered"]) == (3, 1)
    assert (said["stationkeeper_stations_online"], said["stationkeeper_stations_held"]) == (1, 0)
    assert said["stationkeeper_connections"] == 1
    assert said["stationkeeper_connections_opened_total"] == 2
    assert said["stationkeeper_connections_closed_total cause=station_closed"] == 1
    assert said["stationkeeper_log_position"] == said["stationkeeper_events_appended_total"] == 5
    assert 1 <= said["stationkeeper_commits_total"] <= 5
    assert said["process_resident_memory_bytes"] > 1e6


async def test_a_station_whose_gateway_went_counts_as_held(tmp_path: Path) -> None:
    async with open_office(tmp_path / "log.db") as office:
        await office.stations.connect("CP-7")
    async with open_office(tmp_path / "log.db") as office:
        await office.stations.connect("CP-8")
        said = await numbers(office)

    assert said["stationkeeper_stations_online"] == 2
    assert said["stationkeeper_stations_held"] == said["stationkeeper_connections"] == 1


async def test_webhooks_have_series_of_their_own() -> None:
    async with open_office() as office:
        webhook = (await office.ask("POST", "/webhooks", {"url": "https://receiver.example/"})).json["id"]
        await office.ask("POST", f"/webhooks/{webhook}/pause")
        await office.stations.connect("CP-7")
        said = await numbers(office)

    assert said["stationkeeper_webhooks state=paused"] == 1
    assert said["stationkeeper_webhooks state=active"] == 0
    assert said[f"stationkeeper_webhook_messages_pending webhook={webhook}"] == 1
    assert said["stationkeeper_webhook_attempts_total outcome=succeeded"] == 0


async def test_no_peer_can_make_a_series() -> None:
    async with open_office() as office:
        before = len(await numbers(office))
        for number in range(50):
            await office.stations.connect(f"stranger-{number}")
            with pytest.raises(NotLetIn):
                await office.stations.connect(f"refused-{number}", offered=())
        said = await numbers(office)

    assert len(said) <= before + 1
    assert not any("stranger" in name or "refused-" in name for name in said)
    assert said["stationkeeper_handshakes_refused_total reason=no_subprotocol"] == 50


async def test_the_dashboard_counts_as_the_metrics_do() -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        roll = Roll(office.engine)
        await roll.look()
        said, counts = await numbers(office), roll.counts

    assert (counts.online, counts.all) == (said["stationkeeper_stations_online"], said["stationkeeper_stations_known"])


async def test_stations_that_two_devices_fight_over_are_counted() -> None:
    async with open_office() as office:
        await office.stations.connect("CP-8")
        before = await numbers(office)
        for _ in range(4):
            device = await office.stations.connect("CP-7")
            await device.send("[2,...]")
            while not office.engine.connections["CP-7"].received:
                await trio.lowlevel.checkpoint()
        while (found := office.engine.state(conflicts).get("CP-7")) is None or found.takeovers < 3:
            await office.engine.beyond(office.engine.position)
        after = await numbers(office)

    assert (before["stationkeeper_stations_in_conflict"], after["stationkeeper_stations_in_conflict"]) == (0, 1)


async def test_how_long_stations_take_to_answer_is_seen_over_all_of_them() -> None:
    async with open_office() as office:
        before = await numbers(office)
        for number in range(1, 101):
            await office.stations.connect(f"CP-{number}")
            live = office.engine.connection(f"CP-{number}")
            assert live is not None
            live.vigil.rtt = number / 1000
        await office.stations.connect("never pinged")
        said = await numbers(office)

    name = "stationkeeper_ping_seconds quantile="
    assert not [key for key in before if key.startswith(name)]
    assert [said[name + quantile] for quantile in ("0.5", "0.95", "1")] == [0.051, 0.095, 0.1]

"""How a station is watched in its own way: to be seen wherever it was set, and in no webhook."""

from __future__ import annotations

from office import open_office

from stationkeeper.daemon.api import shapes

OWN = {"ping_interval": 25.0, "ping_timeout": 8.0, "silence": None}


async def test_what_was_registered_can_be_seen_again() -> None:
    async with open_office() as office:
        made = (await office.ask("POST", "/chargestations", {"id": "CP-7", "security": "none", "liveness": OWN})).json
        position = office.engine.position
        page = (await office.ask("GET", "/stations/CP-7")).text
        changed = (await office.ask("PATCH", "/chargestations/CP-7", {"liveness": None})).json
        before = (await office.ask("GET", f"/chargestations/CP-7?at={position}")).json
        page_after = (await office.ask("GET", "/stations/CP-7")).text

    shapes.Chargestation.model_validate(made)
    assert made["liveness"] == before["liveness"] == OWN
    assert changed["liveness"] is None
    assert "pinged after 25 s of silence, answer within 8 s" in page
    assert "Watched in its own way" not in page_after


async def test_no_webhook_tells_it() -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "security": "none", "liveness": OWN})
        await office.ask("POST", "/webhooks", {"url": "https://receiver.example/hook"})
        await office.stations.connect("CP-7")
        while not office.receiver.attempts:
            await office.engine.beyond(office.engine.position)

    assert b"chargestation.online" in office.receiver.attempts[0].body
    assert b"liveness" not in office.receiver.attempts[0].body

"""A log that came without its secrets file: what a daemon that serves it refuses, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from office import Office, open_office

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.standing import bring_into_line
from stationkeeper.daemon.registry.webhook_requests import NewWebhook
from stationkeeper.engine.log.secrets import open_secrets, secrets_path
from stationkeeper.engine.log.secrets_file import hold
from stationkeeper.transports.admission import Knock, Refusal

HOOK = {"url": "https://receiver.example/hook"}
PASSWORD = "a password of some length"


async def numbers_unsigned(office: Office) -> str:
    """Return what the metrics say of webhooks without a secret."""
    said = (await office.ask("GET", "/metrics")).text.splitlines()
    return next(line for line in said if line.startswith("stationkeeper_webhooks_unsigned"))


@pytest.fixture
async def copy(tmp_path: Path) -> Path:
    """A log with a station and a webhook, whose secrets file stayed behind."""
    log = tmp_path / "log.db"
    async with open_office(log) as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "password": PASSWORD})
        await office.ask("POST", "/webhooks", HOOK)
    secrets_path(log).unlink()
    return log


async def test_no_secret_is_handed_out_that_could_not_be_kept(copy: Path) -> None:
    async with open_office(copy) as office:
        before = office.engine.position
        (webhook,) = (await office.ask("GET", "/webhooks")).json["data"]
        answers = [
            await office.ask("POST", "/chargestations", {"id": "CP-8", "generate": True}),
            await office.ask("PATCH", "/chargestations/CP-7", {"generate": True}),
            await office.ask("POST", "/webhooks", HOOK),
            await office.ask("POST", f"/webhooks/{webhook['id']}/rotate-secret"),
        ]
        assert office.engine.position == before

    assert {answer.status for answer in answers} == {409}
    wanted = "this log is a copy without its secrets; serve it with --adopt once"
    assert {answer.json["detail"] for answer in answers} == {wanted}


async def test_what_keeps_no_secret_can_be_changed(copy: Path) -> None:
    async with open_office(copy) as office:
        renamed = await office.ask("PATCH", "/chargestations/CP-7", {"name": "Harbour"})
        added = await office.ask("POST", "/chargestations", {"id": "CP-8", "security": "none"})

    assert (renamed.status, renamed.json["name"]) == (200, "Harbour")
    assert added.status == 201


async def test_the_configurations_webhooks_wait_for_the_start_that_adopts(copy: Path) -> None:
    async with open_office(copy) as office:
        standing = [NewWebhook(url="https://other.example/", name="ours", secret="whsec_" + "MTIzNDU2" * 6)]

        assert await bring_into_line(office.engine, office.registrar, standing) == 0


async def test_a_refused_station_is_told_that_the_secrets_are_missing(copy: Path) -> None:
    async with open_office(copy) as office:
        admission = RegistryAdmission()
        admission.attach(office.engine, office.registrar.credentials)
        answer = await admission(Knock(station="CP-7", password=PASSWORD.encode(), username_matches=True))

    assert isinstance(answer, Refusal)
    assert answer.status == 401
    assert "copy without its secrets" in str(answer.hint)


async def test_a_webhook_without_a_usable_secret_says_so_until_it_is_rotated(copy: Path) -> None:
    async with open_office(copy) as office:
        mute = (await office.ask("GET", "/webhooks")).json["data"][0]
    async with open_office(copy, adopt=True) as office:
        (adopted,) = (await office.ask("GET", "/webhooks")).json["data"]
        page = (await office.ask("GET", "/subscriptions")).text
        number = await numbers_unsigned(office)
        rotated = await office.ask("POST", f"/webhooks/{mute['id']}/rotate-secret")
        number_after = await numbers_unsigned(office)

    assert "serve it with --adopt once" in mute["problem"]
    assert adopted["problem"] == "no usable signing secret; rotate it"
    assert adopted["problem"] in page
    assert rotated.json["problem"] is None
    assert (number[-3:], number_after[-3:]) == ("1.0", "0.0")


# --- a log that was restored with its secrets ------------------------------------------------------------------------


async def knock(office: Office) -> object:
    admission = RegistryAdmission()
    admission.attach(office.engine, office.registrar.credentials)
    return await admission(Knock(station="CP-7", password=PASSWORD.encode(), username_matches=True))


async def test_a_restored_log_serves_its_stations_and_sends_nothing_until_it_is_adopted(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with open_office(path) as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "password": PASSWORD})
        await office.ask("POST", "/webhooks", HOOK)
        log_id = office.engine.log.log_id  # type: ignore[attr-defined]
    secrets = open_secrets(path, log_id, create=False)
    assert secrets is not None
    secrets.close()
    hold(secrets_path(path), held=True)

    async with open_office(path) as office:
        assert not isinstance(await knock(office), Refusal)
        generated = await office.ask("POST", "/chargestations", {"id": "CP-8", "generate": True})
        station = await office.stations.connect("CP-7")
        await station.close()
        await office.until_offline("CP-7")
        assert (office.engine.mute, office.engine.copied, generated.status) == (True, False, 201)
        assert office.receiver.attempts == []
    async with open_office(path, adopt=True) as office:
        assert not office.engine.mute
        assert not isinstance(await knock(office), Refusal)
        while len(office.receiver.attempts) < 2:
            await office.engine.beyond(office.engine.position)
    async with open_office(path) as office:
        assert not office.engine.mute

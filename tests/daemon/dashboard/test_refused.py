"""Who was turned away, on the dashboard: told with what helps, live, and no word of a stranger is taken for markup."""

from __future__ import annotations

import pytest
import trio
from office import Office, open_office

from stationkeeper.daemon.dashboard.dashboard import Dashboard
from stationkeeper.daemon.http.paths import encoded
from stationkeeper.engine.events import HandshakeRefused, StationRegistered
from stationkeeper.projections import conflicts


async def turn_away(office: Office, claimed: str, *, reason: str = "unknown_station", hint: str = "") -> None:
    now = office.engine.now()
    event = HandshakeRefused(claimed=claimed, reason=reason, status=404, hint=hint, first_at=now, last_at=now)
    await office.engine.record(event)


async def page(office: Office, path: str, status: int = 200) -> str:
    answer = await office.ask("GET", path)
    assert answer.status == status
    return answer.text


async def test_who_was_turned_away_is_listed_with_what_to_do() -> None:
    """steve#33: an unregistered station tries to connect, and nobody is told."""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-8")
        await turn_away(office, "CP 7", hint="did you mean CP-007?")
        await turn_away(office, "CP-8", reason="no_subprotocol")
        await turn_away(office, "", reason="not_websocket")
        said, fleet = await page(office, "/refused"), await page(office, "/")

    assert '<a href="/stations/CP%207">CP 7</a> <span class="small quiet">not registered</span>' in said
    assert "because no station of this id is registered" in said
    assert "did you mean CP-007?" in said
    assert '<a href="/stations/CP-8">CP-8</a> <span class="because">' in said
    assert "<code>--protocol</code>" in said  # what helps in general, where no hint was recorded
    assert "no id, or many" in said
    assert '<a href="/refused">Turned away</a>' in fleet


async def test_an_id_that_was_only_ever_turned_away_has_a_page() -> None:
    """Java-OCA-OCPP#240: why does my charger not connect?"""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP/007")
        await turn_away(office, "CP-7", hint="see the manual")
        said = await page(office, "/stations/CP-7")
        nobody = await page(office, "/stations/CP-9", status=404)

    assert 'Not registered, and never let in. Did you mean <a href="/stations/CP%2F007">CP/007</a>?' in said
    assert "see the manual" in said
    assert "There is no station" in nobody


async def test_the_page_of_a_registered_station_says_that_it_is_turned_away() -> None:
    """shiv3#260, libocpp#826: a key that was changed on one side alone."""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-8")
        before = await page(office, "/stations/CP-8")
        await turn_away(office, "CP-8", reason="wrong_credentials", hint="the password is not the registered one")
        after = await page(office, "/stations/CP-8")

    assert "<h2>Turned away</h2>" not in before
    assert "<h2>Turned away</h2>" in after
    assert "the password is not the registered one" in after


async def test_what_a_stranger_claims_is_text_and_nothing_else() -> None:
    id = "<script>alert(1)</script>"
    async with open_office() as office:
        await turn_away(office, id, reason="<b>why</b>", hint="it offers `<i>x</i>`")
        said = await page(office, "/refused") + await page(office, "/stations/" + encoded(id))

    assert "<script>alert" not in said
    assert "<b>why" not in said
    assert "<i>x" not in said


@pytest.mark.parametrize("path", ["/live/refused", "/live/stations/CP-7"])
async def test_the_pages_are_live(path: str) -> None:
    parts: list[bytes] = []
    begun = trio.Event()

    def take(piece: bytes) -> bool:
        if b"event: parts" in piece:
            parts.append(piece)
            begun.set()
        return len(parts) == 2

    async with open_office() as office, trio.open_nursery() as nursery:
        await turn_away(office, "CP-7")
        nursery.start_soon(office.ask.stream, path, take)
        await begun.wait()
        await turn_away(office, "CP-7", reason="wrong_path")

    assert b"another path" not in parts[0]
    assert b"another path" in parts[1]


async def test_the_page_of_a_registered_station_is_rendered_anew_when_it_is_turned_away() -> None:
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-8")
        pages = Dashboard(office.engine)
        before = pages.station_parts("CP-8")["main"].key
        await turn_away(office, "CP-9")
        other = pages.station_parts("CP-8")["main"].key
        await turn_away(office, "CP-8", reason="wrong_path")
        after = pages.station_parts("CP-8")["main"].key

    assert before == other != after


async def fight(office: Office) -> None:
    """Let two devices take one identity over from each other, until that is a conflict."""
    for _ in range(4):
        device = await office.stations.connect("CP-7")
        await device.send("[2,...]")
        while not office.engine.connections["CP-7"].received:
            await trio.lowlevel.checkpoint()
    while (found := office.engine.state(conflicts).get("CP-7")) is None or found.takeovers < 3:
        await office.engine.beyond(office.engine.position)


async def test_a_conflict_is_seen_live_on_the_fleet() -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        await office.stations.connect("CP-7")
        begun = trio.Event()

        seen = trio.Event()

        def take(piece: bytes) -> bool:
            begun.set()
            if b"Two devices use one identity, or one device opens a second connection" in piece:
                seen.set()
            return seen.is_set()

        with trio.fail_after(10):
            nursery.start_soon(office.ask.stream, "/live/fleet", take)
            await begun.wait()
            await fight(office)
            await seen.wait()


async def test_two_devices_with_one_identity_are_seen_on_the_fleet_and_on_the_stations_page() -> None:
    """ts-ocpp#19: the flag alone says that such a station is just online."""
    async with open_office() as office:
        await office.stations.connect("CP-8")
        await fight(office)
        fleet, station = await page(office, "/"), await page(office, "/stations/CP-7")
        other = await page(office, "/stations/CP-8")

    assert 'while it has one: <a href="/stations/CP-7">CP-7</a>.' in fleet
    assert '<td class="why">two devices use its identity, or one dials twice</td>' in fleet
    assert "or one opens a second connection while it has one: it was taken over 3 times since" in station
    assert "Two devices" not in other

"""Who was turned away: what the API tells of it, and what it never tells."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import trio
from office import Office, open_office

from stationkeeper.daemon.api.why_shapes import WhyShown
from stationkeeper.engine.events import HandshakeRefused, StationRegistered
from stationkeeper.projections import conflicts
from stationkeeper.transports import NotLetIn


async def turn_away(
    office: Office, claimed: str, *, reason: str = "unknown_station", at: int = 0, count: int = 1
) -> None:
    now = office.engine.now()
    event = HandshakeRefused(
        claimed=claimed, reason=reason, status=404, hint="a hint", count=count, first_at=now + at, last_at=now + at
    )
    await office.engine.record(event, private=b"192.0.2.66")


async def listed(office: Office, query: str = "") -> list[dict[str, Any]]:
    answer = await office.ask("GET", "/refusals" + query)
    assert answer.status == 200
    data: list[dict[str, Any]] = answer.json["data"]
    return data


async def test_it_lists_who_was_turned_away_with_what_it_means_and_what_to_do() -> None:
    """steve#33, R9: every rejected handshake with a machine-readable reason and a hint."""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-8")
        await turn_away(office, "CP-7", count=3)
        await turn_away(office, "CP-8", reason="wrong_credentials", at=1)
        await turn_away(office, "CP-7", at=2)
        rows = await listed(office)
        one = await listed(office, "?id=CP-8")
        none = await listed(office, "?id=CP-9")

    assert [(row["claimed"], row["registered"], row["reason"], row["count"]) for row in rows] == [
        ("CP-7", False, "unknown_station", 4),
        ("CP-8", True, "wrong_credentials", 1),
    ]
    assert rows[0]["meaning"] == "no station of this id is registered"
    assert rows[0]["remedy"].startswith("Register it")
    assert rows[0]["first"] < rows[0]["last"]
    assert (one, none) == (rows[1:], [])


async def test_addresses_stay_where_they_can_be_erased() -> None:
    async with open_office() as office:
        await turn_away(office, "CP-7")
        asked = ("/refusals", "/chargestations/CP-7/why", "/refused", "/stations/CP-7", "/metrics")
        said = [(await office.ask("GET", path)).text for path in asked]

    assert [path for path, text in zip(asked, said, strict=True) if "192.0.2.66" in text] == []


async def test_pages_stay_true_while_more_are_turned_away() -> None:
    ids = ["CP 1", "b/c", "\u00fc", "", "a b c"]
    async with open_office() as office:
        for at, claimed in enumerate(ids):
            await turn_away(office, claimed, at=at - 10)
        pages, cursor = list[str](), ""
        for _ in range(9):
            answer = (await office.ask("GET", f"/refusals?limit=2{cursor}")).json
            pages += [row["claimed"] for row in answer["data"]]
            if answer["next"] is None:
                break
            cursor = "&cursor=" + answer["next"]
            await turn_away(office, f"late {len(pages)}")

    assert pages == ids[::-1]


@pytest.mark.parametrize("cursor", ["x", "eA", quote("!"), "LTEgYSBi"])
async def test_a_cursor_of_nobody_is_refused(cursor: str) -> None:
    async with open_office() as office:
        answer = await office.ask("GET", f"/refusals?cursor={cursor}")

    assert answer.status == 422


async def test_what_was_long_ago_is_not_listed() -> None:
    async with open_office() as office:
        await turn_away(office, "CP-7", at=-8 * 86_400_000_000)

        assert await listed(office) == []


async def test_why_and_the_list_tell_of_the_same_days() -> None:
    """An old refusal is neither listed nor told of, also while nothing newer is in the log."""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-7")
        await turn_away(office, "CP-7", reason="wrong_credentials", at=-8 * 86_400_000_000, count=5)
        await turn_away(office, "CP-7", reason="wrong_credentials", at=-2 * 86_400_000_000, count=2)
        await turn_away(office, "CP-8", at=-8 * 86_400_000_000)
        rows = [(row["claimed"], row["reason"]) for row in await listed(office)]
        why = (await office.ask("GET", "/chargestations/CP-7/why")).json
        old = await office.ask("GET", "/chargestations/CP-8/why")

    assert [row["count"] for row in why["refusals"]] == [2]
    assert rows == [(row["claimed"], row["reason"]) for row in why["refusals"]] == [("CP-7", "wrong_credentials")]
    assert old.status == 404


async def test_why_answers_for_an_id_that_nobody_registered() -> None:
    """steve#33: why does my charger not connect?"""
    async with open_office() as office:
        await office.engine.record(StationRegistered(), subject="CP-007")
        await turn_away(office, "CP 7")
        why = (await office.ask("GET", "/chargestations/CP%207/why")).json
        gone = await office.ask("GET", "/chargestations/CP%207")

    assert why["answer"] == "CP 7 is not registered, and was never let in."
    assert [row["hint"] for row in why["refusals"]] == ["a hint"]
    assert why["meant"] == ["CP-007"]
    assert WhyShown.model_validate(why).model_dump(mode="json", by_alias=True, exclude_unset=True) == why
    assert gone.status == 404


async def test_a_station_that_offers_nothing_is_told_of_with_its_remedy() -> None:
    """steve#1109, OCPP.Core#43, ev-server#2761, lbbrhzn#442: no subprotocol, and nobody says so."""
    async with open_office() as office:
        with pytest.raises(NotLetIn):
            await office.stations.connect("CP-7", offered=())
        while not await listed(office):
            await office.engine.beyond(office.engine.position)
        (row,) = await listed(office)

    assert (row["claimed"], row["status"], row["reason"]) == ("CP-7", 101, "no_subprotocol")
    assert "--protocol" in row["remedy"]


async def test_a_conflict_is_shown_with_the_station_and_never_told_to_webhooks() -> None:
    """ts-ocpp#19, mobilityhouse#321: two devices, or two tasks, that use one identity."""
    async with open_office() as office:
        await office.ask("POST", "/webhooks", {"url": "https://hooks.example/"})
        for _ in range(5):
            device = await office.stations.connect("CP-7")
            await device.send("[2,...]")
            while not office.engine.connections["CP-7"].received:
                await trio.lowlevel.checkpoint()
        while (found := office.engine.state(conflicts).get("CP-7")) is None or found.takeovers < 4:
            await office.engine.beyond(office.engine.position)
        shown = (await office.ask("GET", "/chargestations/CP-7")).json
        then = (await office.ask("GET", f"/chargestations/CP-7?at={office.engine.position}")).json
        before = (await office.ask("GET", "/chargestations/CP-7?at=3")).json
        while not office.receiver.attempts:
            await trio.lowlevel.checkpoint()
        bodies = [attempt.body for attempt in office.receiver.attempts]

    assert shown["conflict"]["takeovers"] == then["conflict"]["takeovers"] == 4
    assert before["conflict"] is None
    assert not any(b"conflict" in body for body in bodies)

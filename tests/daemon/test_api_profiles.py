"""How a station must prove who it is, and what is forgiven it: set, seen and taken back over the API."""

from __future__ import annotations

from office import open_office

from stationkeeper.daemon.api import shapes

PATH = "/chargestations/CP-7"
WANTED = {"id": "CP-7", "security": "mtls", "profile": 3, "serial": "SN-7", "lenient": ["origin"]}


async def test_what_was_registered_can_be_seen_changed_and_taken_back() -> None:
    async with open_office() as office:
        made = (await office.ask("POST", "/chargestations", WANTED)).json
        position = office.engine.position
        changed = (await office.ask("PATCH", PATH, {"profile": 2, "generate": True, "lenient": ["username"]})).json
        cleared = (await office.ask("PATCH", PATH, {"profile": None, "serial": None, "lenient": []})).json
        before = (await office.ask("GET", f"{PATH}?at={position}")).json

    shapes.Chargestation.model_validate(made)
    assert made["security"] == {"type": "mtls"}
    assert [made[name] for name in ("profile", "serial", "lenient")] == [3, "SN-7", ["origin"]]
    assert [before[name] for name in ("profile", "serial", "lenient")] == [3, "SN-7", ["origin"]]
    assert (changed["security"], changed["profile"], changed["lenient"]) == ({"type": "basic"}, 2, ["username"])
    assert len(changed["password"]) == 40
    assert [cleared[name] for name in ("profile", "serial", "lenient")] == [None, None, []]


async def test_what_does_not_go_together_is_refused_by_name() -> None:
    async with open_office() as office:
        answers = [
            await office.ask("POST", "/chargestations", {**WANTED, **other})
            for other in ({"profile": 2}, {"generate": True}, {"profile": "3"}, {"lenient": ["all"]}, {"lenient": "x"})
        ]
        await office.ask("POST", "/chargestations", WANTED)
        null = await office.ask("PATCH", PATH, {"lenient": None})

    assert [answer.status for answer in [*answers, null]] == [422] * 6
    assert "2 goes with security basic, not with mtls" in answers[0].text
    assert "takes the password's place" in answers[1].text
    assert "null is no value" in null.text


async def test_no_webhook_tells_it() -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "security": "none", "lenient": ["origin"]})
        await office.ask("POST", "/webhooks", {"url": "https://receiver.example/hook"})
        await office.stations.connect("CP-7")
        while not office.receiver.attempts:
            await office.engine.beyond(office.engine.position)

    assert b"lenient" not in office.receiver.attempts[0].body

"""What the API says of a webhook and of its messages: no more than is known."""

from __future__ import annotations

from pathlib import Path

from office import Office, open_office

from stationkeeper.daemon.api import webhook_shapes as shapes

HOOK = {"url": "https://receiver.example/hook"}


async def after_a_test(office: Office, webhook: str, state: str) -> dict[str, object]:
    """Have a test sent, and return the message once it is in a state."""
    await office.ask("POST", f"/webhooks/{webhook}/test")
    while True:
        position = office.engine.position
        found = (await office.ask("GET", f"/webhooks/{webhook}/messages?state={state}")).json["data"]
        if found:
            return dict(found[-1])
        await office.engine.beyond(position)


async def test_nothing_was_accepted_until_something_was(tmp_path: Path) -> None:
    async with open_office(tmp_path / "log.db") as office:
        made = (await office.ask("POST", "/webhooks", HOOK)).json
        place = f"/webhooks/{made['id']}"
        enabled = (await office.ask("POST", place + "/enable")).json
        page = (await office.ask("GET", "/subscriptions")).text
        mended = (await office.ask("PATCH", place, {"url": "https://receiver.example/other"})).json
        await after_a_test(office, made["id"], "delivered")
        told = (await office.ask("GET", place)).json
    async with open_office(tmp_path / "log.db") as office:
        again = (await office.ask("GET", place)).json
        mended_after = (await office.ask("PATCH", place, HOOK)).json

    assert made["lastAcceptedAt"] is enabled["lastAcceptedAt"] is mended["lastAcceptedAt"] is None
    assert '<dt>Last accepted</dt><dd><span class="quiet">never' in page
    assert told["lastAcceptedAt"] > mended["updatedAt"]
    assert again["lastAcceptedAt"] == mended_after["lastAcceptedAt"] == told["lastAcceptedAt"]


async def test_an_acceptance_is_remembered_over_a_pause() -> None:
    async with open_office() as office:
        id = (await office.ask("POST", "/webhooks", HOOK)).json["id"]
        await after_a_test(office, id, "delivered")
        await office.ask("POST", f"/webhooks/{id}/pause")
        enabled = (await office.ask("POST", f"/webhooks/{id}/enable")).json

    assert enabled["lastAcceptedAt"] is not None
    assert enabled["lastAcceptedAt"] < enabled["updatedAt"]


async def test_a_settled_message_says_nothing_of_its_attempts() -> None:
    async with open_office() as office:
        id = (await office.ask("POST", "/webhooks", HOOK)).json["id"]
        delivered = await after_a_test(office, id, "delivered")
        await office.ask("POST", f"/webhooks/{id}/pause")
        pending = await after_a_test(office, id, "pending")

    shapes.MessageShown.model_validate(delivered)
    assert "attempts" not in delivered
    assert pending["attempts"] == 0

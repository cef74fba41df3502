"""What `webhook show` says to people."""

from __future__ import annotations

import json

import trio
from calling import Call, on_log
from histories import SECOND
from office import open_office
from trio.testing import MockClock

from stationkeeper.daemon.commands.webhook_picture import picture, reason_of, shown
from stationkeeper.engine.events import DeliverySucceeded, WebhookDisabled, WebhookSuspended


async def test_a_webhook_is_shown_with_what_waits_and_why_and_how_its_day_went(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        given = {"url": "https://receiver.example/", "name": "Billing", "sites": ["North*"]}
        webhook = (await office.ask("POST", "/webhooks", given)).json["id"]
        for latency in (0.012, 0.012, 0.012, 0.4):
            outcome = DeliverySucceeded(message="m", webhook=webhook, position=1, round=0, attempts=2, attempted_at=1,
                                        latency=latency, status=204)  # fmt: skip
            await office.engine.record(outcome, subject="CP-7")
        mock_clock.jump(12 * 3600)
        trouble = WebhookSuspended(since=office.engine.now() - 60 * SECOND, reason="the connection was refused")
        await office.engine.record(trouble, subject=webhook)
        found = (await office.ask("GET", f"/webhooks/{webhook}")).json
        past = (await office.ask("GET", f"/webhooks/{webhook}/history?hours=24")).json
        said = shown(picture({**found, "name": "Bill\x1bing"}, past)).splitlines()
        await office.engine.record(WebhookDisabled(reason="gone twice", since=1, status=410), subject=webhook)
        ended = shown(picture((await office.ask("GET", f"/webhooks/{webhook}")).json, past))

    assert said[0] == "Bill\\x1bing: paused"
    assert "suspended      since 1 min ago: the connection was refused; one message at a time is tried" in said
    assert "disabled       now: gone twice" in ended
    assert "is tried" not in ended
    assert "owed           0 pending, 0 given up, 0 skipped" in said
    [day] = [line for line in said if line.startswith("in 24 hours")]
    assert "4 accepted, 0 given up, 4 failed attempts; answered within 13 ms as a rule, " in day
    failing = shown(picture(found, {**past, "sum": {**past["sum"], "failing": 1}}))
    assert "4 failed attempts, 1 message failed and waits; answered within" in failing
    [bars] = [line for line in said if line.startswith("  accepted")]
    assert bars.index("█") - len("  accepted     ") in (23, 24)
    assert bars.endswith("  at most 4")
    assert bars.count("█") == 1
    assert any(line.startswith("sites") and line.endswith("North*") for line in said)


async def test_the_oldest_that_waits_is_named_and_so_is_what_came_last(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = (await office.ask("POST", "/webhooks", {"url": "https://receiver.example/"})).json["id"]
        office.receiver.status = 503
        await office.stations.connect("CP-7")
        while not office.engine.deliveries.tally["failed"]:  # type: ignore[union-attr]
            await trio.lowlevel.checkpoint()
        found = (await office.ask("GET", f"/webhooks/{webhook}")).json
        past = (await office.ask("GET", f"/webhooks/{webhook}/history?hours=24")).json
        said = shown(picture(found, past))

    assert "1 pending" in said
    assert "oldest owed" in said
    assert "of CP-7: msg_" in said
    assert "next attempt   in 4 s" in said or "next attempt   in 5 s" in said
    assert "last answers   503  now" in said


def test_a_log_that_no_daemon_holds_is_shown_alike(call: Call) -> None:
    added = json.loads(on_log(call, "webhook", "add", "https://example.com/hook", "--format", "json").out)
    outcome = on_log(call, "webhook", "show", added["id"])

    assert outcome.code == 0, outcome.err
    assert "last accepted  none is known" in outcome.out
    assert "last answers   none since this process began" in outcome.out
    assert "signatures     v1" in outcome.out
    assert "whsec_" not in outcome.out


def test_the_reason_in_a_list_is_short() -> None:
    well, ill = {"state": "well", "reason": None}, {"state": "suspended", "reason": "answered 500"}
    gone = {"reason": "410 Gone"}

    assert reason_of({"problem": None, "disabled": None, "health": well}) == ""
    assert reason_of({"problem": None, "disabled": None, "health": ill}) == "suspended: answered 500"
    assert reason_of({"problem": None, "disabled": gone, "health": ill}) == "disabled: 410 Gone"
    assert reason_of({"problem": "no network", "disabled": None, "health": ill}) == "no network"

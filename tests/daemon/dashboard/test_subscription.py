"""The page of one webhook: what it says without a browser. How it looks in one is in `test_dashboard`."""

from __future__ import annotations

import trio
from office import Office, open_office
from trio.testing import MockClock

from stationkeeper.engine.clock import parse_time
from stationkeeper.engine.events import WebhookDisabled, WebhookSuspended
from stationkeeper.engine.sending import Answer
from stationkeeper.projections import deliveries, webhooks

URL = "https://receiver.example/"


async def subscribed(office: Office, name: str = "Billing") -> str:
    return str((await office.ask("POST", "/webhooks", {"url": URL, "name": name})).json["id"])


async def page(office: Office, webhook: str, query: str = "") -> str:
    return (await office.ask("GET", f"/subscriptions/{webhook}{query}")).text


async def test_a_webhook_that_is_well_says_what_it_accepted() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        await office.stations.connect("CP-7")
        while not office.engine.state(deliveries).total(webhook).accepted:
            await office.engine.beyond(office.engine.position)
        said, listed = await page(office, webhook), (await office.ask("GET", "/subscriptions")).text
        week, nothing = await page(office, webhook, "?span=week"), await office.ask("GET", "/subscriptions/none")

    assert "1 accepted, answered within 8 ms as a rule, 10 ms at 95 % in 24 hours." in said
    assert "in 7 days." in week
    assert '<svg viewBox="0 0 960 300" role="img" aria-label="24 hours: 1 accepted' in said
    assert "nothing is owed" in said
    assert "<p>Subscribed</p>" in said
    assert f'href="/subscriptions/{webhook}"' in listed
    assert nothing.status == 404


async def test_one_that_was_sent_nothing_has_a_sentence_in_place_of_an_empty_picture() -> None:
    async with open_office() as office:
        said = await page(office, await subscribed(office))

    assert "Nothing was sent to it in 24 hours." in said
    assert "<svg viewBox" not in said


async def test_a_paused_webhook_says_why_what_waits_and_how_to_go_on() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        await office.ask("POST", f"/webhooks/{webhook}/pause")
        await office.stations.connect("CP-7")
        said = await page(office, webhook)

    assert "Paused by hand" in said
    assert '<a href="/stations/CP-7">CP-7</a>' in said
    assert f"stationkeeper webhook enable {webhook}" in said
    assert "stationkeeper webhook skip msg_" in said


async def test_trouble_is_told_in_its_own_words() -> None:
    async with open_office() as office:
        suspended, disabled, unsigned = [await subscribed(office, name) for name in ("A", "B", "C")]
        trouble = WebhookSuspended(since=office.engine.now(), reason="the connection was refused")
        await office.engine.record(trouble, subject=suspended)
        await office.engine.record(WebhookDisabled(reason="gone twice", since=1, status=410), subject=disabled)
        office.engine.secrets.forget(office.engine.state(webhooks)[unsigned].record.secrets[0])
        pages = [await page(office, webhook) for webhook in (suspended, disabled, unsigned)]

    assert "one at a time is tried: the connection was refused.</span>" in pages[0]
    assert "Disabled: gone twice" in pages[1]
    assert "Nothing is sent to it: no usable signing secret" in pages[2]


async def test_a_trouble_of_ours_is_told_as_ours_and_blames_no_receiver() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        office.receiver.answer = Answer(status=None, error="the proxy cannot be reached", local=True)
        await office.stations.connect("CP-7")
        while not office.engine.deliveries.tally["hindered"]:  # type: ignore[union-attr]
            await trio.lowlevel.checkpoint()
        said, listed = await page(office, webhook), (await office.ask("GET", "/subscriptions")).text

    assert f"stationkeeper webhook pause {webhook}" in said
    assert "webhook enable" not in said
    for shown in (said, listed):
        assert "The trouble is ours, not the receiver&#39;s: the proxy cannot be reached." in shown
        assert "Failing" not in shown


async def test_the_next_attempt_of_one_that_is_suspended_is_the_next_probe(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        office.receiver.status = 503
        for number in range(20):
            await office.stations.connect(f"CP-{number}")
        sending = office.engine.deliveries
        assert sending is not None
        while (health := sending.health(webhook)) is None or health.breaker != "open":
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(5)
        found = (await office.ask("GET", f"/webhooks/{webhook}")).json
        office.engine.mute = True
        held = await page(office, webhook)

    assert health.not_before is not None
    assert parse_time(found["nextAttemptAt"]) >= health.not_before > parse_time(found["oldestOwed"]["at"])
    assert "Next attempt" not in held


async def test_one_that_is_disabled_is_not_said_to_be_tried() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        trouble = WebhookSuspended(since=office.engine.now(), reason="the connection was refused")
        await office.engine.record(trouble, subject=webhook)
        await office.engine.record(WebhookDisabled(reason="gone twice", since=1, status=410), subject=webhook)
        said = (await page(office, webhook)).partition("What happened")[0]

    assert "Disabled: gone twice" in said
    assert "one at a time" not in said


async def test_the_page_says_how_a_webhook_is_sent_and_what_was_changed_but_nothing_secret() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        for change in (
            {"mode": "latest", "format": "cloudevents", "stations": ["CP-*"], "rate": 2.5},
            {"signatures": ["v1", "v1a"], "headers": {"X-Token": "canary-value"}},
            {"headers": {"X-Token": "another-value"}, "name": "Invoices"},
        ):
            assert (await office.ask("PATCH", f"/webhooks/{webhook}", change)).status == 200
        secret = (await office.ask("POST", f"/webhooks/{webhook}/rotate-secret")).json
        said = await page(office, webhook)

    for told in (
        "the newest state alone",
        "CloudEvents 1.0",
        "v1, v1a",
        "whpk_",
        '<dd class="code">X-Token</dd>',
        "at most 2.5",
        "signs beside the new one until",
        "its stations from * to CP-*; its mode from every to latest; its format from standard to cloudevents; "
        "its messages a second from none to 2.5",
        "signed with an Ed25519 key, too; header X-Token added",
        "its name from Billing to Invoices; header X-Token replaced",
        "secret rotated; the old one signs until 20",
    ):
        assert told in said
    assert "canary" not in said
    assert "another-value" not in said
    assert secret["secret"] not in said


async def test_what_a_receiver_says_is_text_and_nothing_else() -> None:
    async with open_office() as office:
        webhook = await subscribed(office, "<script>alert(1)</script>")
        said = await page(office, webhook)

    assert "<script>alert" not in said
    assert "&lt;script&gt;alert(1)" in said

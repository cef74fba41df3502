"""What waits for a webhook, and how its deliveries went, as the API tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from histories import SECOND
from office import Office, open_office
from trio.testing import MockClock

from stationkeeper.daemon.api.deliveries import past_of
from stationkeeper.engine.events import (
    DeliveryParked,
    DeliverySucceeded,
    WebhookDisabled,
    WebhookFailed,
    WebhookSuspended,
)
from stationkeeper.engine.sending import Answer as SendersAnswer
from stationkeeper.projections.deliveries import PERIOD


async def subscribed(office: Office, **record: Any) -> str:
    answer = await office.ask("POST", "/webhooks", {"url": "https://receiver.example/", **record})
    return str(answer.json["id"])


async def shown(office: Office, webhook: str) -> dict[str, Any]:
    found: dict[str, Any] = (await office.ask("GET", f"/webhooks/{webhook}")).json
    return found


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()


async def delivered(office: Office, webhook: str, latency: float, attempts: int = 1) -> None:
    event = DeliverySucceeded(message="m", webhook=webhook, position=1, round=0, attempts=attempts, attempted_at=0,
                              latency=latency, status=204)  # fmt: skip
    await office.engine.record(event, subject="CP-7")


async def test_a_webhook_that_is_owed_nothing_says_so(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        said = await shown(office, await subscribed(office))

    assert (said["oldestOwed"], said["nextAttemptAt"], said["inFlight"]) == (None, None, 0)


async def test_what_waits_longest_is_told_with_the_time_of_its_cause(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        await office.ask("POST", f"/webhooks/{webhook}/pause")
        await office.stations.connect("CP-7")
        mock_clock.jump(30)
        await office.stations.connect("CP-8")
        said = await shown(office, webhook)
        [first, _] = (await office.ask("GET", f"/webhooks/{webhook}/messages")).json["data"]
        opened = (await office.ask("GET", "/chargestations/CP-7")).json["connection"]["openedAt"]

    assert said["owed"]["pending"] == 2
    oldest = said["oldestOwed"]
    assert (oldest["message"], oldest["subject"], oldest["at"]) == (first["id"], "CP-7", opened)
    assert oldest["ageSeconds"] == pytest.approx(30, abs=1)


async def test_what_failed_and_still_waits_is_counted_when_it_was_tried(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        office.receiver.status = 503
        await office.stations.connect("CP-7")
        await until(lambda: office.receiver.attempts)
        await until(lambda: office.engine.deliveries.tally["failed"])  # type: ignore[union-attr]
        said = await shown(office, webhook)
        past = (await office.ask("GET", f"/webhooks/{webhook}/history")).json

    assert said["nextAttemptAt"] is not None
    [bucket] = past["buckets"]
    assert (bucket["failing"], bucket["succeeded"], bucket["failedAttempts"]) == (1, 0, 0)
    assert past["sum"]["failing"] == 1
    assert bucket["latencyMs"] == {"p50": None, "p95": None, "p99": None}


async def test_where_nothing_will_be_attempted_no_time_is_told(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        office.receiver.status = 503
        await office.stations.connect("CP-7")
        await until(lambda: office.engine.deliveries.tally["failed"])  # type: ignore[union-attr]
        told: list[object] = []
        for action in ("pause", "enable"):
            said = (await office.ask("POST", f"/webhooks/{webhook}/{action}")).json
            [message] = (await office.ask("GET", f"/webhooks/{webhook}/messages")).json["data"]
            told.append((said["nextAttemptAt"] is None, message["nextAttemptAt"] is None))
            if action == "pause":
                assert message["attempts"] == 1
        office.engine.mute = True
        held = await shown(office, webhook)
        office.engine.mute = False
        await office.engine.record(WebhookDisabled(reason="410 Gone", since=1), subject=webhook)
        disabled = await shown(office, webhook)
        [message] = (await office.ask("GET", f"/webhooks/{webhook}/messages")).json["data"]

    assert told[0] == (True, True)
    assert (held["nextAttemptAt"], disabled["nextAttemptAt"], message["nextAttemptAt"]) == (None, None, None)


async def test_what_hinders_us_is_no_state_in_which_all_is_well(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        office.receiver.answer = SendersAnswer(status=None, error="the proxy cannot be reached", local=True)
        await office.stations.connect("CP-7")
        await until(lambda: office.engine.deliveries.tally["hindered"])  # type: ignore[union-attr]
        said = await shown(office, webhook)

    assert (said["state"], said["problem"]) == ("paused", "the proxy cannot be reached")
    assert said["health"]["state"] == "well", "the receiver did nothing wrong"


async def test_how_deliveries_went_is_told_in_quarters_of_an_hour(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office, events=["webhook.disabled"])
        for latency in (0.009, 0.009, 0.4):
            await delivered(office, webhook, latency, attempts=2)
        mock_clock.jump(3 * PERIOD / SECOND)
        parked = DeliveryParked(message="m", webhook=webhook, position=1, round=0, attempts=10, attempted_at=0,
                                latency=15.0, reason="timed out")  # fmt: skip
        await office.engine.record(parked, subject="CP-7")
        past = (await office.ask("GET", f"/webhooks/{webhook}/history")).json
        late = (await office.ask("GET", f"/webhooks/{webhook}/history?hours=0.25")).json
        nobody = await office.ask("GET", "/webhooks/none/history")

    first, last = past["buckets"]
    assert (first["succeeded"], first["parked"], first["failedAttempts"]) == (3, 0, 3)
    assert (last["succeeded"], last["parked"], last["failedAttempts"]) == (0, 1, 10)
    assert 7 <= first["latencyMs"]["p50"] <= 10
    assert 300 <= first["latencyMs"]["p99"] <= 500
    assert (past["sum"]["succeeded"], past["sum"]["parked"], past["sum"]["failedAttempts"]) == (3, 1, 13)
    assert past["bucketSeconds"] == 900
    assert [bucket["parked"] for bucket in late["buckets"]] == [1]
    assert nobody.status == 404


async def test_the_states_begin_with_the_one_that_stood_then(mock_clock: MockClock) -> None:
    async with open_office(virtual=True) as office:
        webhook = await subscribed(office)
        await office.engine.record(WebhookFailed(since=1, reason="refused"), subject=webhook)
        mock_clock.jump(7200)
        await office.engine.record(WebhookSuspended(since=1, reason="refused"), subject=webhook)
        mock_clock.jump(600)
        whole = await past_of(office.engine, webhook)
        hour = await past_of(office.engine, webhook, 3600 * SECOND)

    assert [move.state for move in whole.moves] == ["active", "failing", "suspended"]
    assert [move.state for move in hour.moves] == ["failing", "suspended"]

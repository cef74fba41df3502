"""The delivery loop: what is told, recorded, retried, parked, disabled. Real lanes, log in memory and outbox."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest
import trio
from mailroom import DAY, HOUR, SECRETS, Gateway, Receiver, ill, sending
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import (
    ConnectionOpened,
    DeliveryParked,
    DeliveryRequested,
    DeliverySucceeded,
    Event,
    WebhookAdded,
    WebhookDisabled,
    WebhookEnabled,
    WebhookPaused,
    WebhookRecovered,
    WebhookUpdated,
)
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.engine.settings import EngineSettings, Retry
from stationkeeper.projections import outbox

# --- the happy path --------------------------------------------------------------------------------------------------


async def test_a_flip_is_told_signed_and_recorded(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.flip()
        await wait_all_tasks_blocked()
    ((_, attempt),) = receiver.attempts
    (outcome,) = gateway.outcomes()

    assert attempt.url == "https://w.example/hook"
    assert attempt.secrets == (SECRETS["s1"],)
    assert attempt.at == gateway.clock.wall() // 1_000_000
    assert json.loads(attempt.body)["type"] == "chargestation.online"
    assert (outcome.message, outcome.webhook, outcome.attempts, outcome.status) == (attempt.message, "w", 1, 200)


async def test_an_outcome_stands_in_the_log_under_the_messages_subject(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.flip("CP-7")
        await wait_all_tasks_blocked()

    (recorded,) = gateway.log.read(kinds={DeliverySucceeded.kind})
    assert recorded.subject == "CP-7"


async def test_what_was_owed_before_the_start_is_sent(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    gateway.flip()
    gateway.flip()
    again = Gateway(receiver, log=gateway.log)
    async with sending(again):
        await wait_all_tasks_blocked()
    again = Gateway(receiver, log=gateway.log)
    async with sending(again):
        await wait_all_tasks_blocked()

    assert receiver.versions("CP-1") == [1, 2], "and what has an outcome is not sent by the third"


async def test_a_webhook_that_was_owed_nothing_at_the_start_is_sent_what_comes_later(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    again = Gateway(receiver, log=gateway.log)
    async with sending(again):
        again.flip()
        await wait_all_tasks_blocked()

    assert receiver.versions("CP-1") == [1]


async def test_flips_of_a_station_arrive_in_order_one_at_a_time(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(3.0)
        return Answer(status=200)

    receiver.answer = slowly
    async with sending(gateway):
        for _ in range(5):
            gateway.flip()
            await trio.sleep(1.0)
        await trio.sleep(60.0)

    assert receiver.versions("CP-1") == [1, 2, 3, 4, 5]
    assert receiver.most_in_flight == 1


async def test_many_lanes_share_the_attempts(receiver: Receiver, autojump_clock: MockClock) -> None:
    gateway = Gateway(receiver, settings=EngineSettings(concurrency=8, webhook_concurrency=5))
    gateway.start()
    gateway.subscribe("a")
    gateway.subscribe("b")

    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(1.0)
        return Answer(status=200)

    receiver.answer = slowly
    async with sending(gateway):
        for n in range(20):
            gateway.flip(f"CP-{n}")
        await trio.sleep(10.0)

    assert len(receiver.accepted) == 40
    assert receiver.most_in_flight == 8


# --- bad days --------------------------------------------------------------------------------------------------------


async def test_a_failing_message_holds_only_its_lane(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = lambda attempt: Answer(status=404 if b"CP-bad" in attempt.body else 200)
    async with sending(gateway):
        gateway.flip("CP-bad")
        gateway.flip("CP-bad")
        gateway.flip("CP-good")
        await trio.sleep(4 * DAY)

    assert receiver.versions("CP-good") == [1]
    parked = [outcome for outcome in gateway.outcomes() if isinstance(outcome, DeliveryParked)]
    assert [(outcome.attempts, outcome.reason) for outcome in parked[:1]] == [(10, "answered 404")]


async def test_a_failed_attempt_is_noted_with_when_the_next_is_due(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(1.0)
        (message,) = gateway.fold.state(outbox).pending()
        due = gateway.deliveries.next_attempt(message.id)
    (note,) = gateway.notes

    assert (note.number, note.status, note.error) == (1, 500, "answered 500")
    assert 4.5 <= note.delay <= 5.5
    assert note.due == due == note.at + round(note.delay * 1_000_000)


async def test_a_weeks_outage_drains_in_order(receiver: Receiver, autojump_clock: MockClock) -> None:
    gateway = Gateway(receiver, settings=EngineSettings(retry=Retry(disable_after=30 * DAY)))
    gateway.start()
    gateway.subscribe()
    receiver.answer = ill
    async with sending(gateway):
        for hour in range(7 * 24):
            for n in range(5):
                if hour % (20 + n) == 0:
                    gateway.flip(f"CP-{n}")
            await trio.sleep(HOUR)
        receiver.answer = lambda attempt: Answer(status=200)
        await trio.sleep(2 * DAY)

    assert list(gateway.fold.state(outbox).pending()) == []
    for n in range(5):
        versions = receiver.versions(f"CP-{n}")
        last = gateway.fold.state(outbox.needs[0])[f"CP-{n}"].version
        assert versions == sorted(set(versions))
        assert versions[-1] == last, "the last that was accepted is the flag"


async def test_five_days_of_failures_disable_and_enabling_resumes(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(3.5 * DAY)
        gateway.flip()
        await trio.sleep(10 * DAY)
        (disabled,) = [decode(recorded) for recorded in gateway.log.read(kinds={WebhookDisabled.kind})]
        tried = len(receiver.attempts)
        gateway.flip()
        await trio.sleep(10 * DAY)
        assert len(receiver.attempts) == tried

        receiver.answer = lambda attempt: Answer(status=200)
        gateway.append(WebhookEnabled(), "w")
        await trio.sleep(1.0)

    assert isinstance(disabled, WebhookDisabled)
    assert disabled.status == 500
    assert disabled.since == next(iter(gateway.log.read(kinds={WebhookAdded.kind}))).at
    assert receiver.versions("CP-1") == [2, 3]


@pytest.mark.parametrize("hours_between", [7, 24])
async def test_restarts_do_not_postpone_the_end_of_a_dead_webhook(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, hours_between: int
) -> None:
    receiver.answer = ill
    for n in range(4):
        gateway.flip(f"CP-{n % 2}")
    while trio.current_time() < 7 * DAY:
        gateway = Gateway(receiver, log=gateway.log)
        async with sending(gateway):
            await trio.sleep(hours_between * HOUR)
        gateway.flip("CP-3")

    (disabled,) = gateway.log.read(kinds={WebhookDisabled.kind})
    began = next(iter(gateway.log.read(kinds={ConnectionOpened.kind}))).at
    assert 5 * DAY <= (disabled.at - began) / 1_000_000 <= 6.5 * DAY


async def test_gone_twice_disables_at_once(gateway: Gateway, receiver: Receiver, autojump_clock: MockClock) -> None:
    receiver.answer = lambda attempt: Answer(status=410, error="answered 410")
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(59.0)
        assert gateway.deliveries.health("w").state == "failing"  # type: ignore[union-attr]
        await trio.sleep(2.0)

    assert len(receiver.attempts) == 2
    assert gateway.deliveries.health("w").state == "disabled"  # type: ignore[union-attr]


@pytest.mark.parametrize("meanwhile", [WebhookUpdated(url="https://mended.example", secrets=("s1",)), WebhookPaused()])
async def test_a_webhook_that_is_mended_or_paused_while_it_is_being_disabled_stays_so(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, meanwhile: Event
) -> None:
    def gone(attempt: Attempt) -> Answer:
        gateway.broken = len(receiver.attempts) == 2  # what is recorded of the second one has to wait
        return Answer(status=200 if "mended" in attempt.url else 410)

    receiver.answer = gone
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(60.5)
        assert gateway.broken
        gateway.append(meanwhile, "w")
        gateway.broken = False
        await trio.sleep(10.0)

    assert list(gateway.log.read(kinds={WebhookDisabled.kind})) == []
    assert gateway.deliveries.tally["disabled"] == 0
    assert len(receiver.accepted) == isinstance(meanwhile, WebhookUpdated)


async def test_parked_messages_come_back_by_request_in_their_place(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(80 * HOUR)
        receiver.answer = lambda attempt: Answer(status=200)
        gateway.append(WebhookRecovered(since=1, until=gateway.log.position), "w")
        gateway.flip()
        await trio.sleep(1.0)
        (first, _) = receiver.accepted
        asked = gateway.fold.state(outbox).find(first.message)
        assert asked is not None
        request = DeliveryRequested(
            message=asked.id, webhook="w", type=asked.type, position=asked.position, round=asked.round + 1
        )
        gateway.append(request, asked.subject)
        await trio.sleep(1.0)

    assert receiver.versions("CP-1") == [1, 2, 1]
    assert receiver.accepted[0].message == receiver.accepted[2].message
    assert receiver.accepted[0].body == receiver.accepted[2].body
    assert [outcome.round for outcome in gateway.outcomes()] == [0, 1, 0, 2]


# --- looking ---------------------------------------------------------------------------------------------------------


async def test_health_tells_how_a_webhook_fares(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.flip("CP-1")
        await trio.sleep(1.0)
        receiver.answer = ill
        for n in range(2, 12):
            gateway.flip(f"CP-{n}")
        await trio.sleep(1.0)
        health = gateway.deliveries.health("w")

    assert health is not None
    assert (health.state, health.fares, health.breaker, health.in_flight) == ("paused", "suspended", "open", 0)
    assert health.tally == Counter(attempts=11, succeeded=1, failed=10)
    assert health.problem == "so many messages failed that it is tried with one at a time, next in 9 s: answered 500"
    assert [answered.status for answered in health.answers] == [200] + [500] * 10
    assert gateway.deliveries.tally["attempts"] == 11


async def test_recovered_lanes_do_not_race_each_other(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    """Under a receiver that fails at random (but the same each time), every lane still arrives in order."""
    tries: defaultdict[str, int] = defaultdict(int)

    def moody(attempt: Attempt) -> Answer:
        tries[attempt.message] += 1
        return Answer(status=200 if tries[attempt.message] > sum(attempt.message.encode()) % 4 else 503)

    receiver.answer = moody
    async with sending(gateway):
        for _ in range(6):
            for n in range(40):
                gateway.flip(f"CP-{n}")
            await trio.sleep(7.0)
        await trio.sleep(2 * DAY)

    assert list(gateway.fold.state(outbox).pending()) == []
    assert all(receiver.versions(f"CP-{n}") == [1, 2, 3, 4, 5, 6] for n in range(40))

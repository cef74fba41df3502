"""What the log is told of how webhooks fare, and what of that outlasts a restart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
from mailroom import DAY, HOUR, MINUTE, Gateway, Receiver, ill, sending
from trio.testing import MockClock

from stationkeeper.engine.codec import decode
from stationkeeper.engine.delivery.life import FAILED_EVERY, Life
from stationkeeper.engine.delivery.scheduling.breaker import FIRST_PAUSE
from stationkeeper.engine.events import (
    DeliverySkipped,
    DeliverySucceeded,
    Event,
    WebhookDisabled,
    WebhookFailed,
    WebhookPaused,
    WebhookResumed,
    WebhookSuspended,
    WebhookUpdated,
)
from stationkeeper.engine.log import Attempted
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.engine.settings import EngineSettings, Retry
from stationkeeper.projections import outbox

LIFE = (WebhookFailed, WebhookSuspended, WebhookResumed)
NOBODY = Answer(status=None, error="no network", local=True)


def well(attempt: Attempt) -> Answer:
    return Answer(status=200)


def kinds(gateway: Gateway) -> list[str]:
    return [event.kind.removeprefix("webhook.") for event in gateway.told(*LIFE)]


def again_after(gateway: Gateway, receiver: Receiver) -> Gateway:
    """Restart on the same log, with the clock going on."""
    return Gateway(receiver, log=gateway.log, clock=gateway.clock)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_the_log_is_told_when_a_webhook_begins_to_fail_and_when_it_accepts_again(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(2.0)
        return Answer(status=502, error="answered 502")

    receiver.answer = slowly
    async with sending(gateway):
        began = gateway.clock.wall()
        gateway.flip()
        await trio.sleep(3.0)
        (failed,) = gateway.told(*LIFE)
        receiver.answer = well
        await trio.sleep(MINUTE)
        gateway.flip()
        await trio.sleep(MINUTE)

    assert failed == WebhookFailed(since=began, reason="answered 502", status=502)
    assert kinds(gateway) == ["failed", "resumed"]


async def test_the_log_is_told_once_that_a_webhook_is_suspended_however_many_probes_fail(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        for n in range(20):
            gateway.flip(f"CP-{n}")
        await trio.sleep(HOUR)
        assert kinds(gateway)[-1] == "suspended"
        health = gateway.deliveries.health("w")
        receiver.answer = well
        await trio.sleep(10 * MINUTE)

    assert health is not None
    assert (health.state, health.fares) == ("paused", "suspended")
    assert kinds(gateway).count("suspended") == kinds(gateway).count("resumed") == 1


async def test_one_that_flaps_does_not_fill_the_log(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    answers: Iterator[int] = iter([500, 200] * 10_000)
    receiver.answer = lambda attempt: Answer(status=next(answers))
    async with sending(gateway):
        for n in range(600):
            gateway.flip(f"CP-{n}")
            await trio.sleep(1.0)
    recorded = list(gateway.log.read(kinds={WebhookFailed.kind}))

    assert 8 <= len(recorded) <= 11
    between = [(after.at - before.at) / 1e6 for before, after in pairwise(recorded)]
    assert min(between) >= FAILED_EVERY


async def test_a_failure_that_was_put_off_is_told_when_the_minute_is_over_if_it_lasts(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        for answer in (ill, well, ill):
            receiver.answer = answer
            gateway.flip(f"CP-{answer.__name__}-{len(receiver.attempts)}")
            await trio.sleep(1.0)
        assert kinds(gateway) == ["failed", "resumed"]
        await trio.sleep(FAILED_EVERY)

    first, second = gateway.log.read(kinds={WebhookFailed.kind})
    assert kinds(gateway) == ["failed", "resumed", "failed"]
    assert second.at - first.at == pytest.approx(FAILED_EVERY * 1e6, abs=1e5)


async def test_a_failure_that_was_put_off_and_is_over_is_not_told(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        for answer in (ill, well, ill, well):
            receiver.answer = answer
            gateway.flip(f"CP-{len(receiver.attempts)}")
            await trio.sleep(1.0)
        await trio.sleep(2 * FAILED_EVERY)

    assert kinds(gateway) == ["failed", "resumed"]


async def test_what_could_not_be_told_while_the_log_was_down_is_told_as_it_is_then(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    def ill_and_no_log(attempt: Attempt) -> Answer:
        gateway.broken = True
        return ill(attempt)

    receiver.answer = ill_and_no_log
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(4.0)
        assert kinds(gateway) == []
        receiver.answer = ill
        gateway.broken = False
        await trio.sleep(0.9)
        assert kinds(gateway) == ["failed"]
        receiver.answer = well
        await trio.sleep(10 * MINUTE)

    assert kinds(gateway) == ["failed", "resumed"]


async def test_a_webhook_that_was_paused_meanwhile_is_not_told_of(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(10.0)
        return Answer(status=500)

    receiver.answer = slowly
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(1.0)
        gateway.append(WebhookPaused(), "w")
        await trio.sleep(MINUTE)

    assert kinds(gateway) == []


async def test_one_that_was_mended_is_told_of_anew(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(MINUTE + 5.0)
        gateway.append(WebhookUpdated(url="https://mended.example", secrets=("s1",)), "w")
        await trio.sleep(MINUTE)

    assert kinds(gateway) == ["failed", "failed"]


def test_one_that_was_suspended_and_fails_accepted_something_between() -> None:
    life = Life()
    life.told = "suspended"
    life.answered(Answer(status=500), 7)
    resumed = life.due("failing", 9, 0.0)
    assert resumed == WebhookResumed()
    life.recorded(WebhookResumed(), 0.0)

    assert life.due("failing", 9, 0.0) == WebhookFailed(since=7, reason="answered 500", status=500)


async def test_a_failure_that_is_put_off_once_another_word_was_recorded_is_told_in_time(
    receiver: Receiver, autojump_clock: MockClock
) -> None:
    gateway = Gateway(receiver, settings=EngineSettings(retry=Retry(delays=(HOUR,) * 9)))
    gateway.start()
    gateway.subscribe()
    record = gateway.record

    async def slowly(event: Event, *, subject: str = "", id: str | None = None) -> None:
        if isinstance(event, WebhookResumed):
            await trio.sleep(5.0)
        await record(event, subject=subject, id=id)

    gateway.deliveries._record_event = slowly
    async with sending(gateway):
        receiver.answer = ill
        gateway.flip("CP-1")
        await trio.sleep(1.0)
        receiver.answer = well
        gateway.flip("CP-2")
        await trio.sleep(1.0)
        receiver.answer = ill
        gateway.flip("CP-3")  # its failure is seen while the log is still being told that the webhook is well
        await trio.sleep(FAILED_EVERY)

    assert kinds(gateway) == ["failed", "resumed", "failed"]


async def test_operators_are_warned_of_a_suspended_webhook_and_told_that_it_is_well_again(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stationkeeper.engine.delivery")
    receiver.answer = ill
    async with sending(gateway):
        for n in range(20):
            gateway.flip(f"CP-{n}")
        await trio.sleep(MINUTE)
        receiver.answer = well
        await trio.sleep(10 * MINUTE)

    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("WARNING", "webhook w is suspended, and probed with one message at a time: answered 500"),
        ("INFO", "webhook w accepts messages again"),
    ]


# --- restarts --------------------------------------------------------------------------------------------------------


async def test_one_that_was_suspended_is_tried_with_one_probe_after_a_restart(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        for n in range(50):
            gateway.flip(f"CP-{n}")
        await trio.sleep(1.0)
    tried = len(receiver.attempts)
    gateway = again_after(gateway, receiver)
    health = gateway.deliveries.health("w")
    async with sending(gateway):
        await trio.sleep(FIRST_PAUSE)
        assert len(receiver.attempts) == tried + 1
        receiver.answer = well
        await trio.sleep(10 * MINUTE)

    assert health is not None
    assert health.state == "paused"
    assert kinds(gateway) == ["suspended", "resumed"]


async def test_how_long_one_has_failed_is_known_after_a_restart_though_little_of_it_is_looked_at(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    began = gateway.clock.wall()
    for day in range(6):
        gateway = again_after(gateway, receiver)
        async with sending(gateway):
            for n in range(50):
                gateway.flip(f"CP-{day}-{n}")
            await trio.sleep(DAY)

    (disabled,) = gateway.log.read(kinds={WebhookDisabled.kind})
    assert 5 * DAY <= (disabled.at - began) / 1e6 <= 5 * DAY + HOUR
    assert kinds(gateway) == ["suspended"]


@pytest.mark.parametrize(("accepted_after", "fares"), [(None, "failing"), (-1.0, "failing"), (1.0, "well")])
async def test_a_failure_that_the_log_was_not_told_of_counts_after_a_restart_unless_something_was_accepted_since(
    gateway: Gateway, receiver: Receiver, accepted_after: float | None, fares: str
) -> None:
    gateway.flip("CP-failing")
    gateway.flip("CP-accepted")
    failing, accepted = gateway.fold.state(outbox).pending()
    at = gateway.clock.wall() + 10_000_000
    gateway.note(Attempted(failing.id, 0, 1, at, at + 5_000_000, 5.0, 500, "answered 500"))
    if accepted_after is not None:
        began = at + round(accepted_after * 1e6)
        outcome = DeliverySucceeded(
            message=accepted.id, webhook="w", position=accepted.position, round=0, attempts=1, status=200,
            attempted_at=began, latency=0.1,
        )  # fmt: skip
        gateway.append(outcome, accepted.subject)

    health = again_after(gateway, receiver).deliveries.health("w")

    assert health is not None
    assert health.fares == fares


@pytest.mark.parametrize("broken", [False, True])
async def test_retry_after_puts_off_for_its_cap_in_all_over_restarts(
    receiver: Receiver, autojump_clock: MockClock, broken: bool
) -> None:
    retry = Retry(delays=(60.0,) * 9, retry_after_cap=10 * HOUR)
    gateway = Gateway(receiver, settings=EngineSettings(retry=retry))
    gateway.start()
    gateway.subscribe()
    receiver.answer = lambda attempt: Answer(status=429, retry_after=4 * HOUR)
    gateway.flip()
    due, delays = 0.0, list[float]()
    for restart in range(8):
        async with sending(gateway):
            await trio.sleep(max(0.0, due - trio.current_time()) + 1.0)
            delays.append(gateway.notes[-1].delay)
            due = trio.current_time() + delays[-1]
        gateway = Gateway(receiver, log=gateway.log, clock=gateway.clock, settings=EngineSettings(retry=retry))
        gateway.broken = broken and restart == 1

    if broken:  # what was spent cannot be read: then the schedule alone rules, until it can
        assert delays[2] < 2 * MINUTE
    assert sum(delays) <= 10 * HOUR + 8 * 1.1 * MINUTE
    assert max(delays[4:]) < 2 * MINUTE


# --- troubles of ours, skips -----------------------------------------------------------------------------------------


async def test_a_trouble_of_ours_is_shown_and_costs_nothing(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = lambda attempt: NOBODY
    async with sending(gateway):
        for n in range(30):
            gateway.flip(f"CP-{n}")
        await trio.sleep(6 * DAY)
        health = gateway.deliveries.health("w")
        receiver.answer = well
        await trio.sleep(5 * MINUTE + 1.0)

    assert health is not None
    assert (health.state, health.problem, health.trouble) == ("active", "no network", "no network")
    assert health.tally == {"hindered": gateway.deliveries.tally["hindered"]}
    assert kinds(gateway) == []
    assert gateway.notes == []
    assert [outcome.attempts for outcome in gateway.outcomes()] == [1] * 30


async def test_one_that_is_skipped_in_flight_is_not_tried_again_but_may_turn_out_delivered(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(10.0)
        return Answer(status=200 if b"CP-lucky" in attempt.body else 500)

    receiver.answer = slowly
    async with sending(gateway):
        gateway.flip("CP-lucky")
        gateway.flip("CP-luckless")
        await trio.sleep(1.0)
        for message in list(gateway.fold.state(outbox).pending()):
            skipped = DeliverySkipped(message=message.id, webhook="w", position=message.position, round=0)
            gateway.append(skipped, message.subject)
        await trio.sleep(DAY)

    assert len(receiver.attempts) == 2
    assert gateway.notes == []
    (lucky,) = gateway.log.read(kinds={DeliverySucceeded.kind})
    assert lucky.subject == "CP-lucky"
    assert decode(lucky) == gateway.outcomes()[0]


async def test_a_lane_goes_on_when_what_it_waits_for_is_skipped(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(20.0)
        (message,) = gateway.fold.state(outbox).pending()
        gateway.flip()
        receiver.answer = well
        gateway.append(
            DeliverySkipped(message=message.id, webhook="w", position=message.position, round=0), message.subject
        )
        await trio.sleep(1.0)

    assert receiver.versions("CP-1") == [2]
    assert gateway.deliveries.attempted(message.id) == 0

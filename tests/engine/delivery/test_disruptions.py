"""The delivery loop when the log fails, secrets are gone, the clock was set, or somebody stops or restarts it."""

from __future__ import annotations

import pytest
import trio
from mailroom import DAY, HOUR, MINUTE, SECRETS, Gateway, Receiver, ill, sending
from trio.testing import MockClock

from stationkeeper.engine.delivery.loop import Deliveries
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import (
    DeliveryParked,
    DeliveryRequested,
    Event,
    WebhookEnabled,
    WebhookPaused,
    WebhookRemoved,
    WebhookUpdated,
)
from stationkeeper.engine.sending import Answer, Attempt, Owed
from stationkeeper.engine.settings import EngineSettings, Retry
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox

# --- the log, a pause, a restart -------------------------------------------------------------------------------------


OF_ANOTHER_LOG = "msg_" + "X" * 26


async def test_nothing_begins_while_the_log_cannot_be_written(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.flip()
        gateway.writable = False
        await trio.sleep(HOUR)
        assert receiver.attempts == []
        gateway.writable = True
        await trio.sleep(2.0)

    assert receiver.versions("CP-1") == [1]


async def test_an_outcome_is_kept_until_the_log_can_be_written(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def and_then_the_disk_is_full(attempt: Attempt) -> Answer:
        gateway.writable = False
        return Answer(status=200)

    receiver.answer = and_then_the_disk_is_full
    gateway.flip()
    gateway.flip()
    async with sending(gateway):
        await trio.sleep(HOUR)
        assert len(receiver.attempts) == 1, "its lane stands, and nothing is sent again"
        receiver.answer = lambda attempt: Answer(status=200)
        gateway.writable = True
        await trio.sleep(3.0)

    assert [outcome.attempts for outcome in gateway.outcomes()] == [1, 1]
    assert receiver.versions("CP-1") == [1, 2]


async def test_outcomes_that_wait_for_the_log_are_bounded(receiver: Receiver, autojump_clock: MockClock) -> None:
    gateway = Gateway(receiver, settings=EngineSettings(concurrency=4, webhook_concurrency=4))
    gateway.start()
    gateway.subscribe()
    gateway.broken = True
    async with sending(gateway):
        for n in range(50):
            gateway.flip(f"CP-{n}")
        await trio.sleep(HOUR)
        assert len(receiver.attempts) <= 4 + 4
        gateway.broken = False
        await trio.sleep(MINUTE)

    assert len(gateway.outcomes()) == len(receiver.attempts) == 50


async def test_an_outcome_that_was_written_though_recording_failed_is_recorded_once(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    record = gateway.deliveries._record_event
    failed: list[str | None] = []

    async def written_but_unknown(event: Event, *, subject: str = "", id: str | None = None) -> None:
        gateway.clock.set_wall(0.001)  # a second try would bear another time
        await record(event, subject=subject, id=id)
        if not failed:
            failed.append(id)
            raise LogUnavailable("the answer to the commit was lost")

    gateway.deliveries._record_event = written_but_unknown
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(5.0)

    assert len(gateway.outcomes()) == 1
    assert receiver.versions("CP-1") == [1]


async def test_paused_webhooks_wait_and_mended_ones_use_their_new_url(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.append(WebhookPaused(), "w")
        gateway.flip()
        await trio.sleep(HOUR)
        assert receiver.attempts == []
        gateway.append(WebhookUpdated(url="https://mended.example", secrets=("s1",)), "w")
        gateway.append(WebhookEnabled(), "w")
        await trio.sleep(1.0)

    assert [attempt.url for attempt in receiver.accepted] == ["https://mended.example"]


async def test_a_removed_webhook_gets_nothing_more(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(1.0)
        gateway.append(WebhookRemoved(), "w")
        await trio.sleep(10 * DAY)

    assert len(receiver.attempts) == 1
    assert gateway.deliveries.health("w") is None


async def test_attempts_before_a_restart_count_and_their_due_is_kept(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(10.0)
    assert [note.number for note in gateway.notes] == [1, 2]
    began = trio.current_time()

    again = Gateway(receiver, log=gateway.log)
    assert again.deliveries.health("w").state == "failing"  # type: ignore[union-attr]
    async with sending(again):
        await trio.sleep(HOUR)

    (third, _) = receiver.attempts[2]
    assert third - began == pytest.approx((gateway.notes[1].due - gateway.notes[1].at) / 1e6 - 5, abs=1.0)
    assert [note.number for note in again.notes] == [3, 4]


@pytest.mark.parametrize("step", [-30 * DAY, 30 * DAY])
async def test_a_clock_that_was_set_makes_nobody_wait_longer(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, step: float
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(10.0)
    began = trio.current_time()
    clock = VirtualClock()
    clock.set_wall(step)

    again = Gateway(receiver, log=gateway.log, clock=clock)
    async with sending(again):
        await trio.sleep(HOUR)

    (third, _) = receiver.attempts[2]
    assert 0.0 <= third - began <= gateway.notes[1].delay


# --- secrets, silence, bodies ----------------------------------------------------------------------------------------


async def test_secrets_that_cannot_be_read_for_a_while_delay_and_end_nothing(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    gateway.secrets_broken = True
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(HOUR)
        assert receiver.attempts == []
        gateway.secrets_broken = False
        await trio.sleep(61.0)

    assert receiver.versions("CP-1") == [1]
    assert [outcome.attempts for outcome in gateway.outcomes()] == [1], "waiting used up no attempt"


async def test_nothing_is_ever_sent_unsigned(gateway: Gateway, receiver: Receiver, autojump_clock: MockClock) -> None:
    gateway.append(WebhookUpdated(url="https://w.example", secrets=("lost",)), "w")
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(HOUR)
        health = gateway.deliveries.health("w")
        assert health is not None
        assert health.unsigned
        assert receiver.attempts == []
        gateway.append(WebhookUpdated(url="https://w.example", secrets=("lost", "s1")), "w")
        await trio.sleep(1.0)

    assert [attempt.secrets for attempt in receiver.accepted] == [(SECRETS["s1"],)]
    assert gateway.outcomes()[0].attempts == 1


async def test_a_mute_gateway_says_nothing_until_it_may(receiver: Receiver, autojump_clock: MockClock) -> None:
    gateway = Gateway(receiver, mute=True)
    gateway.start()
    gateway.subscribe()
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(DAY)
        assert receiver.attempts == []
        gateway.deliveries.mute = False
        await trio.sleep(1.0)

    assert receiver.versions("CP-1") == [1]


async def test_a_sender_that_raises_costs_an_attempt_and_nothing_else(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    def broken(attempt: Attempt) -> Answer:
        raise RuntimeError("a bug in a plug-in")

    receiver.answer = broken
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(1.0)
        receiver.answer = lambda attempt: Answer(status=200)
        await trio.sleep(MINUTE)

    assert gateway.notes[0].error == "the sender failed: RuntimeError: a bug in a plug-in"
    assert receiver.versions("CP-1") == [1]


async def test_a_forgotten_message_is_recalled_from_the_log(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        gateway.flip("CP-1")
        await trio.sleep(1.0)
        message = gateway.outcomes()[0]
        for n in range(2, 150):
            gateway.flip(f"CP-{n}")
            await trio.sleep(1.0)
        assert gateway.fold.state(outbox).find(message.message) is None
        request = DeliveryRequested(
            message=message.message, webhook="w", type="chargestation.online", position=message.position, round=1
        )
        gateway.append(request, "CP-1")
        await trio.sleep(1.0)

    assert receiver.accepted[-1].message == message.message
    assert receiver.accepted[-1].body == receiver.accepted[0].body


async def test_a_message_that_can_never_be_made_is_parked(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        request = DeliveryRequested(
            message=OF_ANOTHER_LOG, webhook="w", type="chargestation.online", position=1, round=1
        )
        gateway.append(request, "CP-1")
        gateway.flip("CP-1")
        await trio.sleep(1.0)

    parked = gateway.outcomes()[0]
    assert isinstance(parked, DeliveryParked)
    assert (parked.message, parked.attempts, parked.status) == (OF_ANOTHER_LOG, 0, None)
    assert parked.reason.startswith("its content can no longer be made from the log")
    assert receiver.versions("CP-1") == [1], "and its lane goes on"


async def test_a_log_that_cannot_be_read_uses_up_no_attempt(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    recalled = 0

    async def unreadable_at_first(message: Owed) -> bytes:
        nonlocal recalled
        recalled += 1
        if recalled < 3:
            raise LogUnavailable("an I/O error")
        return b"{}"

    gateway.deliveries._recall = unreadable_at_first
    async with sending(gateway):
        request = DeliveryRequested(
            message=OF_ANOTHER_LOG, webhook="w", type="chargestation.online", position=1, round=1
        )
        gateway.append(request, "CP-1")
        gateway.flip("CP-2")
        await trio.sleep(1.0)
        assert receiver.versions("CP-2") == [1]
        await trio.sleep(HOUR)

    assert [outcome.attempts for outcome in gateway.outcomes()] == [1, 1]
    assert recalled == 3


# --- shutdown --------------------------------------------------------------------------------------------------------


async def test_stopping_lets_what_is_in_flight_end_and_be_recorded(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def slowly(attempt: Attempt) -> Answer:
        await trio.sleep(8.0)
        return Answer(status=200)

    receiver.answer = slowly
    async with sending(gateway):
        gateway.flip()
        gateway.flip()
        await trio.sleep(1.0)
        gateway.flip("CP-2")

    assert trio.current_time() == pytest.approx(8.0)
    assert receiver.versions("CP-1") == [1]
    assert len(gateway.outcomes()) == 1


async def test_stopping_cuts_off_what_hangs_at_its_deadline(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async def hang(attempt: Attempt) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    receiver.answer = hang
    async with sending(gateway):
        gateway.flip()
        await trio.sleep(1.0)

    assert trio.current_time() == pytest.approx(11.0)
    assert gateway.outcomes() == []
    receiver.answer = lambda attempt: Answer(status=200)
    async with sending(Gateway(receiver, log=gateway.log)):
        await trio.sleep(1.0)
    assert receiver.versions("CP-1") == [1]


async def test_while_outcomes_wait_for_the_log_nobody_looks_again_and_again(
    receiver: Receiver, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(receiver, settings=EngineSettings(concurrency=1, retry=Retry(delays=(0.5,) * 9)))
    gateway.start()
    gateway.subscribe()
    looks, look = [0], Deliveries._wait

    async def counted(self: Deliveries) -> None:
        looks[0] += 1
        if looks[0] > 1000:
            await trio.sleep_forever()  # so that this fails, and does not hang
        await look(self)

    async def slow(event: Event, *, subject: str = "", id: str | None = None) -> None:
        await trio.sleep(10.0)
        await gateway.record(event, subject=subject, id=id)

    monkeypatch.setattr(Deliveries, "_wait", counted)
    gateway.deliveries._record_event = slow
    bad: set[str] = set()
    receiver.answer = lambda attempt: Answer(status=500 if attempt.message in bad else 200)
    async with sending(gateway):
        gateway.flip("CP-BAD")
        bad.update(message.id for message in gateway.fold.state(outbox).pending())
        await trio.sleep(0.2)
        gateway.flip("CP-OK")
        await trio.sleep(9.0)

    assert looks[0] < 20

"""The delivery loop under virtual time: real lanes, real log in memory, real outbox; receivers that follow a script."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.delivery import Deliveries
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    DeliveryParked,
    DeliveryRequested,
    DeliverySucceeded,
    Event,
    GatewayStarted,
    WebhookAdded,
    WebhookDisabled,
    WebhookEnabled,
    WebhookPaused,
    WebhookRecovered,
    WebhookRemoved,
    WebhookUpdated,
)
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log import Attempted
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Answer, Attempt, Owed
from stationkeeper.engine.settings import EngineSettings, Retry
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox
from stationkeeper.projections.outbox import recall

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SECRETS = {"s1": b"k" * 24}


class Receiver:
    """A sender whose receivers answer as told; it keeps all that reached them."""

    def __init__(self) -> None:
        self.answer: Callable[[Attempt], Answer | Awaitable[Answer]] = lambda attempt: Answer(status=200)
        self.attempts: list[tuple[float, Attempt]] = []
        self.accepted: list[Attempt] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def send(self, attempt: Attempt) -> Answer:
        self.attempts.append((trio.current_time(), attempt))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.lowlevel.checkpoint()
            answer = self.answer(attempt)
            if not isinstance(answer, Answer):
                answer = await answer
        finally:
            self.in_flight -= 1
        if answer.accepted:
            self.accepted.append(attempt)
        return answer

    async def aclose(self) -> None: ...

    def versions(self, station: str) -> list[int]:
        """The versions of a station that were accepted, in order."""
        bodies = [json.loads(attempt.body).get("data", {}) for attempt in self.accepted]
        return [body["version"] for body in bodies if body.get("id") == station]


class Gateway:
    """As much of an engine as deliveries need: a log, a fold, and a way to record."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        log: MemoryLog | None = None,
        settings: EngineSettings | None = None,
        clock: VirtualClock | None = None,
        mute: bool = False,
    ) -> None:
        self.log = log or MemoryLog()
        self.clock = clock or VirtualClock()
        self.fold = Fold([outbox])
        for recorded in self.log.read():
            self.fold.advance(recorded)
        self.writable = True
        self.broken = False
        self.notes: list[Attempted] = []
        self.deliveries = Deliveries(
            lambda: self.fold.state(outbox),
            receiver,
            record=self.record,
            note=self.note,
            secret=SECRETS.get,
            recall=self.recall,
            writable=lambda: self.writable,
            clock=self.clock,
            now=self.clock.wall,
            settings=settings or EngineSettings(),
            attempts=self.log.attempts(),
            mute=mute,
        )

    def append(self, event: Event, subject: str = "", *, id: str | None = None, run: str = "") -> None:
        """Append, fold, tell."""
        before = self.log.position
        id = id or f"event-{before + 1}"
        self.log.append([seal(event, id=id, at=self.clock.wall(), subject=subject, gateway="g", run=run)])
        for recorded in self.log.read(before):
            below = self.fold.advance(recorded)
            self.deliveries.committed(recorded, below.changes(outbox))

    async def record(self, event: Event, *, subject: str = "", id: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken or not self.writable:
            raise LogUnavailable("the disk is full")
        self.append(event, subject, id=id)
        await wait_all_tasks_blocked()  # whoever recorded wakes after the fold, when others may have run already

    def note(self, attempted: Attempted) -> None:
        self.notes.append(attempted)
        self.log.append([], attempts=[attempted])

    async def recall(self, message: Owed) -> bytes:
        return recall(self.log.read(), message)

    def outcomes(self) -> list[Any]:
        kinds = {DeliverySucceeded.kind, DeliveryParked.kind}
        return [decode(recorded) for recorded in self.log.read(kinds=kinds)]

    # --- what happens ---

    def start(self) -> None:
        started = GatewayStarted(
            public_url="ws://x/ocpp",
            ping_interval=25.0,
            ping_timeout=20.0,
            silence=900.0,
            grace=120.0,
            settling=300.0,
            rules=1,
            software="0",
            host="h",
        )
        self.append(started, id="run", run="run")

    def subscribe(self, webhook: str = "w", **changes: Any) -> None:
        record = WebhookAdded(url=f"https://{webhook}.example/hook", secrets=("s1",))
        self.append(evolve(record, **changes), webhook)

    def flip(self, station: str = "CP-1") -> None:
        """Open the station's connection, or close it if it is open."""
        fleet = self.fold.state(outbox.needs[0])
        known = fleet.get(station)
        if known is not None and known.connection is not None:
            closed = ConnectionClosed(
                connection=known.connection.id, side="station", cause="station_closed", alive_at=self.clock.wall()
            )
            self.append(closed, station, run="run")
        else:
            opened = ConnectionOpened(
                connection=f"run-{self.log.position + 1}", ping_interval=25.0, ping_timeout=20.0, silence=900.0
            )
            self.append(opened, station, run="run")


@asynccontextmanager
async def sending(gateway: Gateway) -> AsyncIterator[None]:
    """Run the gateway's deliveries around a block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.deliveries.run)
        yield
        await gateway.deliveries.stop(trio.current_time() + 10.0)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def gateway(receiver: Receiver) -> Gateway:
    gateway = Gateway(receiver)
    gateway.start()
    gateway.subscribe()
    return gateway


def ill(attempt: Attempt) -> Answer:
    return Answer(status=500, error="answered 500")


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


# --- the log, a pause, a restart -------------------------------------------------------------------------------------


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
            message="msg_of_another_log", webhook="w", type="chargestation.online", position=1, round=1
        )
        gateway.append(request, "CP-1")
        gateway.flip("CP-1")
        await trio.sleep(1.0)

    parked = gateway.outcomes()[0]
    assert isinstance(parked, DeliveryParked)
    assert (parked.message, parked.attempts, parked.status) == ("msg_of_another_log", 0, None)
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
        request = DeliveryRequested(message="msg_old", webhook="w", type="chargestation.online", position=1, round=1)
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
    assert (health.state, health.breaker, health.in_flight) == ("failing", "open", 0)
    assert health.tally == Counter(attempts=11, succeeded=1, failed=10)
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

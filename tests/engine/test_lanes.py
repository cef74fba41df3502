"""The lanes' machine: against a small model, and rule by rule."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from stationkeeper.engine.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE
from stationkeeper.engine.condition import GONE_CONFIRMED_AFTER
from stationkeeper.engine.lanes import Lanes
from stationkeeper.engine.retries import delay_after
from stationkeeper.engine.sending import Answer, Destination, Owed
from stationkeeper.engine.settings import Retry

OK = Answer(status=200)
ILL = Answer(status=500, error="answered 500")
GONE = Answer(status=410, error="answered 410")
DAY = 86400.0


def destination(webhook: str = "w", **changes: Any) -> Destination:
    return evolve(Destination(webhook=webhook, url="https://example.com", secrets=("s",), state="active"), **changes)


def owed(n: int, subject: str = "CP-1", webhook: str = "w", *, round: int = 0) -> Owed:
    return Owed(
        id=f"msg_{n}",
        webhook=webhook,
        subject=subject,
        type="chargestation.online",
        position=n,
        round=round,
        state="pending",
    )


def lanes(*webhooks: str, concurrency: int = 64, webhook_concurrency: int = 16, retry: Retry | None = None) -> Lanes:
    machine = Lanes(retry or Retry(), concurrency=concurrency, webhook_concurrency=webhook_concurrency)
    for webhook in webhooks or ("w",):
        machine.direct(webhook, destination(webhook), 0.0)
    return machine


def put(machine: Lanes, *messages: Owed, now: float = 0.0) -> None:
    for message in messages:
        machine.head(message.webhook, message.subject, message, now)


def started(machine: Lanes, now: float = 0.0) -> list[Owed]:
    return list(iter(lambda: machine.start(now), None))


def fail(machine: Lanes, now: float, answer: Answer = ILL) -> float:
    """Fail the one attempt that may begin now, and return when the next may."""
    (message,) = started(machine, now)
    verdict = machine.answered(message, answer, now)
    assert verdict.outcome == "failed"
    return now + verdict.delay


# --- the model -------------------------------------------------------------------------------------------------------


class Deliver(RuleBasedStateMachine):
    """A projection made of lists, and receivers that do as they like; the machine in between must keep the rules."""

    flying = Bundle("flying")
    answered = Bundle("answered")

    CONCURRENCY, OF_ONE = 5, 3

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.queues: dict[tuple[str, str], list[Owed]] = {}
        self.standing: dict[tuple[str, str], Owed] = {}
        self.in_flight: set[str] = set()
        self.failures: dict[str, int] = {}
        self.due: dict[str, float] = {}
        self.held: set[str] = set()
        self.machine = lanes("a", "b", concurrency=self.CONCURRENCY, webhook_concurrency=self.OF_ONE)

    def tell_head(self, lane: tuple[str, str]) -> None:
        self.machine.head(*lane, next(iter(self.queues.get(lane, ())), None), self.now)

    @rule(webhook=st.sampled_from("ab"), subject=st.sampled_from(["CP-1", "CP-2", "CP-3", "CP-4", ""]))
    def owe(self, webhook: str, subject: str) -> None:
        lane = (webhook, subject)
        self.queues.setdefault(lane, []).append(owed(next(self.numbers), subject, webhook))
        self.tell_head(lane)

    @rule(target=flying)
    def start(self) -> object:
        begun = started(self.machine, self.now)
        for message in begun:
            lane = (message.webhook, message.subject)
            assert lane not in self.standing, "two of one lane"
            assert message == self.queues[lane][0], "out of order"
            assert self.due.get(message.id, 0.0) <= self.now, "before it was due"
            assert message.webhook not in self.held, "held back"
            self.standing[lane] = message
            self.in_flight.add(message.id)
        return multiple(*begun)

    @rule(message=consumes(flying), status=st.sampled_from([200, 200, 500, 404, 429, None]), target=answered)
    def answer(self, message: Owed, status: int | None) -> object:
        verdict = self.machine.answered(message, Answer(status=status), self.now)
        self.in_flight.remove(message.id)
        failures = self.failures.get(message.id, 0)
        assert verdict.attempts == failures + 1
        if status == 200:
            assert verdict.outcome == "delivered"
            return message
        if failures == 9:
            assert verdict.outcome == "parked"
            return message
        assert verdict.outcome == "failed"
        delay = Retry().delays[failures]
        assert 0.9 * delay <= verdict.delay <= 1.1 * delay
        self.failures[message.id] = failures + 1
        self.due[message.id] = self.now + verdict.delay
        del self.standing[message.webhook, message.subject]
        return multiple()

    @rule(message=consumes(flying))
    def not_made(self, message: Owed) -> None:
        self.machine.put_back(message, self.now)
        self.in_flight.remove(message.id)
        del self.standing[message.webhook, message.subject]

    @rule(message=consumes(answered), folded_first=st.booleans())
    def record(self, message: Owed, folded_first: bool) -> None:
        lane = (message.webhook, message.subject)
        self.queues[lane].pop(0)
        if folded_first:
            self.tell_head(lane)
        self.machine.recorded(message, self.now)
        del self.standing[lane]
        if not folded_first:
            self.tell_head(lane)

    @rule(webhook=st.sampled_from("ab"), state=st.sampled_from(["active", "paused", "disabled"]))
    def pause(self, webhook: str, state: str) -> None:
        was_held = webhook in self.held
        self.held.discard(webhook)
        if state != "active":
            self.held.add(webhook)
        elif was_held:
            self.due = {id: due for id, due in self.due.items() if self.webhook_of(id) != webhook}
        self.machine.direct(webhook, destination(webhook, state=state), self.now)

    def webhook_of(self, id: str) -> str:
        return next((lane[0] for lane, queue in self.queues.items() for message in queue if message.id == id), "")

    @rule(seconds=st.sampled_from([0.5, 6.0, 60.0, 400.0, 3600.0, DAY]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_deadline(self) -> None:
        if (deadline := self.machine.deadline()) is not None:
            self.now = max(self.now, deadline)

    @invariant()
    def within_the_caps(self) -> None:
        assert self.machine.flying == len(self.in_flight) <= self.CONCURRENCY
        assert all(self.machine.in_flight(webhook) <= self.OF_ONE for webhook in "ab")

    def teardown(self) -> None:
        """Let every receiver be well: everything that was owed is delivered, each lane in order."""
        if not hasattr(self, "machine"):
            return
        for webhook in "ab":
            self.machine.direct(webhook, destination(webhook), self.now)
        standing = list(self.standing.values())
        while standing or any(self.queues.values()):
            for message in standing:
                if message.id in self.in_flight:
                    assert self.machine.answered(message, OK, self.now).outcome == "delivered"
                lane = (message.webhook, message.subject)
                assert self.queues[lane].pop(0) == message
                self.machine.recorded(message, self.now)
                self.tell_head(lane)
            standing = started(self.machine, self.now)
            self.in_flight = {message.id for message in standing}
            if not standing and any(self.queues.values()):
                deadline = self.machine.deadline()
                assert deadline is not None, "something is owed, and nothing will ever start"
                assert deadline > self.now, "something is due, and does not start"
                self.now = deadline


TestDeliver = Deliver.TestCase


# --- order and isolation ---------------------------------------------------------------------------------------------


def test_a_lane_stands_until_its_outcome_is_recorded() -> None:
    machine = lanes()
    put(machine, owed(1))
    (first,) = started(machine)
    machine.answered(first, OK, 0.0)
    put(machine, owed(2))

    assert started(machine) == []
    machine.recorded(first, 0.0)
    assert started(machine) == [owed(2)]


def test_a_recorded_message_is_not_sent_again_while_the_fold_still_shows_it() -> None:
    machine = lanes()
    put(machine, owed(1))
    (first,) = started(machine)
    machine.answered(first, OK, 0.0)
    machine.recorded(first, 0.0)
    put(machine, owed(1))
    assert started(machine) == []

    put(machine, owed(1, round=1))
    assert started(machine) == [owed(1, round=1)]


def test_a_failing_message_holds_only_its_lane() -> None:
    machine = lanes()
    put(machine, owed(1, "bad"))
    now = 0.0
    for n in range(2, 9):
        now = fail(machine, now)
        put(machine, owed(n, f"good-{n}"), now=now - 0.001)
        (good,) = started(machine, now - 0.001)
        machine.answered(good, OK, now)
        machine.recorded(good, now)

    assert good.subject == "good-8"


def test_one_message_that_always_fails_never_opens_the_breaker() -> None:
    machine = lanes()
    put(machine, owed(1))
    now = 0.0
    for _ in range(9):
        now = fail(machine, now)
        assert machine.breaker("w", now) == "closed"


def test_webhooks_take_turns_and_so_do_their_lanes() -> None:
    machine = lanes("a", "b", concurrency=4)
    put(machine, *(owed(n, f"CP-{n}", "a") for n in range(1, 5)), *(owed(n, f"CP-{n}", "b") for n in range(5, 7)))

    assert [(message.webhook, message.position) for message in started(machine)] == [
        ("a", 1),
        ("b", 5),
        ("a", 2),
        ("b", 6),
    ]


def test_a_webhook_has_its_share_and_no_more() -> None:
    machine = lanes("a", "b", webhook_concurrency=2)
    put(machine, *(owed(n, f"CP-{n}", "a") for n in range(1, 10)), owed(10, webhook="b"))

    assert [message.webhook for message in started(machine)] == ["a", "b", "a"]


def test_an_older_message_that_is_asked_for_again_goes_ahead_of_one_that_waits() -> None:
    machine = lanes()
    put(machine, owed(2))
    due = fail(machine, 0.0)
    put(machine, owed(1, round=1), now=1.0)
    (older,) = started(machine, 1.0)
    machine.answered(older, OK, 1.0)
    machine.recorded(older, 1.0)
    put(machine, owed(2), now=1.0)

    assert older == owed(1, round=1)
    assert started(machine, 1.0) == []
    assert started(machine, due) == [owed(2)]
    assert machine.answered(owed(2), OK, due).attempts == 2


def test_a_lane_that_is_ready_waits_after_all_if_its_head_becomes_one_that_waits() -> None:
    machine = lanes()
    put(machine, owed(2))
    due = fail(machine, 0.0)
    put(machine, owed(1, round=1), now=1.0)
    put(machine, owed(2), now=1.0)

    assert started(machine, 1.0) == []
    assert started(machine, due) == [owed(2)]


# --- retries ---------------------------------------------------------------------------------------------------------


def test_ten_attempts_on_schedule_then_parked() -> None:
    machine = lanes()
    put(machine, owed(1))
    now, moments = 0.0, [0.0]
    for _ in range(9):
        now = fail(machine, now)
        moments.append(now)
    (message,) = started(machine, now)
    verdict = machine.answered(message, ILL, now)

    assert verdict.outcome == "parked"
    assert verdict.attempts == 10
    for before, after, delay in zip(moments[:-1], moments[1:], Retry().delays, strict=True):
        assert after - before == pytest.approx(delay, rel=0.1)


@pytest.mark.parametrize("attempts", range(1, 10))
def test_jitter_comes_from_the_message_id_and_stays_within_its_share(attempts: int) -> None:
    delays = {delay_after(Retry(), f"msg_{n}", attempts) for n in range(500)}
    nominal = Retry().delays[attempts - 1]

    assert delays == {delay_after(Retry(), f"msg_{n}", attempts) for n in range(500)}
    assert 0.9 * nominal <= min(delays) < 0.92 * nominal
    assert 1.08 * nominal < max(delays) <= 1.1 * nominal


def test_retry_after_is_a_lower_bound() -> None:
    machine = lanes()
    put(machine, owed(1))
    second = fail(machine, 0.0, Answer(status=429, retry_after=120.0))
    third = fail(machine, second, Answer(status=503, retry_after=1.0))

    assert second == 120.0
    assert third - second == pytest.approx(300.0, rel=0.1)


def test_retry_after_counts_on_429_and_503_alone() -> None:
    machine = lanes()
    put(machine, owed(1))

    assert fail(machine, 0.0, Answer(status=500, retry_after=120.0)) < 6.0


def test_retry_after_puts_a_message_off_for_a_day_in_all() -> None:
    machine = lanes()
    put(machine, owed(1))
    now = 0.0
    for _ in range(9):
        now = fail(machine, now, Answer(status=429, retry_after=20 * 3600.0))

    assert now <= 1.1 * sum(Retry().delays) + DAY


def test_waiting_for_a_pause_uses_up_no_attempt() -> None:
    machine = lanes()
    put(machine, owed(1))
    fail(machine, 0.0)
    machine.direct("w", destination(state="paused"), 1.0)
    assert started(machine, 10 * DAY) == []
    assert machine.deadline() is None or machine.deadline() == 10 * DAY

    machine.direct("w", destination(), 10 * DAY)
    (message,) = started(machine, 10 * DAY)
    assert machine.answered(message, OK, 10 * DAY).attempts == 2


def test_mending_a_webhook_makes_due_what_waits_and_gives_no_attempt_back() -> None:
    machine = lanes()
    put(machine, owed(1))
    now = fail(machine, fail(machine, fail(machine, 0.0)))
    machine.direct("w", destination(url="https://mended.example"), now - 1000.0)

    (message,) = started(machine, now - 1000.0)
    assert machine.answered(message, OK, now).attempts == 4


def test_looking_at_a_webhook_again_hastens_nothing() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0)
    machine.direct("w", destination(accepted_at=5), 1.0)

    assert started(machine, 1.0) == []
    assert machine.deadline() == due


def test_failures_from_before_a_restart_count() -> None:
    machine = lanes()
    machine.remember(owed(1), attempts=9, due=100.0)
    put(machine, owed(1))
    assert started(machine, 99.0) == []
    assert machine.deadline() == 100.0

    (message,) = started(machine, 100.0)
    assert machine.answered(message, ILL, 100.0).outcome == "parked"


def test_an_attempt_that_was_not_made_counts_for_nothing() -> None:
    machine = lanes()
    put(machine, owed(1))
    (message,) = started(machine)
    machine.put_back(message, 0.0, until=60.0)
    assert started(machine, 59.0) == []

    (message,) = started(machine, 60.0)
    assert machine.answered(message, OK, 60.0).attempts == 1


# --- the breaker -----------------------------------------------------------------------------------------------------


def outage(machine: Lanes, lanes: int = 100) -> None:
    """Let a receiver with many lanes be ill from the start."""
    put(machine, *(owed(n, f"CP-{n}") for n in range(lanes)))
    for message in started(machine):
        machine.answered(message, ILL, 0.0)


def test_an_outage_costs_a_few_attempts_however_many_lanes_wait() -> None:
    machine = lanes()
    outage(machine, 10_000)

    assert machine.breaker("w", 0.0) == "open"
    assert started(machine, FIRST_PAUSE - 0.001) == []
    assert machine.deadline() is not None


def test_a_half_open_breaker_lets_one_probe_through() -> None:
    machine = lanes()
    outage(machine)

    (probe,) = started(machine, FIRST_PAUSE)
    assert machine.breaker("w", FIRST_PAUSE) == "half open"
    assert started(machine, FIRST_PAUSE + 1) == []
    machine.answered(probe, ILL, FIRST_PAUSE + 1)
    assert started(machine, FIRST_PAUSE + 1 + 2 * FIRST_PAUSE - 0.001) == []
    assert len(started(machine, FIRST_PAUSE + 1 + 2 * FIRST_PAUSE)) == 1


def test_a_probe_that_is_accepted_lets_everything_through() -> None:
    machine = lanes()
    outage(machine)
    (probe,) = started(machine, FIRST_PAUSE)
    machine.answered(probe, OK, FIRST_PAUSE)

    assert machine.breaker("w", FIRST_PAUSE) == "closed"
    assert len(started(machine, FIRST_PAUSE)) == 16


def test_a_probe_that_is_not_made_makes_way_for_another() -> None:
    machine = lanes()
    outage(machine)
    (probe,) = started(machine, FIRST_PAUSE)
    machine.put_back(probe, FIRST_PAUSE)

    assert len(started(machine, FIRST_PAUSE)) == 1


def test_waiting_for_the_breaker_uses_up_no_attempt() -> None:
    machine = lanes()
    outage(machine)
    now = FIRST_PAUSE
    for _ in range(500):
        (probe,) = started(machine, now)
        machine.answered(probe, ILL, now)
        now += LONGEST_PAUSE

    tried = [progress.attempts for n in range(100) if (progress := machine.progress(f"msg_{n}"))]
    assert sum(tried) == 16 + 500
    assert max(tried) < 10


def test_one_webhooks_breaker_is_no_other_webhooks_business() -> None:
    machine = lanes("w", "other")
    outage(machine)
    put(machine, owed(500, webhook="other"))

    assert [message.webhook for message in started(machine)] == ["other"]


def test_a_breaker_obeys_retry_after() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(FAILURES + 1)))
    for message in started(machine)[:FAILURES]:
        machine.answered(message, Answer(status=503, retry_after=600.0), 0.0)
    put(machine, owed(50, "new"))

    assert started(machine, 599.0) == []
    assert len(started(machine, 600.0)) == 1


# --- disabling -------------------------------------------------------------------------------------------------------


def test_a_second_410_a_minute_later_disables() -> None:
    machine = lanes()
    put(machine, owed(1))
    again = fail(machine, 0.0, GONE)
    (message,) = started(machine, again)
    verdict = machine.answered(message, GONE, again)

    assert again == GONE_CONFIRMED_AFTER
    assert "410" in verdict.disable
    put(machine, owed(2, "CP-2"))
    assert started(machine, 10 * DAY) == []


def test_a_410_in_passing_disables_nothing() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    first, second = started(machine)
    assert machine.answered(first, GONE, 0.0).disable == ""
    assert machine.answered(second, GONE, 1.0).disable == "", "not a minute later"
    (first,) = started(machine, GONE_CONFIRMED_AFTER)[:1]
    machine.answered(first, OK, GONE_CONFIRMED_AFTER)
    put(machine, owed(3, "CP-3"), now=GONE_CONFIRMED_AFTER)

    later = next(message for message in started(machine, 2 * DAY) if message.position == 3)
    assert machine.answered(later, GONE, 2 * DAY).disable == ""


def test_five_days_of_failures_disable() -> None:
    machine = lanes()
    now = 0.0
    verdicts = []
    for n in range(1, 12):
        put(machine, owed(n), now=now)
        for _ in range(10):
            (message,) = started(machine, now)
            verdict = machine.answered(message, ILL, now)
            verdicts.append((now, verdict.disable))
            if verdict.disable:
                break
            now += verdict.delay
            if verdict.outcome == "parked":
                machine.recorded(message, now)
        if verdict.disable:
            break

    assert [disable for at, disable in verdicts if at < 5 * DAY] == [""] * (len(verdicts) - 1)
    assert verdicts[-1] == (now, f"every attempt failed for {now / DAY:.1f} days")


def test_a_success_begins_the_five_days_anew() -> None:
    machine = lanes()
    put(machine, owed(1))
    fail(machine, 0.0)
    put(machine, owed(2, "CP-2"), now=1.0)
    (message,) = started(machine, 1.0)
    machine.answered(message, OK, 1.0)

    (message,) = started(machine, 6 * DAY)
    assert machine.answered(message, ILL, 6 * DAY).disable == ""


def test_failures_from_before_a_restart_count_towards_the_five_days() -> None:
    machine = lanes()
    machine.failed_since("w", -5 * DAY)
    put(machine, owed(1))
    (message,) = started(machine)

    assert machine.answered(message, ILL, 0.0).disable


# --- removal, and cost -----------------------------------------------------------------------------------------------


def test_a_removed_webhook_is_forgotten_and_its_last_answer_is_borne() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"), owed(3, "CP-3"))
    first, second, _ = started(machine)
    machine.direct("w", None, 0.0)

    assert machine.answered(first, ILL, 0.0).outcome == "dropped"
    assert machine.answered(second, OK, 0.0).outcome == "delivered"
    machine.recorded(second, 0.0)
    assert started(machine, DAY) == []
    assert machine.deadline() is None


@pytest.mark.parametrize("count", [100, 10_000])
def test_waiting_lanes_cost_nothing_per_look(count: int) -> None:
    machine = lanes(concurrency=100_000, webhook_concurrency=100_000)
    machine.direct("w", destination(state="paused"), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(count)))

    assert machine.start(1.0) is None
    assert machine.deadline() is None
    assert not [*machine._timers, *machine._turn], "nothing is kept that a look would have to pass over"

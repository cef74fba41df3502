"""The lanes: against a small model, then order, isolation and cost, rule by rule."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from laning import DAY, ILL, OK, destination, fail, lanes, outage, owed, put, started

from stationkeeper.engine.sending import Answer, Owed
from stationkeeper.engine.settings import Retry


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


def test_a_lane_that_is_put_back_makes_room_for_the_next() -> None:
    machine = lanes(webhook_concurrency=1)
    put(machine, owed(1), owed(2, "CP-2"))
    (first,) = started(machine)
    machine.put_back(first, 0.0, until=60.0)

    assert started(machine) == [owed(2, "CP-2")]


def test_a_message_that_is_given_up_says_how_often_it_was_tried() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, fail(machine, 0.0))
    (message,) = started(machine, due)

    assert machine.give_up(message, due).attempts == 2


def test_of_a_message_that_has_its_outcome_nothing_is_remembered() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0)
    assert machine.progress("msg_1") is not None
    (message,) = started(machine, due)
    machine.answered(message, OK, due)

    assert machine.progress("msg_1") is None


def test_a_lane_whose_waiting_message_is_owed_no_more_wakes_nobody_and_is_forgotten() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0)
    assert machine.deadline() == due
    machine.head("w", "CP-1", None, 1.0)

    assert machine.deadline() is None
    assert machine._webhooks["w"].lanes == {}


def test_a_lane_that_became_empty_while_it_was_ready_hides_none_behind_it() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    machine.head("w", "CP-1", None, 0.0)

    assert started(machine) == [owed(2, "CP-2")]


def test_of_the_messages_of_a_removed_webhook_nothing_is_remembered() -> None:
    machine = lanes()
    put(machine, owed(1))
    fail(machine, 0.0)
    machine.direct("w", None, 1.0)

    assert machine.progress("msg_1") is None


def test_mending_lets_go_at_once_what_was_held_back() -> None:
    machine = lanes()
    machine.hold("w", 100.0, 0.0)
    put(machine, owed(1))
    assert started(machine, 0.5) == []

    machine.direct("w", destination(url="https://mended.example"), 0.5)

    assert started(machine, 0.5) == [owed(1)]


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


def test_nothing_of_a_removed_webhook_wakes_anybody() -> None:
    machine = lanes()
    outage(machine)
    machine.direct("w", None, 0.0)

    assert machine.deadline() is None


@pytest.mark.parametrize("count", [100, 10_000])
def test_waiting_lanes_cost_nothing_per_look(count: int) -> None:
    machine = lanes(concurrency=100_000, webhook_concurrency=100_000)
    machine.direct("w", destination(state="paused"), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(count)))

    assert machine.start(1.0) is None
    assert machine.deadline() is None
    assert not [*machine._timers, *machine._turn], "nothing is kept that a look would have to pass over"


def test_a_webhook_that_is_mended_while_it_is_being_disabled_begins_at_once() -> None:
    machine = lanes(retry=Retry(disable_after=1.0))
    put(machine, owed(1))
    due = fail(machine, 0.0)
    fail(machine, due)
    assert machine.disabling("w")
    assert started(machine, due + DAY) == []

    machine.direct("w", destination(url="https://mended.example"), due + DAY)

    assert not machine.disabling("w")
    assert started(machine, due + DAY) == [owed(1)]

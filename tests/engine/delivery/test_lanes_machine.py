"""The lanes against a small model: receivers that do as they like, and a window that is too small for what is owed."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import Final

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from laning import DAY, OK, Machine, destination, lanes, started

from stationkeeper.engine.delivery.scheduling.bucket import Bucket
from stationkeeper.engine.sending import Answer, Destination, Owed
from stationkeeper.engine.settings import Retry

WEBHOOKS: Final = {"a": "https://one.example/a", "b": "https://ONE.example.:8443/b", "c": "https://two.example/c"}
HOSTS: Final = {"a": "one", "b": "one", "c": "two"}
SUBJECTS: Final = ("CP-1", "CP-2", "CP-3", "CP-4", "CP-5", "")
CONCURRENCY, OF_ONE, OF_A_HOST, WINDOW = 6, 3, 4, 2
RATE: Final = 2.0
"""Attempts a second, of webhook c."""
NOBODY_ANSWERS: Final = Answer(status=None, error="no route to host", local=True)
ANSWERS: Final = (
    OK, OK, OK, Answer(status=500), Answer(status=404), Answer(status=302), Answer(status=None, error="timed out"),
    Answer(status=429, retry_after=90.0), Answer(status=410), NOBODY_ANSWERS,
)  # fmt: skip


class Deliver(RuleBasedStateMachine):
    """A projection made of lists; whatever receivers and people do, the scheduler must keep the rules."""

    flying = Bundle("flying")
    answered = Bundle("answered")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.standing: dict[tuple[str, str], Owed] = {}
        self.in_flight: dict[str, Owed] = {}
        self.moot: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.due: dict[str, float] = {}
        self.held: set[str] = set()
        self.held_until: dict[str, float] = {}
        self.begun_at: defaultdict[str, list[float]] = defaultdict(list)
        self.machine: Machine = lanes(
            window=WINDOW, concurrency=CONCURRENCY, webhook_concurrency=OF_ONE, host_concurrency=OF_A_HOST
        )
        self.machine.direct("w", None, 0.0)
        for webhook in WEBHOOKS:
            self.machine.direct(webhook, self.to(webhook), 0.0)

    def to(self, webhook: str, state: str = "active") -> Destination:
        return destination(webhook, url=WEBHOOKS[webhook], state=state, rate=RATE if webhook == "c" else None)

    @rule(webhook=st.sampled_from("abc"), subject=st.sampled_from(SUBJECTS), count=st.integers(1, 3))
    def owe(self, webhook: str, subject: str, count: int) -> None:
        for _ in range(count):
            n = next(self.numbers)
            message = Owed(f"msg_{n}", webhook, subject, "chargestation.online", n, 0, "pending")
            self.machine.book.add(message)
            self.machine.tell_head(message, self.now)

    @rule(target=flying)
    def start(self) -> object:
        begun = started(self.machine, self.now)
        for message in begun:
            lane = (message.webhook, message.subject)
            assert lane not in self.standing, "two of one lane"
            assert message == next(iter(self.machine.book.lane(*lane))), "out of order"
            assert self.due.get(message.id, 0.0) <= self.now, "before it was due"
            assert message.webhook not in self.held, "to a webhook that is paused"
            assert self.held_until.get(message.webhook, 0.0) <= self.now, "while the trouble is ours"
            assert self.machine.breaker(message.webhook, self.now) != "open"
            self.standing[lane] = self.in_flight[message.id] = message
            self.begun_at[message.webhook].append(self.now)
        return multiple(*begun)

    @rule(message=consumes(flying), answer=st.sampled_from(ANSWERS), target=answered)
    def answer(self, message: Owed, answer: Answer) -> object:
        verdict = self.machine.answered(message, answer, self.now)
        del self.in_flight[message.id]
        if answer.accepted:
            assert verdict.outcome == "delivered"
            return message
        if answer.local:
            assert verdict.outcome == "put back", "what is our fault is no attempt"
            assert verdict.attempts == (0 if message.id in self.moot else self.failures[message.id])
            self.held_until[message.webhook] = self.now + verdict.delay
        elif message.id in self.moot:
            assert verdict.outcome == "dropped", "what is owed no more is not tried again"
        else:
            self.failures[message.id] += 1
            assert verdict.attempts == self.failures[message.id]
            if verdict.attempts == 10:
                assert verdict.outcome == "parked"
                return message
            assert verdict.outcome == "failed"
            self.check_delay(answer, verdict.attempts, verdict.delay)
            self.due[message.id] = self.now + verdict.delay
        if verdict.disable:
            self.direct(message.webhook, "disabled")
        del self.standing[message.webhook, message.subject]
        return multiple()

    def check_delay(self, answer: Answer, attempts: int, delay: float) -> None:
        nominal = Retry().delays[attempts - 1]
        if answer.status == 410 and delay < 60.001:
            return  # confirmed a minute after the first
        asked = answer.retry_after or 0.0
        assert max(0.9 * nominal, asked) - 0.001 <= delay <= max(1.1 * nominal, asked) + 0.001

    @rule(message=consumes(flying))
    def not_made(self, message: Owed) -> None:
        self.machine.put_back(message, self.now)
        del self.in_flight[message.id]
        del self.standing[message.webhook, message.subject]

    @rule(message=consumes(answered), folded_first=st.booleans())
    def record(self, message: Owed, folded_first: bool) -> None:
        if message.id not in self.moot:
            self.machine.book.settle(message)
        if folded_first:
            self.machine.tell_head(message, self.now)
        self.machine.recorded(message, self.now)
        del self.standing[message.webhook, message.subject]
        if not folded_first:
            self.machine.tell_head(message, self.now)

    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        """Somebody skips what stands at the head of a lane, in flight or not."""
        heads = [message for webhook in "abc" for message in self.machine.book.heads(webhook)]
        unsettled = [
            message
            for message in heads
            if message.id in self.in_flight or (message.webhook, message.subject) not in self.standing
        ]
        if unsettled:
            message = data.draw(st.sampled_from(unsettled))
            self.machine.book.settle(message)
            self.machine.forget(message)
            self.machine.tell_head(message, self.now)
            self.moot.add(message.id)

    @rule(webhook=st.sampled_from("abc"), state=st.sampled_from(["active", "paused", "disabled"]))
    def direct(self, webhook: str, state: str) -> None:
        if state != "active":
            self.held.add(webhook)
        elif webhook in self.held:
            self.held.discard(webhook)
            self.held_until.pop(webhook, None)
            for message in self.machine.book.pending():
                if message.webhook == webhook:
                    self.due.pop(message.id, None)
        self.machine.direct(webhook, self.to(webhook, state), self.now)

    @rule(seconds=st.sampled_from([0.1, 0.5, 6.0, 60.0, 400.0, 3600.0, DAY]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_deadline(self) -> None:
        if (deadline := self.machine.deadline()) is not None:
            self.now = max(self.now, deadline)

    @invariant()
    def within_the_caps(self) -> None:
        assert self.machine.flying == len(self.in_flight) <= CONCURRENCY
        of_one = Counter(message.webhook for message in self.in_flight.values())
        assert all(self.machine.in_flight(webhook) == of_one[webhook] <= OF_ONE for webhook in "abc")
        of_hosts = Counter(HOSTS[message.webhook] for message in self.in_flight.values())
        assert all(count <= OF_A_HOST for count in of_hosts.values())

    @invariant()
    def within_the_rate(self) -> None:
        begun, burst = self.begun_at["c"], Bucket(RATE).burst
        for first, last in itertools.combinations(range(len(begun)), 2):
            span = begun[last] - begun[first]
            assert last - first + 1 <= burst + RATE * span + 1e-6

    @invariant()
    def little_is_held(self) -> None:
        for webhook in "abc":
            ready = len(self.machine._queues[webhook].ready)
            assert ready <= (WINDOW if webhook not in self.held else 0)

    def teardown(self) -> None:
        """Let every receiver be well: everything that was owed is delivered, each lane in order."""
        if not hasattr(self, "machine"):
            return
        for webhook in WEBHOOKS:
            self.direct(webhook, "active")
        standing = list(self.standing.values())
        while standing or any(self.machine.book.pending()):
            for message in standing:
                if message.id in self.in_flight:
                    assert self.machine.answered(message, OK, self.now).outcome == "delivered"
                    del self.in_flight[message.id]
                if message.id not in self.moot:
                    self.machine.book.settle(message)
                self.machine.tell_head(message, self.now)
                self.machine.recorded(message, self.now)
            self.standing.clear()
            self.start()
            standing = list(self.standing.values())
            if not standing and any(self.machine.book.pending()):
                deadline = self.machine.deadline()
                assert deadline is not None, "something is owed, and nothing will ever start"
                assert deadline > self.now, "something is due, and does not start"
                self.now = deadline


TestDeliver = Deliver.TestCase
TestDeliver.settings = settings(stateful_step_count=60)

"""When a failed message is tried again, as the lanes apply it."""

from __future__ import annotations

import pytest
from laning import DAY, ILL, OK, destination, fail, lanes, owed, put, started

from stationkeeper.engine.delivery.scheduling.retries import Progress, asked_delay, delay_after, next_attempt
from stationkeeper.engine.sending import Answer
from stationkeeper.engine.settings import Retry


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


def test_messages_that_fail_together_do_not_come_back_together() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(4)))
    delays = {machine.answered(message, ILL, 0.0).delay for message in started(machine)}

    assert len(delays) == 4


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(status=429, retry_after=0.5), 0.5),
        (Answer(status=503, retry_after=-5.0), 0.0),
        (Answer(status=503), 0.0),
        (Answer(status=500, retry_after=0.5), 0.0),
        (Answer(status=None, retry_after=0.5), 0.0),
    ],
)
def test_an_answer_asks_for_as_long_as_it_says_or_not_at_all(answer: Answer, seconds: float) -> None:
    assert asked_delay(answer) == seconds


def test_retry_after_may_take_the_whole_day_at_once_and_nothing_after() -> None:
    patient = Answer(status=429, retry_after=30 * DAY)
    first = next_attempt(Retry(), "m", None, 0, patient, 0.0)
    assert first is not None
    second = next_attempt(Retry(), "m", first, 0, patient, first.due)
    assert second is not None

    assert first.due == pytest.approx(delay_after(Retry(), "m", 1) + DAY)
    assert first.put_off == second.put_off == DAY
    assert second.due - first.due == pytest.approx(delay_after(Retry(), "m", 2))


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
    machine.tried.note(owed(1), Progress(round=0, attempts=9, due=100.0))
    put(machine, owed(1))
    assert started(machine, 99.0) == []
    assert machine.deadline() == 100.0

    (message,) = started(machine, 100.0)
    assert machine.answered(message, ILL, 100.0).outcome == "parked"


def test_failures_of_an_older_round_do_not_count() -> None:
    machine = lanes()
    machine.tried.note(owed(1), Progress(round=0, attempts=9, due=100.0))
    put(machine, owed(1, round=1))
    (message,) = started(machine)

    assert machine.answered(message, ILL, 0.0).attempts == 1


def test_an_attempt_that_was_not_made_counts_for_nothing() -> None:
    machine = lanes()
    put(machine, owed(1))
    (message,) = started(machine)
    machine.put_back(message, 0.0, until=60.0)
    assert started(machine, 59.0) == []

    (message,) = started(machine, 60.0)
    assert machine.answered(message, OK, 60.0).attempts == 1

"""The breaker of a webhook, as the lanes apply it."""

from __future__ import annotations

from laning import ILL, OK, destination, lanes, outage, owed, put, started

from stationkeeper.engine.delivery.scheduling.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from stationkeeper.engine.sending import Answer


def test_an_outage_costs_a_few_attempts_however_many_lanes_wait() -> None:
    machine = lanes()
    outage(machine, 10_000)

    assert machine.breaker("w", 0.0) == "open"
    assert started(machine, FIRST_PAUSE - 0.001) == []
    assert machine.deadline() is not None


def test_the_fifth_message_opens_it_for_ten_seconds_then_twice_as_long_up_to_five_minutes() -> None:
    breaker = Breaker()
    for n in range(1, 6):
        assert breaker.state(0.0) == "closed"
        breaker.failed(f"m{n}", 0.0)
    pauses = [breaker.until]
    for _ in range(6):
        now = breaker.until
        breaker.begin("probe")
        breaker.failed("probe", now)
        pauses.append(breaker.until - now)

    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


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


def test_a_probe_that_is_given_up_makes_way_for_another() -> None:
    machine = lanes()
    outage(machine)
    (probe,) = started(machine, FIRST_PAUSE)

    assert machine.give_up(probe, FIRST_PAUSE).outcome == "parked"
    assert len(started(machine, FIRST_PAUSE)) == 1


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    machine = lanes(webhook_concurrency=1)
    put(machine, *(owed(n, f"CP-{n}") for n in range(20)))
    for n in range(20):
        (message,) = started(machine)
        if machine.answered(message, OK if n % FAILURES == 0 else ILL, 0.0).outcome == "delivered":
            machine.recorded(message, 0.0)
            put(machine, message)

    assert machine.breaker("w", 0.0) == "closed"


def test_mending_a_webhook_closes_its_breaker() -> None:
    machine = lanes()
    outage(machine)
    machine.direct("w", destination(url="https://mended.example"), 1.0)

    assert len(started(machine, 1.0)) == 16


def test_lanes_that_become_ready_while_the_breaker_is_open_cost_no_timers() -> None:
    machine = lanes()
    outage(machine)
    timers = len(machine._timers)
    put(machine, *(owed(n, f"CP-{n}") for n in range(1000, 2000)))

    assert len(machine._timers) == timers


def test_waiting_for_the_breaker_uses_up_no_attempt() -> None:
    machine = lanes()
    outage(machine)
    now = FIRST_PAUSE
    for _ in range(500):
        (probe,) = started(machine, now)
        machine.answered(probe, ILL, now)
        now += LONGEST_PAUSE

    tried = [progress.attempts for n in range(100) if (progress := machine.tried[f"msg_{n}"])]
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


def test_retry_after_puts_a_webhook_off_for_its_cap_in_all_until_something_is_accepted() -> None:
    breaker = Breaker(cap=1000.0)
    for n in range(FAILURES):
        breaker.failed(f"m{n}", 0.0, asked=900.0)
    assert breaker.until == 900.0
    for until in (900.0 + 20.0 + 110.0, 1030.0 + 40.0):  # what is left of the cap, and then the breaker's own pauses
        now = breaker.until
        breaker.begin("probe")
        breaker.failed("probe", now, asked=900.0)
        assert breaker.until == until

    breaker.accepted()
    for n in range(FAILURES):
        breaker.failed(f"m{n}", 2000.0, asked=900.0)
    assert breaker.until == 2900.0

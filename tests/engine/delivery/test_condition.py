"""When a webhook is disabled for its answers, as the lanes apply it."""

from __future__ import annotations

from laning import DAY, GONE, ILL, OK, destination, fail, lanes, owed, put, started

from stationkeeper.engine.delivery.scheduling.condition import GONE_CONFIRMED_AFTER, Condition
from stationkeeper.engine.delivery.scheduling.retries import delay_after
from stationkeeper.engine.sending import Answer
from stationkeeper.engine.settings import Retry


def test_a_second_410_a_minute_later_disables() -> None:
    machine = lanes()
    put(machine, owed(1))
    again = fail(machine, 0.0, GONE)
    (message,) = started(machine, again)
    verdict = machine.answered(message, GONE, again)

    assert again == GONE_CONFIRMED_AFTER
    assert "410" in verdict.disable
    assert verdict.delay > 0.0
    put(machine, owed(2, "CP-2"))
    assert started(machine, 10 * DAY) == []


def test_a_disabled_webhook_that_is_enabled_is_sent_to() -> None:
    machine = lanes()
    put(machine, owed(1))
    again = fail(machine, 0.0, GONE)
    fail(machine, again, GONE)
    machine.direct("w", destination(state="disabled"), again)
    machine.direct("w", destination(), again)

    assert started(machine, again) == [owed(1)]


def test_a_webhook_is_disabled_once_though_many_attempts_say_so() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    for message in started(machine):
        machine.answered(message, GONE, 0.0)
    verdicts = [machine.answered(message, GONE, 61.0) for message in started(machine, 61.0)]

    assert [bool(verdict.disable) for verdict in verdicts] == [True, False]


def test_another_answer_between_two_410s_disables_nothing() -> None:
    machine = lanes()
    put(machine, owed(1))
    now = fail(machine, fail(machine, 0.0, GONE), ILL)
    (message,) = started(machine, now)

    assert machine.answered(message, GONE, now).disable == ""


def test_the_minute_between_two_410s_is_counted_from_the_first_whatever_the_clock_shows() -> None:
    condition = Condition(Retry())

    assert condition.failed("m1", GONE, 5000.0) == ""
    assert condition.failed("m2", GONE, 5059.9) == ""
    assert condition.failed("m3", GONE, 5060.0) == "the receiver answered 410 Gone, and again a minute later"


def test_only_a_410_is_asked_again_in_a_minute() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    gone, unreached = started(machine)
    assert machine.answered(gone, GONE, 0.0).delay == 60.0

    verdict = machine.answered(unreached, Answer(status=None, error="no connection"), 0.0)

    assert verdict.delay == delay_after(Retry(), unreached.id, 1)


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
    machine.failed_before("w", -5 * DAY, newest=-5 * DAY, attempts=1)
    machine.failed_before("w", -1 * DAY, newest=-1 * DAY, attempts=3)
    put(machine, owed(1))
    (message,) = started(machine)

    assert machine.answered(message, ILL, 0.0).disable


def test_a_few_failures_far_from_each_other_disable_nothing() -> None:
    condition = Condition(Retry())
    for number in range(4):
        assert condition.failed(f"m{number}", ILL, 60.0 * number) == ""

    assert condition.failed("m5", ILL, 6 * DAY) == "", "in six days nobody asked"
    assert condition.failed("m6", ILL, 6 * DAY + 5.0) == "every attempt failed for 6.0 days"


def test_fewer_than_five_attempts_disable_nothing() -> None:
    condition = Condition(Retry())

    assert [condition.failed("m", ILL, at * DAY) for at in (0.0, 6.0, 6.1, 6.2)] == [""] * 4
    assert condition.failed("m", ILL, 6.3 * DAY) == "every attempt failed for 6.3 days"

"""Troubles of ours, messages that are owed no more, and suspensions from before a restart, as the lanes take them."""

from __future__ import annotations

from laning import DAY, ILL, OK, delivered, destination, fail, lanes, outage, owed, put, started

from stationkeeper.engine.delivery.scheduling.breaker import FAILURES, FIRST_PAUSE
from stationkeeper.engine.sending import Answer

SHARE = 16


# --- troubles of ours ------------------------------------------------------------------------------------------------

NOBODY = Answer(status=None, error="no network", local=True)


def test_troubles_of_ours_cost_no_attempt_open_no_breaker_and_are_waited_for_ever_longer() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(100)))
    now, pauses = 0.0, list[float]()
    for message in started(machine):
        assert machine.answered(message, NOBODY, now).outcome == "put back"
    pauses.append((machine.deadline() or now) - now)
    for _ in range(8):
        now = machine.deadline() or now
        (one,) = started(machine, now)
        assert machine.answered(one, NOBODY, now).attempts == 0
        pauses.append((machine.deadline() or now) - now)

    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert machine.breaker("w", now) == "closed"
    condition = machine.condition("w")
    assert condition is not None
    assert (condition.health, condition.trouble, condition.failing_since) == ("well", "no network", None)
    now = machine.deadline() or now
    (one,) = started(machine, now)
    delivered(machine, one, now)
    assert condition.trouble == ""
    assert len(started(machine, now)) == SHARE


def test_a_probe_that_a_trouble_of_ours_hindered_makes_way_for_another() -> None:
    machine = lanes()
    outage(machine)
    (probe,) = started(machine, FIRST_PAUSE)
    machine.answered(probe, NOBODY, FIRST_PAUSE)

    assert machine.breaker("w", FIRST_PAUSE + 5.0) == "half open"
    assert len(started(machine, FIRST_PAUSE + 5.0)) == 1


def test_the_time_of_a_trouble_of_ours_does_not_count_towards_the_five_days() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0)
    (message,) = started(machine, due)
    machine.answered(message, NOBODY, due)
    (message,) = started(machine, 6 * DAY)
    assert machine.answered(message, ILL, 6 * DAY).disable == ""

    put(machine, owed(2, "CP-2"), now=6 * DAY)
    (second,) = started(machine, 6 * DAY)
    machine.answered(second, ILL, 6 * DAY)
    put(machine, owed(3, "CP-3"), owed(4, "CP-4"), now=11.1 * DAY)
    begun = [message for message in started(machine, 11.1 * DAY) if message.position in (3, 4)]
    assert [bool(machine.answered(message, ILL, 11.1 * DAY).disable) for message in begun] == [False, True]


def test_only_so_many_messages_open_a_breaker_as_it_says() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(FAILURES)))
    for count, message in enumerate(started(machine), 1):
        machine.answered(message, ILL, 0.0)
        assert (machine.breaker("w", 0.0) == "open") == (count == FAILURES)


def test_what_was_missing_in_the_vault_is_looked_for_at_once_when_it_may_be_there() -> None:
    machine = lanes()
    machine.hold("w", 60.0, 0.0)
    put(machine, owed(1))
    machine.direct("w", destination(rate=5.0), 1.0)
    assert started(machine, 1.0) == []

    machine.direct("w", destination(secrets=("s", "older")), 2.0)
    assert started(machine, 2.0) == [owed(1)]


# --- messages that are owed no more ----------------------------------------------------------------------------------


def test_a_message_that_is_skipped_in_flight_is_not_tried_again_and_its_lane_goes_on() -> None:
    machine = lanes()
    machine.book.add(owed(1))
    machine.book.add(owed(2))
    machine.tell_head(owed(1), 0.0)
    (first,) = started(machine)
    machine.book.settle(first)
    machine.forget(first)
    machine.tell_head(first, 0.0)
    assert started(machine) == [], "one of a lane in flight"

    assert machine.answered(first, ILL, 0.0).outcome == "dropped"
    assert machine.tried[first.id] is None
    assert started(machine) == [owed(2)]


def test_a_message_that_is_skipped_in_flight_and_accepted_after_all_was_delivered() -> None:
    machine = lanes()
    put(machine, owed(1))
    (first,) = started(machine)
    machine.forget(first)

    assert machine.answered(first, OK, 0.0).outcome == "delivered"


def test_a_message_that_is_skipped_while_it_waits_lets_its_lane_go_on_at_once() -> None:
    machine = lanes()
    put(machine, owed(1))
    fail(machine, 0.0)
    machine.forget(owed(1))
    put(machine, owed(2), now=1.0)

    assert started(machine, 1.0) == [owed(2)]


def test_a_message_that_is_given_up_after_it_was_skipped_has_no_outcome() -> None:
    machine = lanes()
    put(machine, owed(1))
    (first,) = started(machine)
    machine.forget(first)

    assert machine.give_up(first, 0.0).outcome == "put back"


def test_a_webhook_that_was_suspended_before_a_restart_is_tried_with_one_probe() -> None:
    machine = lanes("x")
    machine.direct("w", destination(health="suspended"), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(100)))
    (probe,) = started(machine)
    assert machine.held() == 1
    machine.answered(probe, ILL, 0.0)
    assert started(machine, 2 * FIRST_PAUSE - 0.001) == []
    (probe,) = started(machine, 2 * FIRST_PAUSE)
    delivered(machine, probe, 2 * FIRST_PAUSE)

    assert len(started(machine, 2 * FIRST_PAUSE)) == SHARE

"""The lanes: order, isolation and cost, rule by rule."""

from __future__ import annotations

import pytest
from laning import DAY, GONE, ILL, OK, destination, empty, fail, lanes, outage, owed, put, started

from stationkeeper.engine.delivery.scheduling.timers import FEW

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
    assert machine.tried["msg_1"] is not None
    (message,) = started(machine, due)
    machine.answered(message, OK, due)

    assert machine.tried["msg_1"] is None


def test_a_lane_whose_waiting_message_is_owed_no_more_wakes_nobody_and_is_forgotten() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0)
    assert machine.deadline() == due
    empty(machine, now=1.0)

    assert machine.deadline() is None
    assert machine.held() == 0


def test_a_lane_that_became_empty_while_it_was_ready_hides_none_behind_it() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    empty(machine)

    assert started(machine) == [owed(2, "CP-2")]


def test_of_the_messages_of_a_removed_webhook_nothing_is_remembered() -> None:
    machine = lanes()
    put(machine, owed(1))
    fail(machine, 0.0)
    machine.direct("w", None, 1.0)

    assert machine.tried["msg_1"] is None


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
    assert not [*machine._timers._heap, *machine._turn], "nothing is kept that a look would have to pass over"


def test_a_webhook_that_is_mended_while_it_is_being_disabled_begins_at_once() -> None:
    machine = lanes()
    put(machine, owed(1))
    due = fail(machine, 0.0, GONE)
    fail(machine, due, GONE)
    assert machine.disabling("w")
    assert started(machine, due + DAY) == []

    machine.direct("w", destination(url="https://mended.example"), due + DAY)

    assert not machine.disabling("w")
    assert started(machine, due + DAY) == [owed(1)]


def test_news_of_a_lane_that_waits_pile_up_no_timers() -> None:
    machine = lanes()
    put(machine, owed(1), owed(2, "CP-2"))
    for message in started(machine):
        machine.answered(message, ILL, 0.0)
    due = machine.deadline()
    for _ in range(2000):
        machine.tell_head(owed(1), 1.0)

    assert len(machine._timers) <= FEW + 1
    assert machine.deadline() == due
    assert len(started(machine, 10.0)) == 2

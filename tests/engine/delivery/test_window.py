"""How much the lanes hold in memory, and that nobody starves for it; caps of hosts and rates."""

from __future__ import annotations

from collections import Counter
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given
from laning import DAY, ILL, OK, Machine, delivered, destination, lanes, outage, owed, put, started

from stationkeeper.engine.delivery.scheduling.breaker import FIRST_PAUSE, LONGEST_PAUSE
from stationkeeper.engine.delivery.scheduling.bucket import BURST, Bucket
from stationkeeper.engine.delivery.scheduling.hosts import Hosts, host_of
from stationkeeper.engine.delivery.scheduling.queues import WINDOW
from stationkeeper.engine.delivery.scheduling.retries import Progress

SHARE = 16


def keep_accepting(machine: Machine, begins: int, now: float = 0.0) -> list[str]:
    """Let a well receiver accept one message after the other; return the subjects in the order of their begins."""
    order: list[str] = []
    while len(order) < begins:
        for message in started(machine, now):
            order.append(message.subject)
            delivered(machine, message, now)
    return order


# --- the window ------------------------------------------------------------------------------------------------------


def test_of_a_webhook_that_is_well_a_window_of_lanes_is_held() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(3 * WINDOW)))
    assert machine.held() == WINDOW

    assert sorted(keep_accepting(machine, 3 * WINDOW)) == sorted(f"CP-{n}" for n in range(3 * WINDOW))
    assert machine.held() == 0


def test_of_a_dead_webhook_next_to_nothing_is_held() -> None:
    machine = lanes()
    outage(machine, 10_000)
    assert machine.held() <= SHARE + 1
    now = FIRST_PAUSE
    for probes in range(1, 20):
        (probe,) = started(machine, now)
        machine.answered(probe, ILL, now)
        now += LONGEST_PAUSE
        assert machine.held() <= SHARE + probes + 1


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_of_a_webhook_that_is_sent_nothing_nothing_is_held(state: str) -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(100)))
    fail_all(machine)
    machine.direct("w", destination(state=state), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(100, 200)))
    assert machine.held() == 0

    machine.direct("w", destination(), 1.0)
    assert sorted(keep_accepting(machine, 200, 1.0)) == sorted(f"CP-{n}" for n in range(200))


def fail_all(machine: Machine) -> None:
    for message in started(machine):
        machine.answered(message, ILL, 0.0)


def test_after_a_restart_lanes_are_found_without_being_told() -> None:
    machine = lanes("other")
    for n in range(2 * WINDOW):
        machine.book.put(owed(n, f"CP-{n}"))
    machine.direct("w", destination(), 0.0)

    assert machine.held() == WINDOW
    assert len(keep_accepting(machine, 2 * WINDOW)) == 2 * WINDOW


def test_a_receiver_that_is_back_is_sent_everything() -> None:
    machine = lanes()
    outage(machine, 3000)
    (probe,) = started(machine, FIRST_PAUSE)
    delivered(machine, probe, FIRST_PAUSE)

    assert len(set(keep_accepting(machine, 2999, FIRST_PAUSE))) == 2999
    assert list(machine.book.heads("w")) == []


def test_lanes_that_wait_for_a_retry_take_no_room() -> None:
    machine = lanes("other")
    for n in range(2 * WINDOW):
        poison = owed(n, f"CP-{n}")
        machine.book.put(poison)
        machine.tried.note(poison, Progress(round=0, attempts=1, due=DAY))
    machine.book.put(owed(9999, "CP-good"))
    machine.direct("w", destination(), 0.0)

    assert started(machine) == [owed(9999, "CP-good")]
    assert machine.held() == 2 * WINDOW + 1
    machine.direct("w", destination(state="paused"), 0.0)
    assert machine.held() == 1, "the one in flight"


def test_a_lane_that_is_outside_does_not_get_in_first_because_it_owes_more() -> None:
    machine = lanes("other", window=4, webhook_concurrency=1)
    for n in range(12):
        machine.book.add(owed(n, f"CP-{n}"))
    machine.direct("w", destination(), 0.0)
    order: list[int] = []
    for _ in range(12):
        (message,) = started(machine)
        order.append(message.position)
        machine.tell_head(owed(0, "CP-11"), 0.0)
        delivered(machine, message)

    assert order == list(range(12))


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(9, 40))
def test_no_lane_starves_however_much_the_others_owe(seed: int, window: int, stations: int) -> None:
    random, machine, numbers = Random(seed), lanes("other", webhook_concurrency=3, window=window), iter(range(10**6))
    for n in range(stations):
        machine.book.add(owed(next(numbers), f"CP-{n}"))
    machine.direct("w", destination(), 0.0)
    waited, begun = Counter[str](), 0
    for _ in range(6 * stations):
        for message in started(machine):
            begun += 1
            for lane in machine.book.heads("w"):
                waited[lane.subject] += 1
            waited[message.subject] = 0
            assert max(waited.values()) <= 2 * stations + window + 3, "a lane waits for ever"
            assert message == next(iter(machine.book.lane("w", message.subject))), "out of order"
            # The busiest lanes never run dry.
            for busy in {message.subject, f"CP-{random.randrange(3)}"}:
                machine.book.add(owed(next(numbers), busy))
                machine.tell_head(owed(0, busy), 0.0)
            delivered(machine, message)
    assert begun >= 6 * stations


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_a_host_has_its_share_however_many_webhooks_point_at_it() -> None:
    machine = lanes("a", "b", "c", host_concurrency=4)
    for webhook in "ab":
        machine.direct(webhook, destination(webhook, url=f"https://shared.example/{webhook}"), 0.0)
    put(machine, *(owed(10 * w + n, f"CP-{n}", webhook) for w, webhook in enumerate("abc") for n in range(9)))
    begun = started(machine)

    assert Counter(message.webhook for message in begun) == {"a": 2, "b": 2, "c": 4}


def test_webhooks_of_a_busy_host_take_turns() -> None:
    machine = lanes(*"abcd", host_concurrency=1)
    for webhook in "abcd":
        machine.direct(webhook, destination(webhook, url=f"https://shared.example/{webhook}"), 0.0)
    put(machine, *(owed(10 * w + n, f"CP-{n}", webhook) for w, webhook in enumerate("abcd") for n in range(5)))
    order = ""
    for _ in range(12):
        (message,) = started(machine)
        order += message.webhook
        delivered(machine, message)

    assert order == "abcd" * 3


def test_a_slot_of_a_busy_host_goes_to_the_next_if_its_owner_is_paused_or_removed() -> None:
    machine = lanes(*"abc", host_concurrency=1)
    for webhook in "abc":
        machine.direct(webhook, destination(webhook, url=f"https://shared.example/{webhook}"), 0.0)
    put(machine, *(owed(n, webhook=webhook) for n, webhook in enumerate("abc")))
    (first,) = started(machine)
    assert first.webhook == "a"
    machine.direct("b", destination("b", url="https://shared.example/b", state="paused"), 0.0)
    delivered(machine, first)
    (third,) = started(machine)
    assert third.webhook == "c"

    machine.direct("b", destination("b", url="https://shared.example/b"), 0.0)
    assert started(machine) == []
    machine.direct("c", None, 0.0)
    machine.answered(third, ILL, 0.0)
    assert [message.webhook for message in started(machine)] == ["b"]


def test_a_webhook_that_moves_away_from_a_busy_host_begins() -> None:
    machine = lanes("a", "b", host_concurrency=1)
    for webhook in "ab":
        machine.direct(webhook, destination(webhook, url="https://shared.example"), 0.0)
    put(machine, owed(1, webhook="a"), owed(2, webhook="b"))
    assert [message.webhook for message in started(machine)] == ["a"]

    machine.direct("b", destination("b", url="https://elsewhere.example"), 0.0)
    assert [message.webhook for message in started(machine)] == ["b"]


def test_a_slot_that_is_promised_is_given_to_nobody_else_and_passed_on_by_who_moves_away() -> None:
    machine = lanes(*"abc", host_concurrency=1)
    for webhook in "abc":
        machine.direct(webhook, destination(webhook, url="https://shared.example"), 0.0)
    put(machine, owed(1, webhook="a"), owed(2, webhook="b"))
    (first,) = started(machine)
    put(machine, owed(3, webhook="c"), owed(4, "CP-2", webhook="a"))
    machine.answered(first, ILL, 0.0)
    (second,) = started(machine)
    assert second.webhook == "b"

    machine.answered(second, ILL, 0.0)
    machine.direct("c", destination("c", url="https://elsewhere.example"), 0.0)
    assert sorted(message.webhook for message in started(machine)) == ["a", "c"]


def test_a_host_that_nobody_points_at_is_forgotten() -> None:
    machine = lanes("a")
    put(machine, owed(1, webhook="a"))
    (message,) = started(machine)
    machine.direct("a", None, 0.0)
    assert len(machine._hosts) == 1
    machine.answered(message, OK, 0.0)

    assert len(machine._hosts) == 0
    assert len(Hosts(1)) == 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example./a", "hooks.example"),
        ("http://hooks.example:8443/b?c", "hooks.example"),
        ("https://[2001:db8::1]/", "2001:db8::1"),
        ("https://[broken/", "https://[broken/"),
        ("", ""),
    ],
)
def test_a_host_is_counted_without_port_case_and_final_dot(url: str, host: str) -> None:
    assert host_of(url) == host


# --- shares and rates ------------------------------------------------------------------------------------------------


def test_a_webhook_may_have_a_share_of_its_own() -> None:
    machine = lanes()
    machine.direct("w", destination(concurrency=2), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(9)))

    assert len(started(machine)) == 2


@pytest.mark.parametrize("own", [True, False])
def test_no_more_attempts_a_second_begin_than_a_webhook_bears(own: bool) -> None:
    machine = lanes(webhook_rate=None if own else 20.0)
    machine.direct("w", destination(rate=20.0 if own else None), 0.0)
    put(machine, *(owed(n, f"CP-{n}") for n in range(50)))
    now, begun = 0.0, list[float]()
    while len(begun) < 50:
        for message in started(machine, now):
            begun.append(now)
            delivered(machine, message, now)
        now = machine.deadline() or now

    assert begun[:3] == [0.0, 0.0, pytest.approx(0.05)]
    assert begun[-1] == pytest.approx(48 / 20)


def test_waiting_for_the_rate_uses_up_no_attempt_and_is_no_failure() -> None:
    machine = lanes()
    machine.direct("w", destination(rate=0.5), 0.0)
    put(machine, owed(1), owed(2, "CP-2"))
    (first,) = started(machine)
    delivered(machine, first)
    assert started(machine, 1.99) == []
    (second,) = started(machine, 2.0)

    assert machine.answered(second, OK, 2.0).attempts == 1


@given(st.floats(0.01, 500.0), st.lists(st.floats(0.0, 3.0), min_size=2, max_size=60))
def test_a_bucket_gives_its_burst_and_its_rate_and_no_more(rate: float, pauses: list[float]) -> None:
    bucket, now, begun = Bucket(rate), 0.0, list[float]()
    for pause in pauses:
        now = max(now + pause * pause / rate, bucket.until)
        begun.append(now)
        bucket.take(now)

    assert bucket.burst == max(1.0, BURST * rate)
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            assert last - first + 1 <= bucket.burst + rate * (begun[last] - begun[first]) + 1e-6

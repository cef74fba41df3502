"""Deliveries over time, against plain sums over the same events; and that they stay bounded."""

from __future__ import annotations

from sys import modules
from typing import Any, TypeAlias

import pytest
from effort import examples
from histories import SECOND, START, History
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import deliveries
from stationkeeper.projections.deliveries import EDGES, MOVES, PERIOD, REACH, Deliveries, Tally

DAY = 86_400 * SECOND


def accepted(webhook: str = "w1", *, attempts: int = 1, latency: float = 0.1) -> e.DeliverySucceeded:
    return e.DeliverySucceeded(message="m", webhook=webhook, position=1, round=0, attempts=attempts, attempted_at=START,
                               latency=latency, status=204)  # fmt: skip


def parked(webhook: str = "w1", *, attempts: int = 10) -> e.DeliveryParked:
    return e.DeliveryParked(message="m", webhook=webhook, position=1, round=0, attempts=attempts, attempted_at=START,
                            latency=15.0, reason="timed out")  # fmt: skip


def told(*events: tuple[int, e.Event], webhooks: tuple[str, ...] = ("w1",)) -> Deliveries:
    """Fold events, each at some time after `START`, after webhooks were added."""
    history = History()
    for webhook in webhooks:
        history.add(e.WebhookAdded(url="https://hooks.example/"), webhook, at=START)
    for after, event in events:
        history.add(event, "w1" if event.kind.startswith("webhook.") else "CP-7", at=START + after)
    return fold(deliveries, history)


def summed(state: Deliveries, webhook: str = "w1") -> dict[int, tuple[int, int, int]]:
    """Return what was counted, by the begin of each period after the first."""
    first = START - START % PERIOD
    return {
        (begin - first) // PERIOD: (tally.accepted, tally.parked, tally.failed)
        for begin, tally in state.periods(webhook)
    }


def test_outcomes_are_counted_in_the_quarter_of_an_hour_in_which_they_were_recorded() -> None:
    rest = PERIOD - START % PERIOD
    state = told(
        (0, accepted()),
        (rest - 1, accepted(attempts=3)),
        (rest, accepted()),
        (rest + 5 * PERIOD, parked()),
        (rest + 5 * PERIOD + 1, accepted("w2")),
    )

    assert summed(state) == {0: (2, 0, 2), 1: (1, 0, 0), 6: (0, 1, 10)}
    assert summed(state, "w2") == {}
    total = state.total("w1")
    assert (total.accepted, total.parked, total.failed, sum(total.latencies)) == (3, 1, 12, 3)


Outcome: TypeAlias = tuple[int, str, bool, int, float]
outcomes = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda quarters: quarters * PERIOD * 24),
        st.sampled_from(("w1", "w2")),
        st.booleans(),
        st.integers(1, 10),
        st.floats(0, 40),
    ),
    max_size=25,
)


@settings(max_examples=examples(60))
@given(drawn=outcomes)
def test_what_is_counted_is_what_happened_within_the_reach_of_the_newest(drawn: list[Outcome]) -> None:
    """Events in any order of their times: what the clock was set back to counts as long as it is within reach."""
    events: list[tuple[int, e.Event]] = [
        (at, accepted(webhook, attempts=attempts, latency=latency) if good else parked(webhook, attempts=attempts))
        for at, webhook, good, attempts, latency in drawn
    ]
    state = told(*events, webhooks=("w1", "w2"))

    newest = max((at for at, *_ in drawn), default=0)
    for webhook in ("w1", "w2"):
        expected: dict[int, tuple[int, int, int]] = {}
        for at, of, good, attempts, _ in drawn:
            if of == webhook and at > newest - REACH:
                was = expected.get(at // PERIOD, (0, 0, 0))
                expected[at // PERIOD] = (was[0] + good, was[1] + (not good), was[2] + attempts - good)
        assert summed(state, webhook) == expected
        assert state.total(webhook).accepted == sum(of == webhook and good for _, of, good, *_ in drawn)


def test_after_a_week_a_period_is_forgotten_and_the_sums_stay() -> None:
    state = told((0, accepted()), (6 * DAY, accepted()), (7 * DAY + PERIOD, accepted()))

    assert len(summed(state)) == 2
    assert state.total("w1").accepted == 3


def test_however_many_webhooks_deliver_only_so_many_periods_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["stationkeeper.projections.deliveries"], "MOST", 10)
    names = tuple(f"w{number}" for number in range(4))
    events = [(quarter * PERIOD, accepted(name)) for quarter in range(20) for name in names]
    state = told(*events, webhooks=names)

    assert [sorted(summed(state, name)) for name in names] == [[18, 19]] * 4
    again = deliveries.load(deliveries.dump(state))
    assert deliveries.dump(again) == deliveries.dump(state)
    for name in names:
        again.count(accepted(name), START + 20 * PERIOD)
    assert [sorted(summed(again, name)) for name in names] == [[19, 20]] * 4


def test_a_removed_webhook_is_forgotten_whole() -> None:
    state = told((0, accepted()), (PERIOD, accepted("w2")), (DAY, e.WebhookRemoved()), webhooks=("w1", "w2"))

    assert (summed(state), state.total("w1"), state.moves("w1")) == ({}, Tally(), ())
    assert list(summed(state, "w2")) == [1]
    assert "w1" not in deliveries.dump(state).decode()


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 1.0])
@given(latencies=st.lists(st.floats(0.0005, 30.0), min_size=1, max_size=50))
def test_a_quantile_is_in_the_class_of_the_true_one(share: float, latencies: list[float]) -> None:
    tally = Tally()
    for latency in latencies:
        tally.count(accepted(latency=latency))

    rank = max(1, -(-share * len(latencies) // 1))
    true = sorted(latencies)[int(rank) - 1]
    lower = max((edge for edge in EDGES if edge < true), default=0.0)
    upper = min(edge for edge in EDGES if edge >= true)
    found = tally.quantile(share)
    assert found is not None
    assert lower <= found <= upper


def test_quantiles_of_nothing_and_of_what_is_beyond_all_classes() -> None:
    tally = Tally()
    assert tally.quantile(0.5) is None
    tally.count(parked())
    assert tally.quantile(0.5) is None
    tally.count(accepted(latency=1e308))
    assert tally.quantile(0.5) == EDGES[-1]


def test_a_webhooks_changes_of_state_are_kept_in_order() -> None:
    failed = e.WebhookFailed(since=START, reason="refused")
    state = told(
        (1, failed),
        (2, failed),
        (3, e.WebhookSuspended(since=START, reason="refused")),
        (4, e.WebhookPaused()),
        (5, e.WebhookEnabled()),
        (6, e.WebhookUpdated(url="https://other.example/")),
        (7, e.WebhookDisabled(reason="gone", since=START)),
    )

    moves = [(move.at - START, move.state) for move in state.moves("w1")]
    assert moves == [(0, "active"), (1, "failing"), (3, "suspended"), (4, "paused"), (5, "active"), (7, "disabled")]


def test_a_flapping_webhook_keeps_its_newest_changes_alone() -> None:
    flaps: list[tuple[int, e.Event]] = []
    for number in range(MOVES):
        flaps += [(2 * number, e.WebhookPaused()), (2 * number + 1, e.WebhookEnabled())]
    moves = told(*flaps).moves("w1")

    assert len(moves) == MOVES
    assert moves[-1].at == START + 2 * MOVES - 1


def test_it_counts_alike_from_a_snapshot() -> None:
    history: list[Any] = [(at * PERIOD, accepted(latency=at / 7)) for at in range(9)]
    whole = Fold([deliveries])
    story = History()
    story.subscribed("w1")
    for at, event in history:
        story.add(event, "CP-7", at=START + at)
    for number, recorded in enumerate(story):
        if number == 5:
            kept = deliveries.load(deliveries.dump(whole.state(deliveries)))
            whole.resume({"deliveries": kept}, whole.position, whole.leaf)
        whole.advance(recorded)
    assert deliveries.dump(whole.state(deliveries)) == deliveries.dump(fold(deliveries, story))

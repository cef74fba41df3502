"""The subscriptions: their states, and their filters."""

from __future__ import annotations

from typing import Any

import pytest
from histories import START, History
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import webhooks
from stationkeeper.projections.webhooks import Webhook


def subscribed(**record: Any) -> Webhook:
    history = History()
    history.subscribed("w1", **record)
    return fold(webhooks, history)["w1"]


def test_a_webhook_knows_since_when_it_is_owed_anything() -> None:
    history = History()
    history.started()
    added = history.subscribed("w1", name="Ops")
    updated = history.add(e.WebhookUpdated(url="https://new.example/", events=()), "w1")

    webhook = fold(webhooks, history)["w1"]

    assert (webhook.added, webhook.created_at, webhook.updated_at) == (added.position, added.at, updated.at)
    assert webhook.record == e.WebhookRecord(url="https://new.example/", events=())


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "active"),
        ([e.WebhookPaused()], "paused"),
        ([e.WebhookPaused(), e.WebhookEnabled()], "active"),
        ([e.WebhookDisabled(reason="dead", since=START)], "disabled"),
        ([e.WebhookDisabled(reason="dead", since=START), e.WebhookEnabled()], "active"),
        ([e.WebhookDisabled(reason="dead", since=START), e.WebhookUpdated(url="https://new.example/")], "disabled"),
        ([e.WebhookPaused(), e.WebhookUpdated(url="https://new.example/")], "paused"),
    ],
)
def test_sending_is_on_until_it_is_paused_or_disabled_and_again_once_enabled(events: list[e.Event], state: str) -> None:
    history = History()
    history.subscribed("w1")
    for event in events:
        history.add(event, "w1")

    webhook = fold(webhooks, history)["w1"]

    assert webhook.state == state
    assert (webhook.disabled is not None) == (state == "disabled")


def test_a_disabled_webhook_says_why() -> None:
    history = History()
    history.subscribed("w1")
    disabled = history.add(e.WebhookDisabled(reason="410 twice", since=START, status=410), "w1")

    why = fold(webhooks, history)["w1"].disabled

    assert why is not None
    assert (why.reason, why.since, why.status, why.at) == ("410 twice", START, 410, disabled.at)


def test_a_removed_webhook_is_forgotten() -> None:
    history = History()
    history.subscribed("w1")
    history.add(e.WebhookRemoved(), "w1")
    folding = Fold([webhooks])
    changes = [change for recorded in history for change in folding.advance(recorded).changes(webhooks)]

    assert not folding.state(webhooks)
    assert [(change.before is None, change.now is None) for change in changes] == [(True, False), (False, True)]


def test_by_default_only_flips_of_any_station_are_asked_for() -> None:
    webhook = subscribed()

    assert webhook.asks_for("chargestation.online")
    assert webhook.asks_for("chargestation.offline")
    assert not webhook.asks_for("chargestation.offline.confirmed")
    assert not webhook.asks_for("webhook.disabled")
    assert webhook.covers("anything at all")


@pytest.mark.parametrize(
    ("patterns", "station", "covered"),
    [
        (("CP-7",), "CP-7", True),
        (("CP-7",), "cp-7", False),
        (("CP-7",), "CP-77", False),
        (("CP-*",), "CP-", True),
        (("CP-?",), "CP-7", True),
        (("CP-[0-5]",), "CP-7", False),
        (("CP-[!0-5]",), "CP-7", True),
        (("A*", "*7"), "CP-7", True),
        ((), "CP-7", False),
        (("",), "CP-7", False),
        (("*",), "a/b\nc", True),
        (("a*c",), "a/b\nc", True),
    ],
)
def test_patterns_are_a_shells_and_case_counts(patterns: tuple[str, ...], station: str, covered: bool) -> None:
    assert subscribed(stations=patterns).covers(station) is covered


@given(pattern=st.text(alphabet="[]!-*?az\\^", max_size=12), station=st.text(max_size=6))
def test_no_pattern_is_too_odd_to_be_asked(pattern: str, station: str) -> None:
    assert subscribed(stations=(pattern,)).covers(station) in (True, False)


def test_odd_events_change_nothing_and_are_counted() -> None:
    history = History()
    history.subscribed("w1")
    before = webhooks.dump(fold(webhooks, history))
    history.subscribed("w1", url="https://other.example/")
    history.add(e.WebhookPaused(), "w2")
    history.subscribed("")

    state = fold(webhooks, history)
    assert state.odd.total() == 3
    state.odd.clear()
    assert webhooks.dump(state) == before

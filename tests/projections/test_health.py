"""How webhooks fare, as the log has it; and what the deliveries are told of a webhook."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import fields
from histories import START, History
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.engine.sending import Destination
from stationkeeper.projections import outbox, webhooks
from stationkeeper.projections.webhooks import Trouble, Webhook

URL = "https://hooks.example/"
FAILED = e.WebhookFailed(since=START, reason="answered 500", status=500)
SUSPENDED = e.WebhookSuspended(since=START + 7, reason="timed out")
RESUMED = e.WebhookResumed()

MENDINGS: list[dict[str, Any]] = [
    {"url": "https://new.example/"},
    {"secrets": ("s2", "s1")},
    {"keys": ("k2", "k1")},
    {"headers": (("x-token", "h2"),)},
    {"identity": "i2"},
    {"authorities": "a2"},
]
RECORD: dict[str, Any] = {
    "url": URL,
    "secrets": ("s1", "s0"),
    "keys": ("k1", "k0"),
    "headers": (("x-token", "h1"),),
    "identity": "i1",
    "authorities": "a1",
}


def after(*events: e.Event) -> tuple[Webhook, list[int]]:
    """Return a webhook after some events, and at which of them (from 1) it changed."""
    history = History()
    history.subscribed("w1", **RECORD)
    for event in events:
        history.add(event, "w1")
    folding = Fold([webhooks])
    changed = [recorded.position - 1 for recorded in history if folding.advance(recorded).changes(webhooks)]
    return folding.state(webhooks)["w1"], changed[1:]


@pytest.mark.parametrize(
    ("events", "health", "changed"),
    [
        ([], "well", []),
        ([FAILED], "failing", [1]),
        ([FAILED, FAILED], "failing", [1]),
        ([FAILED, SUSPENDED], "suspended", [1, 2]),
        ([SUSPENDED, SUSPENDED], "suspended", [1]),
        ([SUSPENDED, FAILED], "suspended", [1]),
        ([FAILED, RESUMED], "well", [1, 2]),
        ([SUSPENDED, RESUMED, FAILED], "failing", [1, 2, 3]),
        ([RESUMED], "well", []),
        ([SUSPENDED, e.WebhookPaused()], "suspended", [1, 2]),
        ([SUSPENDED, e.WebhookEnabled()], "well", [1, 2]),
        ([FAILED, e.WebhookUpdated(**RECORD)], "failing", [1, 2]),
        ([FAILED, e.WebhookUpdated(**RECORD | {"secrets": ("s1",), "keys": ("k1",)})], "failing", [1, 2]),
        ([FAILED, e.WebhookUpdated(**RECORD | {"events": (), "name": "x", "rate": 1.0})], "failing", [1, 2]),
        *(([SUSPENDED, e.WebhookUpdated(**RECORD | mending)], "well", [1, 2]) for mending in MENDINGS),
    ],
)
def test_a_webhook_is_well_until_it_fails_and_again_once_it_accepts_or_is_mended(
    events: list[e.Event], health: str, changed: list[int]
) -> None:
    webhook, at = after(*events)

    assert (webhook.health, at) == (health, changed)
    assert (webhook.trouble is None) == (health == "well")


def test_a_webhook_that_is_not_well_says_why_in_the_first_words_of_its_trouble() -> None:
    webhook, _ = after(FAILED, e.WebhookFailed(since=START + 1, reason="another", status=502))
    assert webhook.trouble == Trouble("answered 500", START, 500, START + 2_000_000)

    webhook, _ = after(FAILED, SUSPENDED, FAILED)
    assert webhook.trouble == Trouble("timed out", START + 7, None, START + 3_000_000)


def test_nobody_changed_a_webhook_that_fails() -> None:
    failed, _ = after(FAILED, SUSPENDED, RESUMED)
    assert failed.updated_at == failed.created_at


KINDS = st.sampled_from((FAILED, SUSPENDED, RESUMED, e.WebhookPaused(), e.WebhookEnabled()))


@given(events=st.lists(KINDS, max_size=6))
def test_how_it_fares_decides_nothing_that_is_owed(events: list[e.Event]) -> None:
    """O11: the same flips, with and without events of health between them, owe the same messages."""

    def owed(*, fares: bool) -> list[str]:
        history = History()
        history.started()
        history.subscribed("w1")
        history.subscribed("w2", events=("webhook.disabled",))
        for number, event in enumerate(events):
            unheard = event in (FAILED, SUSPENDED, RESUMED) and not fares
            history.add(e.WebhookTested() if unheard else event, "w3" if unheard else "w1")
            history.opened("CP", f"r1-{number}")
            history.closed("CP", f"r1-{number}")
        return [message.id for message in fold(outbox, history).pending()]

    assert owed(fares=True) == owed(fares=False)


def test_the_deliveries_are_told_all_that_is_recorded_of_where_messages_go() -> None:
    record: dict[str, Any] = RECORD | {"retired_at": START, "rate": 2.5, "concurrency": 3}
    history = History()
    history.subscribed("w1", **record)
    history.add(FAILED, "w1")

    told = fold(outbox, history).destination("w1")

    assert told is not None
    assert told.health == "failing"
    assert {name: getattr(told, name) for name in record} == record
    known = {*record, "webhook", "state", "health", "accepted_at", "afresh_at", "failing_since"}
    assert {field.name for field in fields(Destination)} == known


def test_retiring_an_older_secret_does_not_start_the_days_of_failing_anew() -> None:
    history = History()
    history.started()
    history.subscribed("w1", **RECORD)
    history.opened("CP", "r1-1")
    [message] = fold(outbox, history).lane("w1", "CP")
    history.parked(message)
    since = fold(outbox, history).boxes["w1"].failing_since
    assert since is not None

    history.add(e.WebhookUpdated(**RECORD | {"secrets": ("s1",)}), "w1")
    assert fold(outbox, history).boxes["w1"].failing_since == since
    history.add(e.WebhookUpdated(**RECORD | {"secrets": ("s2", "s1")}), "w1")
    assert fold(outbox, history).boxes["w1"].failing_since is None

"""Words for people: every cause and every kind has some, and times read as people say them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from strategies import arbitrary_histories

from stationkeeper.daemon.words import CAUSES, ago, because, clock, count, duration, told
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Recorded, recorded
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionPingTimedOut,
    DeliverySkipped,
    Event,
    Reach,
    WebhookDisabled,
    WebhookFailed,
    WebhookResumed,
    WebhookSuspended,
)


def test_every_cause_has_words() -> None:
    assert set(get_args(Cause)) <= set(CAUSES)
    assert because("not_known_yet") == "not known yet"


def test_a_close_is_told_with_what_was_on_the_wire() -> None:
    event = ConnectionClosed(
        connection="r-1", side="station", code=4001, reason="bye", cause="station_closed", alive_at=0
    )

    words = told(recorded(seal(event, id="e", at=0, subject="CP-7"), 1))
    assert words == "Connection ended because the station closed the connection (code 4001, \u201cbye\u201d)"


@pytest.mark.parametrize(
    ("path", "pinged_at", "words"),
    [
        (None, 0, "No answer to a ping within 20 s"),
        ("silent", 0, "No answer to a ping within 20 s: not even its network answered"),
        ("silent", None, "It was silent for too long: not even its network answered"),
        (
            "acknowledged",
            0,
            "No answer to a ping within 20 s: its network acknowledged what we sent, so the device, or what stands "
            "before it, hangs",
        ),
    ],
)
def test_a_timeout_is_told_with_what_the_network_did(path: Reach | None, pinged_at: int | None, words: str) -> None:
    event = ConnectionPingTimedOut(
        connection="r-1", alive_at=0, pinged_at=pinged_at, interval=25, timeout=20, lag=0, path=path
    )

    assert told(recorded(seal(event, id="e", at=0, subject="CP-7"), 1)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (0.034, "34 ms"), (0.9, "1 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (3600, "1 h"),
        (3605, "1 h"), (90_000, "1 d 1 h"), (-1, "0 s"),
    ],
)  # fmt: skip
def test_a_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "now"), (0.9, "now"), (1, "1 s ago"), (119, "1 min ago"), (7200, "2 h ago"), (-65, "in 1 min")],
)
def test_how_long_ago_is_said_in_the_largest_unit(seconds: float, words: str) -> None:
    assert ago(10**15 - round(seconds * 1_000_000), 10**15) == words


def test_numbers_and_times_are_written_for_people() -> None:
    assert (count(1, "station"), count(12_345, "station")) == ("1 station", "12\u202f345 stations")
    assert clock(1_700_000_000_000_000) == "2023-11-14 22:13:20 UTC"


@given(arbitrary_histories())
def test_any_event_can_be_told(history: list[Recorded]) -> None:
    for event in history:
        assert told(event).strip()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (WebhookFailed(since=0, reason="answered 500"), "Began to fail: answered 500"),
        (WebhookSuspended(since=0, reason="x"), "So many messages failed that one at a time is tried: x"),
        (WebhookResumed(), "Accepts messages again"),
        (WebhookDisabled(since=0, reason="gone"), "Disabled: gone"),
        (
            DeliverySkipped(message="m", webhook="w1", position=1, round=0),
            "A message to w1 was skipped: somebody asked for that",
        ),
    ],
)
def test_what_befell_a_webhook_is_told(event: Event, words: str) -> None:
    assert told(recorded(seal(event, id="e", at=0, subject="w1"), 1)) == words

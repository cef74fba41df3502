"""The feed: what a webhook with the same filter would be owed, in pages of any size, from memory or from the log."""

from __future__ import annotations

import json

import msgspec
from effort import examples
from histories import History
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import PATTERNS, histories

from stationkeeper.engine import events as e
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import feed, outbox
from stationkeeper.projections import feed as feed_projection
from stationkeeper.projections.bodies import message_id
from stationkeeper.projections.feed import KEPT, TYPES, Cursor, Telling, asking_for, first_of
from stationkeeper.projections.webhooks import Webhook

ONLINE, OFFLINE = TYPES[:2]


def tellings(history: list[Recorded] | History) -> list[Telling]:
    """Return all that a log tells."""
    folding = Fold([feed])
    return [telling for recorded in history for telling in folding.advance(recorded).changes(feed)]


def moved_by_one(recorded: Recorded) -> Recorded:
    return msgspec.structs.replace(recorded, position=recorded.position + 1)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    history=histories(40),
    types=st.lists(st.sampled_from(TYPES[:3]), max_size=3, unique=True),
    patterns=st.lists(st.sampled_from(PATTERNS), max_size=2),
    sites=st.sampled_from((("*",), ("",), ("?*",), ("n*", "s"))),
)
def test_it_tells_what_a_webhook_with_the_same_filter_would_be_owed(
    history: list[Recorded], types: list[str], patterns: list[str], sites: tuple[str, ...]
) -> None:
    asking = asking_for(types, patterns, sites)
    # A webhook that was there from the begin, and that no drawn event knows.
    subscribed = History()
    added = subscribed.add(
        e.WebhookAdded(url="https://w/", events=tuple(types), stations=tuple(patterns), sites=sites), "webhook"
    )
    log = [added, *map(moved_by_one, history)]

    folding = Fold([outbox, feed])
    owed: list[tuple[int, str, str, bytes]] = []
    told: list[tuple[int, str, str, bytes]] = []
    for recorded in log:
        below = folding.advance(recorded)
        owed += [
            (one.position, one.type, one.subject, folding.state(outbox).body(one))
            for one in below.changes(outbox)
            # Not what is pending no more: a lane that is too long skips some of what it was owed.
            if one.webhook == "webhook" and one.position == recorded.position and one.state == "pending"
            if one.type != "webhook.ping"
        ]
        told += [
            (one.position, one.type, one.station, one.body()) for one in below.changes(feed) if one.wanted_by(asking)
        ]

    assert told == owed


def test_a_webhook_that_is_disabled_is_told_of_to_those_who_ask() -> None:
    history = History()
    history.started()
    history.subscribed("w1")
    history.add(e.WebhookDisabled(reason="dead", since=0, status=500), "w1")
    history.add(e.WebhookDisabled(reason="dead again", since=0, status=500), "w1")

    (telling,) = [one for one in tellings(history) if one.wanted_by(asking_for(["webhook.disabled"], ["none"]))]
    assert (telling.position, telling.station, json.loads(telling.body())["data"]["id"]) == (3, "", "w1")


def test_ids_are_those_of_a_webhook_called_pull_also_after_a_restore() -> None:
    history = History()
    history.started()
    opened = history.opened("CP-1", "r1-1")
    restored = history.restored()

    first, second = tellings(history)
    assert first.id == message_id("pull", opened.id, ONLINE, "CP-1")
    assert second.id == message_id("pull", restored.id, ONLINE, "CP-1", 2**20)


def test_rules_that_are_not_known_here_tell_nothing() -> None:
    history = History()
    history.started()
    history.opened("CP-1", "r1-1")
    history.started("r2", gateway="h", rules=99)
    history.closed("CP-1", "r1-1")

    assert [telling.position for telling in tellings(history)] == [2]
    assert fold(feed, history).upgrade_needed


def crowd(stations: int) -> History:
    """Let so many stations come, and go all at once."""
    history = History()
    history.started()
    for number in range(stations):
        history.opened(f"CP-{number:04}", f"r1-{number + 1}")
    history.lost()
    history.lapsed()
    return history


@settings(max_examples=examples(30))
@given(data=st.data())
def test_a_page_may_end_in_the_midst_of_what_one_event_tells(data: st.DataObject) -> None:
    every = tellings(crowd(7))
    asking = asking_for(data.draw(st.sampled_from(((ONLINE,), (OFFLINE,), TYPES))))
    wanted = [telling for telling in every if telling.wanted_by(asking)]
    found: list[Telling] = []
    cursor: Cursor | None = Cursor(0)
    while cursor is not None:
        some, cursor = first_of(every, asking, cursor, data.draw(st.integers(1, 9)))
        found += some

    assert found == wanted
    assert str(every[-1].cursor) == str(every[-1].position)
    assert str(every[-2].cursor) == f"{every[-2].position}.6"


def test_it_holds_the_newest_alone_and_says_from_where_on() -> None:
    history = crowd(KEPT - 10)
    state = fold(feed, history)
    every = tellings(history)

    assert len(state.newest) == KEPT
    assert list(state.newest) == every[-KEPT:]
    assert state.begin == every[-KEPT - 1].cursor
    assert state.after(state.begin) == every[-KEPT:]
    assert state.after(every[-1].cursor) == []
    assert state.after(every[-3].cursor) == every[-2:]


def test_it_is_the_same_after_it_was_written_down() -> None:
    state = fold(feed, crowd(3))
    again = feed_projection.load(feed_projection.dump(state))

    assert vars(again) == vars(state)
    assert isinstance(again.begin, Cursor)


def test_a_filter_is_that_of_a_webhook() -> None:
    assert isinstance(asking_for([ONLINE]), Webhook)

"""The outbox, rule by rule (O1 to O14 of semantics 6). Whole lives of lanes are in `test_outbox_machine`."""

from __future__ import annotations

import json
from base64 import b32encode
from hashlib import sha256
from typing import Any

import pytest
from histories import SECOND, START, History
from hypothesis import given
from hypothesis import strategies as st
from strategies import histories

from stationkeeper.engine import events as e
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.engine.run import RULES as DECLARED
from stationkeeper.engine.sending import Destination, Owed, Place
from stationkeeper.projections import box, outbox, presence, scenes, webhooks
from stationkeeper.projections.bodies import message_id
from stationkeeper.projections.box import ASIDE_KEPT, DELIVERED_KEPT, LANE
from stationkeeper.projections.outbox import RULES, Outbox, recall
from stationkeeper.projections.packed import find, pack, pack_id, unpack
from stationkeeper.projections.scenes import render_told, retell

ONLINE, OFFLINE = "chargestation.online", "chargestation.offline"
CONFIRMED, DISABLED, PING = "chargestation.offline.confirmed", "webhook.disabled", "webhook.ping"
MADE_UP = "msg_MADEUP" + "A" * 20


class Story(History):
    """A history that is folded as it is told: r1 runs, and `owed` is every change of a message so far."""

    def __init__(self) -> None:
        super().__init__()
        self.folding = Fold([outbox])
        self.changes: list[Owed] = []
        self.connections = 0
        self.started("r1")

    @property
    def outbox(self) -> Outbox:
        return self.folding.state(outbox)

    def add(self, event: e.Event, subject: str = "", **envelope: Any) -> Recorded:
        recorded = super().add(event, subject, **envelope)
        self.changes += self.folding.advance(recorded).changes(outbox)
        return recorded

    def up(self, station: str = "CP", security: str = "none") -> Recorded:
        self.connections += 1
        return self.opened(station, f"r1-{self.connections}", security=security)

    def down(self, station: str = "CP") -> Recorded:
        connection = self.folding.state(presence)[station].connection
        assert connection is not None
        return self.closed(station, connection.id)

    def flap(self, times: int, station: str = "CP") -> None:
        for _ in range(times):
            self.up(station)
            self.down(station)

    def lane(self, webhook: str = "w1", subject: str = "CP") -> list[Owed]:
        return list(self.outbox.lane(webhook, subject))

    def positions(self) -> list[int]:
        return [message.position for message in self.lane()]

    def head(self) -> Owed:
        return self.lane()[0]

    def said(self, message: Owed) -> bytes:
        """Return a message's body: from the state, or else from the log."""
        try:
            return self.outbox.body(message)
        except LookupError:
            return recall(self.events, message)

    def body(self, message: Owed) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.said(message))
        return decoded


def test_o1_a_flip_owes_one_message_to_each_webhook_whose_filter_matches() -> None:
    story = Story()
    story.subscribed("all")
    story.subscribed("only-offline", events=(OFFLINE,))
    story.subscribed("elsewhere", stations=("EU-*", "cp"))
    story.subscribed("here", stations=("EU-*", "C?"))
    story.up()
    story.down()

    assert [(message.webhook, message.type) for message in story.changes] == [
        ("all", ONLINE),
        ("here", ONLINE),
        ("all", OFFLINE),
        ("here", OFFLINE),
        ("only-offline", OFFLINE),
    ]


def test_o1_what_happened_before_a_webhook_was_added_or_after_it_was_removed_is_not_owed() -> None:
    story = Story()
    story.up()
    story.subscribed()
    story.add(e.WebhookRemoved(), "w1")
    story.down()

    assert story.changes == []


def test_o1_a_takeover_and_a_return_within_the_grace_owe_nothing() -> None:
    story = Story()
    story.subscribed()
    story.up()
    story.up()
    story.stopped("r1")
    story.started("r2")
    story.opened("CP", "r2-1")

    assert [message.type for message in story.changes] == [ONLINE]


def test_o1_settled_confirms_an_outage_whose_version_still_holds() -> None:
    story = Story()
    story.subscribed(events=(CONFIRMED,))
    story.up()
    story.settled("CP", 1)
    story.down()
    settled = story.settled("CP", 2)
    story.up()
    story.down()
    story.settled("CP", 3)

    assert [(message.type, message.position) for message in story.changes] == [(CONFIRMED, settled.position)]
    assert story.body(story.changes[0])["data"]["version"] == 2


def test_o2_whoever_was_admitted_has_a_lane_of_its_own() -> None:
    story = Story()
    story.subscribed()
    story.registered("known")
    for station, security in (("open", "none"), ("known", "basic"), ("embedder's", "basic")):
        story.up(station, security)

    assert [message.subject for message in story.changes] == ["open", "known", "embedder's"]


def test_o2_no_station_is_skipped_for_another_that_no_registry_knows() -> None:
    """Truths 8 and 15: a lane shared by strangers would skip the newest message of one for those of the others."""
    story = Story()
    story.subscribed()
    for n in range(LANE + 10):
        story.up(f"CP-{n}", security="basic")

    assert {message.state for message in story.changes} == {"pending"}


def test_o2_a_removed_stations_last_message_stays_in_its_lane() -> None:
    story = Story()
    story.subscribed()
    story.registered("CP")
    story.up(security="basic")
    story.add(e.StationRemoved(), "CP")
    story.down()

    assert [message.type for message in story.lane()] == [ONLINE, OFFLINE]


def test_o3_the_filter_is_that_of_the_events_position_and_the_address_that_of_now() -> None:
    story = Story()
    story.subscribed(url="https://wrong.example/", secrets=("s1",))
    story.up()
    story.add(e.WebhookUpdated(url="https://right.example/", events=(OFFLINE,), secrets=("s2", "s1")), "w1")
    story.down()
    story.up()

    assert [message.type for message in story.lane()] == [ONLINE, OFFLINE]
    destination = story.outbox.destination("w1")
    assert destination is not None
    assert (destination.url, destination.secrets) == ("https://right.example/", ("s2", "s1"))


@pytest.mark.parametrize(
    ("event", "state"),
    [(e.WebhookPaused(), "paused"), (e.WebhookDisabled(reason="dead", since=START), "disabled")],
    ids=["paused", "disabled"],
)
def test_o4_while_paused_or_disabled_messages_are_derived_and_kept(event: e.Event, state: str) -> None:
    story = Story()
    story.subscribed()
    story.add(event, "w1")
    story.up()

    destination = story.outbox.destination("w1")
    assert destination is not None
    assert destination.state == state
    assert [message.type for message in story.lane()] == [ONLINE]


def test_o4_removal_cancels_what_is_pending_and_added_again_is_another_webhook() -> None:
    story = Story()
    story.subscribed()
    story.up()
    owed = story.head()
    story.add(e.WebhookRemoved(), "w1")

    assert [(message.id, message.state) for message in story.changes[1:]] == [(owed.id, "cancelled")]
    assert story.outbox.destination("w1") is None
    story.delivered(owed)
    story.subscribed()
    assert list(story.outbox.pending()) == []
    assert story.outbox.find(owed.id) is None


def test_o5_at_the_65th_the_two_right_after_the_head_are_skipped() -> None:
    story = Story()
    story.subscribed()
    story.flap(LANE // 2)
    before = story.positions()
    story.up()

    assert len(before) == LANE
    assert story.positions() == [before[0], *before[3:], story.changes[-3].position]
    assert [message.position for message in story.outbox.messages("w1", "skipped")] == before[1:3]
    assert [message.state for message in story.changes[-3:]] == ["pending", "skipped", "skipped"]


def test_o5_states_still_alternate_and_the_version_shows_the_hole() -> None:
    story = Story()
    story.subscribed()
    story.flap(100)
    bodies = [story.body(message)["data"] for message in story.lane()]

    assert len(bodies) <= LANE
    assert [body["online"] for body in bodies] == [n % 2 == 0 for n in range(len(bodies))]
    assert [body["version"] for body in bodies] == [1, *range(201 - len(bodies) + 1, 201)]


def test_o5_one_lane_is_no_matter_of_another() -> None:
    story = Story()
    story.subscribed()
    story.flap(40, "busy")
    story.up("quiet")

    assert len(story.lane(subject="quiet")) == 1


@pytest.mark.parametrize("outcome", ["delivered", "parked"])
def test_o6_an_outcome_ends_what_is_pending_and_nothing_else(outcome: str) -> None:
    story = Story()
    story.subscribed()
    story.up()
    story.down()
    first, second = story.lane()
    tell = story.delivered if outcome == "delivered" else story.parked
    tell(first)
    story.parked(first)
    story.delivered(first)

    assert story.lane() == [second]
    assert [message.state for message in story.changes[2:]] == [outcome]
    found = story.outbox.find(first.id)
    assert found is not None
    assert found.state == outcome


@pytest.mark.parametrize("mode", ["every", "latest"])
def test_o6_what_was_skipped_in_flight_and_is_accepted_after_all_is_delivered(mode: str) -> None:
    story = Story()
    story.subscribed(mode=mode)
    story.up()
    in_flight = story.head()
    story.down()
    if mode == "every":
        story.skipped(in_flight)
    newest = story.head()
    assert found(story, in_flight).state == "skipped"
    story.parked(in_flight)
    story.delivered(in_flight, round=1)
    assert found(story, in_flight).state == "skipped"

    story.delivered(in_flight)
    assert found(story, in_flight).state == "delivered"
    assert (story.outbox.count("w1", "skipped"), story.outbox.count("w1", "delivered")) == (0, 1)
    assert story.lane() == [newest]
    story.delivered(in_flight)
    assert len(story.changes) == 4


def test_o6_skipping_lets_a_lane_go_on_and_touches_nothing_that_is_not_pending_in_that_round() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    first, second = story.lane()
    story.skipped(first, round=1)
    assert story.lane() == [first, second]

    story.skipped(first)
    assert story.lane() == [second]
    assert [message.id for message in story.outbox.messages("w1", "skipped")] == [first.id]
    changed = len(story.changes)
    story.skipped(first)
    story.add(e.DeliverySkipped(message=second.id, webhook="nobody", position=second.position, round=0), "CP")
    assert len(story.changes) == changed

    story.requested(first)
    assert [message.round for message in story.lane()] == [1, 0]


def test_o6_the_latest_alone_is_pending_of_a_station_whose_subscriber_wants_no_more() -> None:
    story = Story()
    story.subscribed(mode="latest", events=(ONLINE, OFFLINE, CONFIRMED))
    story.flap(5)
    settled = story.settled("CP", 10)
    story.up("other")
    story.up()

    assert [(m.type, m.position) for m in story.lane()] == [
        (CONFIRMED, settled.position),
        (ONLINE, story.events[-1].position),
    ]
    assert len(story.lane(subject="other")) == 1
    assert story.outbox.count("w1", "skipped") == 10
    assert story.body(story.lane()[-1])["data"]["version"] == 11


def test_o6_one_who_turns_to_the_latest_is_skipped_what_is_older_at_once() -> None:
    story = Story()
    types = (ONLINE, OFFLINE, CONFIRMED)
    story.subscribed(events=types)
    story.flap(3)
    settled = story.settled("CP", 6)
    oldest, second, *_ = story.lane()
    story.delivered(oldest)
    story.requested(oldest)
    for station in ("A", "B"):
        story.up(station)
    changed = len(story.changes)
    turned = e.WebhookUpdated(url="https://hooks.example/", mode="latest", events=types)
    story.add(turned, "w1")

    assert story.positions() == [oldest.position, settled.position - 1, settled.position], "one was asked for"
    assert [message.state for message in story.changes[changed:]] == ["skipped"] * 4
    assert story.changes[changed] == found(story, second)
    assert (story.outbox.count("w1"), story.outbox.count("w1", "skipped")) == (5, 4)
    story.add(turned, "w1")
    assert len(story.changes) == changed + 4, "who wanted the latest already is skipped nothing more"


def test_o6_that_something_was_accepted_counts_also_where_it_is_remembered_no_more() -> None:
    story = Story()
    story.subscribed(mode="latest")
    story.up("A")
    story.parked(story.lane(subject="A")[0])
    assert destination(story).failing_since is not None
    story.up()
    in_flight = story.head()
    story.flap(ASIDE_KEPT // 2 + 1, "B")
    story.down()
    for number in range(ASIDE_KEPT // 2 + 1):
        story.flap(1, f"C{number}")
        story.up(f"C{number}")
    assert story.outbox.find(in_flight.id) is None
    at = story.events[-1].at + SECOND
    story.delivered(in_flight, attempted_at=at)

    assert (destination(story).accepted_at, destination(story).failing_since) == (at, None)


def test_the_oldest_that_is_owed_is_known_after_whatever_moved() -> None:
    story = Story()
    story.subscribed()
    for station in ("A", "B", "A", "B"):
        (story.down if story.lane(subject=station) else story.up)(station)

    def oldest() -> tuple[str, int | None]:
        owed = story.outbox.oldest("w1")
        assert owed is not None
        assert owed[0].position == story.outbox.oldest_cause()
        return owed[0].subject, owed[0].position

    (first, third), (second, _) = story.lane(subject="A"), story.lane(subject="B")
    assert oldest() == ("A", first.position)
    story.delivered(first)
    assert oldest() == ("B", second.position)
    story.requested(first)
    assert oldest() == ("A", first.position)
    story.skipped(first, round=1)
    assert oldest() == ("B", second.position)
    story.add(e.WebhookUpdated(url="https://hooks.example/", mode="latest"), "w1")
    assert oldest() == ("A", third.position)
    for message in list(story.outbox.pending()):
        story.delivered(message)
    assert (story.outbox.oldest("w1"), story.outbox.oldest_cause()) == (None, None)
    story.up("A")
    assert oldest()[0] == "A"


def test_o6_to_one_who_wants_the_latest_versions_only_rise() -> None:
    """An outage, in which what is in flight fails, and its end: one message a station, the newest."""
    story = Story()
    story.subscribed(mode="latest")
    for station in ("A", "B"):
        story.flap(7, station)
        story.up(station)
    after_the_outage = [message for station in ("A", "B") for message in story.lane(subject=station)]

    assert [(m.subject, story.body(m)["data"]["version"]) for m in after_the_outage] == [("A", 15), ("B", 15)]
    for message in after_the_outage:
        story.delivered(message)
    story.down("A")
    assert [story.body(message)["data"]["version"] for message in story.outbox.pending()] == [16]


def found(story: Story, message: Owed) -> Owed:
    found = story.outbox.find(message.id)
    assert found is not None
    return found


def test_o7_a_parked_message_lets_its_lane_go_on() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    online, offline = story.lane()
    story.parked(online)

    assert story.lane() == [offline]
    assert [message.id for message in story.outbox.messages("w1", "parked")] == [online.id]


def test_o8_a_requested_message_goes_ahead_of_younger_ones_with_the_same_id_and_body() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    first = story.head()
    body = story.outbox.body(first)
    story.delivered(first)
    story.requested(first)

    again, younger = story.lane()
    assert (again.id, again.round, again.position) == (first.id, 1, first.position)
    assert younger.position > again.position
    assert story.said(again) == body
    assert story.outbox.messages("w1", "delivered") == []


def test_o8_a_pending_one_cannot_be_requested_and_an_older_rounds_outcome_changes_nothing() -> None:
    story = Story()
    story.subscribed()
    story.up()
    first = story.head()
    story.requested(first)
    assert story.lane() == [first]

    story.parked(first)
    story.requested(first)
    again = story.head()
    story.delivered(first, round=0)
    assert story.lane() == [again]

    story.delivered(again)
    assert story.lane() == []


def test_o8_a_request_in_a_round_that_is_not_the_next_changes_nothing() -> None:
    story = Story()
    story.subscribed()
    story.up()
    first = story.head()
    story.delivered(first)
    for round in (0, 2, 7):
        story.requested(first, round=round)

    assert story.lane() == []


def forgotten(story: Story) -> Owed:
    """Let a message be delivered so long ago that the outbox remembers it no more."""
    story.subscribed()
    story.up()
    first = story.head()
    story.delivered(first)
    for n in range(DELIVERED_KEPT):
        story.up() if n % 2 else story.down()
        story.delivered(story.head())
    assert story.outbox.find(first.id) is None
    return first


def test_o8_a_forgotten_message_is_pending_again_and_its_body_is_recalled_from_the_log() -> None:
    story = Story()
    first = forgotten(story)
    said = fold(outbox, story.events[: first.position]).body(first)
    story.requested(first)
    again = story.head()

    assert (again.id, again.round) == (first.id, 1)
    with pytest.raises(LookupError, match="recall"):
        story.outbox.body(again)
    assert recall(story.events, again) == said


def test_o8_a_forgotten_message_that_is_given_up_fails_since_its_attempt() -> None:
    story = Story()
    first = forgotten(story)
    story.requested(first)
    attempted_at = story.events[-1].at + SECOND
    story.parked(story.head(), attempted_at=attempted_at)

    assert destination(story).failing_since == attempted_at


def test_o8_a_request_for_what_the_log_never_derived_recalls_nothing() -> None:
    story = Story()
    story.subscribed()
    story.up()
    story.requested(Owed(MADE_UP, "w1", "CP", ONLINE, story.head().position, 0, "delivered"))
    made_up = story.lane()[-1]

    assert made_up.id == MADE_UP
    with pytest.raises(LookupError, match=f"derives no message {MADE_UP}"):
        story.outbox.body(made_up)
    with pytest.raises(LookupError, match=f"derives no message {MADE_UP}"):
        recall(story.events, made_up)


@pytest.mark.parametrize(("position", "subject"), [(1, "CP"), (2, "CP"), (3, "other"), (3, ""), (99, "CP")], ids=str)
def test_o8_where_nothing_is_told_nothing_is_recalled(position: int, subject: str) -> None:
    story = Story()
    story.subscribed()
    story.up()

    with pytest.raises(LookupError, match="derives no message"):
        recall(story.events, Owed(MADE_UP, "w1", subject, ONLINE, position, 1, "pending"))


@pytest.mark.parametrize(
    ("round", "position", "id", "type"),
    [
        (0, 2, MADE_UP, ONLINE),
        (2**31, 2, MADE_UP, ONLINE),
        (1, 1000, MADE_UP, ONLINE),
        (1, 0, MADE_UP, ONLINE),
        (1, -1, MADE_UP, ONLINE),
        (1, 2, "msg_MADEUP", ONLINE),
        (1, 2, MADE_UP.lower(), ONLINE),
        (1, 2, MADE_UP + "\n", ONLINE),
        (1, 2, MADE_UP, "chargestation.renamed"),
    ],
    ids=["no round", "no round yet", "cause to come", "no cause", "no position", "no id", "no base32", "more", "type"],
)
def test_o8_a_request_that_makes_no_sense_changes_nothing(round: int, position: int, id: str, type: str) -> None:
    story = Story()
    story.subscribed()
    story.requested(Owed(id, "w1", "CP", type, position, 0, "delivered"), round=round)

    assert story.lane() == []


def test_o9_recovering_a_range_makes_what_was_parked_or_skipped_there_pending_again() -> None:
    story = Story()
    story.subscribed()
    story.flap(3)
    messages = story.lane()
    for message in messages[:4]:
        story.parked(message)
    story.delivered(messages[4])
    since, until = messages[1].position, messages[2].position
    story.add(e.WebhookRecovered(since=since, until=until), "w1")

    assert [(message.position, message.round) for message in story.lane()] == [
        (since, 1),
        (until, 1),
        (messages[5].position, 0),
    ]


def test_o8_what_somebody_asked_for_is_sent_to_one_who_wants_the_latest() -> None:
    story = Story()
    story.subscribed(mode="latest")
    story.flap(2)
    first = story.outbox.messages("w1", "skipped")[0]
    story.requested(first)
    story.up()

    assert [(m.position, m.round) for m in story.lane()] == [(first.position, 1), (story.events[-1].position, 0)]


def test_o8_what_was_asked_for_once_is_nothing_special_when_it_is_recovered() -> None:
    story = Story()
    story.subscribed(mode="latest")
    story.flap(2)
    first = story.outbox.messages("w1", "skipped")[0]
    story.requested(first)
    story.parked(story.head())
    story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    assert [message.type for message in story.lane()] == [OFFLINE]


def test_o8_who_wants_the_latest_is_sent_no_more_than_a_lane_holds_of_what_was_asked_for() -> None:
    story = Story()
    story.subscribed(mode="latest")
    story.flap(LANE)
    for message in story.outbox.messages("w1", "skipped"):
        story.requested(message)

    assert len(story.lane()) <= LANE


def test_o9_of_what_is_recovered_for_one_who_wants_the_latest_the_newest_of_each_station_remains() -> None:
    story = Story()
    story.subscribed(mode="latest")
    for station in ("A", "B"):
        story.flap(3, station)
        story.parked(story.lane(subject=station)[0])
    story.up("B")
    story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    versions = {message.subject: story.body(message)["data"]["version"] for message in story.outbox.pending()}
    assert versions == {"A": 6, "B": 7}
    assert len(list(story.outbox.pending())) == 2


def test_o9_recovered_skipped_ones_come_back_in_order_as_far_as_the_lane_holds() -> None:
    story = Story()
    story.subscribed()
    story.flap(LANE)
    story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    assert len(story.lane()) <= LANE
    assert story.positions() == sorted(story.positions())
    assert story.outbox.count("w1", "pending") + story.outbox.count("w1", "skipped") == 2 * LANE


def test_o9_a_recovery_goes_on_when_what_it_skips_again_lets_others_of_its_range_be_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(box, "LANE", 2)
    monkeypatch.setattr(box, "ASIDE_KEPT", 3)
    story = Story()
    story.subscribed()
    story.flap(3)
    first, _ = story.lane()
    story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    assert story.lane() == [first]
    assert (story.outbox.count("w1", "pending"), story.outbox.count("w1", "skipped")) == (1, 3)


def test_o9_what_is_recovered_is_told_in_the_order_of_causes_whenever_it_was_parked() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    first, second = story.lane()
    story.parked(first)
    story.parked(second)
    story.requested(first)
    story.parked(story.head())
    story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    assert [(message.id, message.state) for message in story.changes[-2:]] == [
        (first.id, "pending"),
        (second.id, "pending"),
    ]


def test_o10_initial_state_owes_the_state_of_each_station_that_ever_connected_and_that_the_filter_takes() -> None:
    story = Story()
    story.registered("never")
    for station in ("b", "a", "x"):
        story.up(station)
    story.down("a")
    added = story.subscribed(initial="state", stations=("[abn]*",))

    assert [(message.subject, message.type, message.position) for message in story.changes] == [
        ("a", OFFLINE, added.position),
        ("b", ONLINE, added.position),
    ]
    assert story.body(story.changes[0])["data"]["version"] == 2


def test_o10_of_a_station_that_is_held_the_first_picture_says_that_nobody_sees_it() -> None:
    story = Story()
    story.up("held")
    story.stopped("r1")
    story.started("r2")
    story.opened("seen", "r2-1")
    story.subscribed(initial="state")

    told = {message.subject: story.body(message)["data"] for message in story.changes}
    assert {station: (data["online"], data["observed"]) for station, data in told.items()} == {
        "held": (True, False),
        "seen": (True, True),
    }


def test_o10_without_initial_nothing_from_before_is_owed() -> None:
    story = Story()
    story.up()
    story.subscribed()

    assert story.changes == []


def test_o11_a_webhook_is_told_that_another_was_disabled_if_it_asks() -> None:
    story = Story()
    story.subscribed("asks", events=(DISABLED,))
    story.subscribed("dead", events=(DISABLED,), name="Dead", url="https://hooks.example/secret-path")
    story.subscribed("does-not")
    story.add(e.WebhookDisabled(reason="five days of failures", since=START, status=500), "dead")
    story.add(e.WebhookDisabled(reason="again", since=START), "dead")

    assert [(message.webhook, message.type, message.subject) for message in story.changes] == [("asks", DISABLED, "")]
    body = story.body(story.changes[0])
    assert body["data"]["id"] == "dead"
    assert body["data"]["disabled"]["reason"] == "five days of failures"
    assert b"secret-path" not in story.outbox.body(story.changes[0])


@given(history=histories())
def test_o11_no_delivery_derives_a_message(history: list[Recorded]) -> None:
    folding = Fold([outbox])
    derived: set[str] = set()
    for recorded in history:
        changed = folding.advance(recorded).changes(outbox)
        if recorded.kind in ("delivery.succeeded", "delivery.parked", "delivery.skipped"):
            assert all(message.state != "pending" for message in changed)
        elif recorded.kind != "delivery.requested":
            derived |= {message.id for message in changed}
        elif changed:
            assert all(message.round > 0 for message in changed)


def test_a_test_pings_that_webhook_whatever_it_asks_for() -> None:
    story = Story()
    story.subscribed("w1", events=(OFFLINE,))
    story.subscribed("w2")
    tested = story.add(e.WebhookTested(), "w1")

    assert [(m.webhook, m.type, m.subject, m.position) for m in story.changes] == [("w1", PING, "", tested.position)]
    assert story.body(story.changes[0])["data"]["id"] == "w1"


# Made without a line of ours: printf, openssl dgst -sha256 -binary, base32; lengths in four bytes, in UTF-8.
@pytest.mark.parametrize(
    ("webhook", "event", "type", "station", "id"),
    [
        ("w1", "r1-1:opened", ONLINE, "CP-7", "msg_OXPJL46JE4IQVO6CBBZ5KAKHVS"),
        ("w1", "r1-1:closed", OFFLINE, "CP-7", "msg_TQ5UQUFZF7ZPYQJ64I3SUUMKIJ"),
        ("w2", "e9", PING, "", "msg_4OPUWSSUP2GR7OXHGB7G4DN5SD"),
        ("w1", "r1-2:opened", ONLINE, "Ütz/3", "msg_S5NMVKF3O3XWIFCVQERFHPSG6X"),
    ],
)
def test_o12_message_ids_never_change(webhook: str, event: str, type: str, station: str, id: str) -> None:
    assert message_id(webhook, event, type, station) == id


@given(webhook=st.text(), event=st.text(), type=st.text(), station=st.text())
def test_o12_an_id_is_what_the_rule_says(webhook: str, event: str, type: str, station: str) -> None:
    words = [word.encode() for word in ("stationkeeper outbox 1", webhook, event, type, station)]
    digest = sha256(b"".join(len(word).to_bytes(4, "big") + word for word in words)).digest()

    assert message_id(webhook, event, type, station) == "msg_" + b32encode(digest).decode()[:26]


def test_o12_the_words_of_an_id_cannot_run_into_each_other() -> None:
    assert message_id("w", "1e", "t", "s") != message_id("w1", "e", "t", "s")
    assert message_id("w", "e", "t", "s", 1) != message_id("w", "e", "t", "s1")


def test_o12_after_a_restore_the_base_version_is_one_more_word_of_an_id() -> None:
    words = [word.encode() for word in ("stationkeeper outbox 1", "w1", "r1:lapsed", OFFLINE, "CP-7", "1048576")]
    digest = sha256(b"".join(len(word).to_bytes(4, "big") + word for word in words)).digest()

    assert message_id("w1", "r1:lapsed", OFFLINE, "CP-7", 2**20) == "msg_" + b32encode(digest).decode()[:26]
    assert message_id("w1", "r1:lapsed", OFFLINE, "CP-7", 0) == message_id("w1", "r1:lapsed", OFFLINE, "CP-7")


def test_o12_what_comes_again_after_a_restore_under_the_same_event_id_has_another_id() -> None:
    """The lost log and the restored one both find r1 lapsed; a receiver that drops repeated ids must hear of both."""
    told: list[Owed] = []
    for restores in range(3):
        story = Story()
        story.subscribed()
        story.up()
        for _ in range(restores):
            story.restored()
        story.lapsed("r1")
        told.append(story.changes[-1])

    assert {message.type for message in told} == {OFFLINE}
    assert len({message.id for message in told}) == 3


def test_o12_what_a_restored_log_owed_before_keeps_its_id() -> None:
    story = Story()
    story.subscribed()
    story.up()
    owed = story.changes[-1]
    story.restored()

    assert story.lane()[0] == owed
    assert owed.id == message_id("w1", "r1-1:opened", ONLINE, "CP")


@pytest.mark.parametrize("cause", ["settled", "added", "tested", "disabled"])
def test_o12_whatever_causes_a_message_after_a_restore_names_it_with_the_base(cause: str) -> None:
    story = Story()
    story.subscribed(events=(OFFLINE, CONFIRMED, DISABLED))
    story.up()
    story.down()
    story.restored()
    match cause:
        case "settled":
            event = story.settled("CP", story.folding.state(presence)["CP"].version)
            webhook, type, station = "w1", CONFIRMED, "CP"
        case "added":
            event = story.subscribed("w2", initial="state")
            webhook, type, station = "w2", OFFLINE, "CP"
        case "tested":
            event, webhook, type, station = story.add(e.WebhookTested(), "w1"), "w1", PING, ""
        case _:
            story.subscribed("w2")
            event = story.add(e.WebhookDisabled(reason="gone", since=0, status=410), "w2")
            webhook, type, station = "w1", DISABLED, ""

    assert story.changes[-1].id == message_id(webhook, event.id, type, station, 2**20)


def test_o13_rules_that_a_newer_release_put_in_force_stop_deriving_and_sending() -> None:
    story = Story()
    story.subscribed()
    story.up()
    story.started("r2", gateway="h", rules=RULES + 1)
    story.down()
    story.started("r3", gateway="h", rules=RULES)
    story.up()

    assert story.outbox.upgrade_needed
    assert [message.type for message in story.changes] == [ONLINE]
    assert list(story.outbox.pending()) == story.lane() == []
    assert story.outbox.destination("w1") is None


def test_o13_runs_declare_the_rules_that_the_outbox_knows() -> None:
    assert DECLARED == RULES


def test_o13_nothing_is_to_upgrade_as_long_as_no_run_declares_more() -> None:
    assert not Story().outbox.upgrade_needed


def test_a_body_is_the_contracts_and_says_when_we_knew() -> None:
    story = Story()
    story.subscribed()
    opened = story.up()
    body = story.outbox.body(story.head())

    assert body.startswith(b'{"type":"chargestation.online","timestamp":"2025-11-24T16:00:0')
    data = json.loads(body)
    assert list(data) == ["type", "timestamp", "data"]
    assert data["data"]["online"] is True
    assert data["data"]["connection"]["id"] == "r1-1"
    assert data["data"]["position"] == opened.position
    assert data["timestamp"] == data["data"]["lastConnectAt"]


def test_a_body_shows_the_registration_as_of_its_cause() -> None:
    story = Story()
    story.subscribed()
    story.registered("CP", name="Bay 1")
    story.up()
    story.add(e.StationUpdated(name="Bay 2"), "CP")
    story.down()
    story.add(e.StationRemoved(), "CP")

    assert [story.body(message)["data"]["name"] for message in story.lane()] == ["Bay 1", "Bay 2"]


@given(history=histories())
def test_a_body_never_changes_and_the_log_alone_gives_it_again(history: list[Recorded]) -> None:
    folding = Fold([outbox])
    said: dict[str, bytes] = {}
    for recorded in history:
        for message in folding.advance(recorded).changes(outbox):
            if message.state == "pending" and message.round == 0:
                said[message.id] = folding.state(outbox).body(message)
    for message in folding.state(outbox).pending():
        if message.id in said:
            assert recall(history, message) == said[message.id]
            if message.round == 0:
                assert folding.state(outbox).body(message) == said[message.id]


def test_what_is_put_away_is_remembered_up_to_a_bound_the_newest_of_it() -> None:
    story = Story()
    story.subscribed()
    story.up()
    for n in range(ASIDE_KEPT + 10):
        story.down() if n % 2 == 0 else story.up()
        story.parked(story.head())

    parked = story.outbox.messages("w1", "parked")
    assert len(parked) == story.outbox.count("w1", "parked") == ASIDE_KEPT
    assert parked[-1].position > story.events[-2].position - 3


@pytest.mark.parametrize("again", ["requested", "recovered"])
def test_a_message_that_is_pending_again_is_written_as_it_was(again: str) -> None:
    story = Story()
    story.subscribed(format="cloudevents")
    story.up()
    first, said = story.head(), story.said(story.head())
    story.parked(first)
    story.add(e.WebhookUpdated(url="https://hooks.example/", format="standard"), "w1")
    if again == "requested":
        story.requested(first)
    else:
        story.add(e.WebhookRecovered(since=0, until=1000), "w1")

    assert (story.head().format, story.head().round) == ("cloudevents", 1)
    assert story.said(story.head()) == said


def test_a_message_is_found_among_records_by_its_id_and_not_by_bytes_that_look_like_it() -> None:
    message = Owed(MADE_UP, "w1", "CP", ONLINE, 7, 3, "pending")
    record, id = pack(message, START), pack_id(MADE_UP)
    assert record is not None
    assert id is not None
    assert unpack(record, "w1", "CP") == message

    shifted = b"\0" + record[:-1]
    assert find(shifted, id) == -1
    assert find(shifted + record, id) == len(record)


def test_what_is_told_stays_as_long_as_any_webhook_is_owed_it() -> None:
    story = Story()
    for webhook in ("w1", "w2"):
        story.subscribed(webhook)
    story.up()
    (mine,), (theirs,) = story.lane("w1"), story.lane("w2")
    body = story.outbox.body(theirs)
    story.parked(mine)
    story.requested(mine)
    again = story.lane("w1")[0]
    assert story.outbox.body(again) == body
    story.delivered(again)
    assert story.outbox.body(theirs) == body

    story.add(e.WebhookRemoved(), "w2")
    assert len(story.outbox.scenes) == 0


def test_of_what_is_told_the_newest_is_kept_and_the_rest_handed_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "KEPT", 3)
    story = Story()
    for webhook in ("w1", "w2"):
        story.subscribed(webhook)
    handed_over: dict[Place, bytes] = {}
    for _ in range(4):
        story.flap(1)
        handed_over |= dict(story.outbox.evicted())
    story.delivered(story.head())
    bodies = [recall(story.events, message) for message in story.lane("w2")]

    assert list(handed_over) == [(message.position, "CP") for message in story.lane("w2")[:5]]
    assert story.outbox.untold("CP") == set(handed_over)
    assert dict(story.outbox.evicted()) == {}
    for message, body in zip(story.lane("w2"), bodies, strict=True):
        told = handed_over.get((message.position, "CP"))
        assert (story.outbox.body(message) if told is None else render_told(message, told)) == body


def test_what_was_put_by_for_another_message_or_is_no_scene_is_not_told() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    first, second = story.lane()
    told = dict(retell(story.events, [(first.position, "CP"), (second.position, "CP")]))

    assert render_told(first, told[first.position, "CP"]) == story.outbox.body(first)
    for other in (told[second.position, "CP"], b"", b"garbage"):
        with pytest.raises(LookupError):
            render_told(first, other)


def test_a_page_of_messages_goes_on_where_the_last_one_ended() -> None:
    story = Story()
    for station in ("C", "A", "B"):
        story.flap(3, station)
    story.subscribed(initial="state")
    story.flap(2, "B")
    story.up("A")

    for state in ("pending", "skipped"):
        whole = story.outbox.messages("w1", state)
        assert [message.position for message in whole] == sorted(message.position for message in whole)
        pages: list[Owed] = []
        after = None
        while page := story.outbox.messages("w1", state, after=after, limit=3):
            assert len(page) <= 3
            pages += page
            after = page[-1].position, page[-1].id
        assert pages == whole
        for message in list(story.outbox.pending()) if state == "pending" else []:
            story.skipped(message)
    assert len(whole) == 8


def test_the_oldest_that_is_owed_is_told_with_the_time_of_its_cause() -> None:
    story = Story()
    story.subscribed()
    assert story.outbox.oldest("w1") is story.outbox.oldest("unknown") is None
    story.up("B")
    story.delivered(story.lane(subject="B")[0])
    first = story.up("A")
    story.down("B")

    oldest = story.outbox.oldest("w1")
    assert oldest is not None
    assert (oldest[0].subject, oldest[1]) == ("A", first.at)


def test_an_outcome_without_its_station_as_in_the_first_releases_still_ends_what_is_pending() -> None:
    story = Story()
    story.subscribed()
    story.up("A")
    story.up("B")
    message = story.lane(subject="B")[0]
    story.add(
        e.DeliverySucceeded(
            message=message.id, webhook="w1", position=message.position, round=0, attempts=1, status=200,
            attempted_at=START, latency=0.1,
        )
    )  # fmt: skip

    assert [message.subject for message in story.outbox.pending()] == ["A"]


def test_what_is_listed_and_counted_is_pending_unless_another_state_is_asked_for() -> None:
    story = Story()
    story.subscribed()
    story.flap(1)
    story.delivered(story.head())

    assert story.outbox.messages("w1") == story.lane()
    assert story.outbox.count("w1") == 1
    assert (story.outbox.messages("unknown"), story.outbox.count("unknown")) == ([], 0)


def test_a_lane_that_owes_nothing_is_forgotten() -> None:
    story = Story()
    story.subscribed()
    story.up()
    story.delivered(story.head())

    assert story.outbox.boxes["w1"].lanes == {}


@pytest.mark.parametrize("outcome", ["delivered", "parked"])
def test_a_snapshot_keeps_the_order_in_which_messages_were_put_away(outcome: str) -> None:
    story = Story()
    story.subscribed()
    story.flap(5)
    messages = story.lane()
    for message in messages:
        (story.delivered if outcome == "delivered" else story.parked)(message)

    kept = outbox.load(outbox.dump(story.outbox)).boxes["w1"].written()
    records = kept.delivered if outcome == "delivered" else kept.aside
    assert [unpack(record, "w1", subject).id for subject, record in records] == [message.id for message in messages]


def test_an_event_id_that_no_log_would_repeat_owes_nothing_twice() -> None:
    story = Story()
    story.subscribed()
    for _ in range(2):
        story.add(e.WebhookTested(), "w1", id="twice")
    story.delivered(story.lane(subject="")[0])

    assert list(story.outbox.pending()) == []


def destination(story: Story) -> Destination:
    found = story.outbox.destination("w1")
    assert found is not None
    return found


def test_a_destination_tells_since_when_it_fails() -> None:
    story = Story()
    added = story.subscribed()
    assert (destination(story).accepted_at, destination(story).failing_since) == (added.at, None)

    went_up = story.up()
    story.parked(story.head())
    assert destination(story).failing_since == went_up.at

    story.down()
    story.delivered(story.head())
    assert destination(story).failing_since is None


def test_a_destination_says_whose_it_is_and_since_when_it_has_had_its_chance() -> None:
    story = Story()
    story.subscribed()
    story.add(e.WebhookPaused(), "w1")
    enabled = story.add(e.WebhookEnabled(), "w1")

    assert (destination(story).webhook, destination(story).accepted_at) == ("w1", enabled.at)


def test_a_webhook_that_is_enabled_or_mended_has_not_failed_yet() -> None:
    for mend in (e.WebhookEnabled(), e.WebhookUpdated(url="https://mended.example/")):
        story = Story()
        story.subscribed()
        story.up()
        story.add(e.WebhookPaused(), "w1")
        story.parked(story.head())
        mended = story.add(mend, "w1")
        assert destination(story).failing_since is None

        story.down()
        story.parked(story.head())
        assert (destination(story).failing_since or 0) >= mended.at + SECOND


@given(history=histories())
def test_the_outbox_follows_the_webhooks(history: list[Recorded]) -> None:
    folding = Fold([outbox])
    for recorded in history:
        folding.advance(recorded)
    state, known = folding.state(outbox), folding.state(webhooks)

    if not state.upgrade_needed:
        assert {webhook: state.boxes[webhook].webhook for webhook in state.boxes} == dict(known)


def test_a_restore_tells_each_subscriber_the_state_of_each_station_anew() -> None:
    story = Story()
    story.subscribed("all")
    story.subscribed("offline-only", events=(OFFLINE,), stations=("a*",))
    story.registered("never")
    for station in ("a-on", "a-off", "b-off"):
        story.up(station)
    story.down("a-off")
    story.down("b-off")
    before = {message.id for message in story.changes}
    restored = story.restored()

    told = [message for message in story.changes if message.position == restored.position]
    assert [(message.webhook, message.subject, message.type) for message in told] == [
        ("all", "a-off", OFFLINE),
        ("all", "a-on", ONLINE),
        ("all", "b-off", OFFLINE),
        ("offline-only", "a-off", OFFLINE),
    ]
    assert before.isdisjoint(message.id for message in told)
    versions = {message.subject: story.body(message)["data"]["version"] for message in told}
    assert versions == {"a-on": 2**20 + 1, "a-off": 2**20 + 2, "b-off": 2**20 + 2}

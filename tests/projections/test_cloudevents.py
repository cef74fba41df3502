"""Bodies as CloudEvents 1.0: what their own SDK reads of them, and what the specification asks besides."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from effort import examples
from histories import History
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.sending import Owed
from stationkeeper.projections import outbox
from stationkeeper.projections.outbox import recall

ALL = ("chargestation.online", "chargestation.offline", "chargestation.offline.confirmed", "webhook.disabled")


class Story(History):
    """A history with one webhook of each format, folded when it is asked."""

    def __init__(self, **started: Any) -> None:
        super().__init__()
        self.started(**started)
        self.subscribed("ce", format="cloudevents", events=ALL)
        self.subscribed("sw", events=ALL)

    def bodies(self) -> list[tuple[Owed, dict[str, Any]]]:
        folding = Fold([outbox])
        for recorded in self:
            folding.advance(recorded)
        state = folding.state(outbox)
        return [(message, json.loads(state.body(message))) for message in state.pending()]

    def of(self, webhook: str) -> list[tuple[Owed, dict[str, Any]]]:
        return [(message, body) for message, body in self.bodies() if message.webhook == webhook]


def read(body: dict[str, Any]) -> BaseCloudEvent:
    """Read a body as CloudEvents' own SDK does, and hold it to what that leaves unasked."""
    event = JSONFormat().read(CloudEvent, json.dumps(body).encode())
    for name, value in body.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name), name
        if name != "data":
            assert isinstance(value, str), name
            assert value, name
            assert not [char for char in value if unicodedata.category(char) in ("Cc", "Cs") or is_noncharacter(char)]
    source = urlsplit(body["source"])
    assert (source.scheme, source.netloc, source.query, source.fragment) == ("", "", "", "")
    assert re.fullmatch(r"([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+", body["source"])
    return event


def is_noncharacter(char: str) -> bool:
    return 0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE


def test_a_flip_is_told_in_the_envelope_of_cloudevents() -> None:
    story = Story()
    story.opened("CP 7/a", "r1-1")
    [(message, body)] = story.of("ce")

    data = body.pop("data")
    assert body == {
        "specversion": "1.0",
        "id": message.id,
        "source": "/chargestations/CP%207%2Fa",
        "type": "chargestation.online",
        "subject": "CP 7/a",
        "time": "2025-11-24T16:00:04.000000Z",
        "sequence": "00000000000000000001",
        "datacontenttype": "application/json",
    }
    assert data == story.of("sw")[0][1]["data"]


def test_what_is_told_of_a_webhook_has_it_as_its_source_and_no_sequence() -> None:
    story = Story()
    story.add(e.WebhookTested(), "ce")
    [(_, body)] = story.of("ce")

    assert body["source"] == "/webhooks/ce"
    assert not {"subject", "sequence"} & set(body)
    read(body)


def test_sequences_sort_as_text_like_the_versions() -> None:
    story = Story()
    for n in range(1, 7):
        story.opened("CP", f"r1-{n}")
        story.closed("CP", f"r1-{n}")
    story.settled("CP", 12)
    story.restored()
    told = [body for _, body in story.of("ce")]

    sequences = [body["sequence"] for body in told if body["type"] in ALL[:2]]
    assert [int(sequence) for sequence in sequences] == [*range(1, 13), 2**20 + 12]
    assert sequences == sorted(sequences)
    assert [body["type"] for body in told if "sequence" not in body] == ["chargestation.offline.confirmed"]


def test_a_message_keeps_the_format_that_its_webhook_had_when_it_was_caused() -> None:
    story = Story()
    story.opened("CP", "r1-1")
    story.add(e.WebhookUpdated(url="https://hooks.example/", format="standard"), "ce")
    story.add(e.WebhookUpdated(url="https://hooks.example/", format="cloudevents"), "sw")
    story.closed("CP", "r1-1")

    told = {
        (message.webhook, message.type): (message.format, "specversion" in body) for message, body in story.bodies()
    }
    assert told == {
        ("ce", "chargestation.online"): ("cloudevents", True),
        ("ce", "chargestation.offline"): ("standard", False),
        ("sw", "chargestation.online"): ("standard", False),
        ("sw", "chargestation.offline"): ("cloudevents", True),
    }


def test_a_message_asked_for_once_more_has_the_body_that_it_had() -> None:
    story = Story()
    story.opened("CP", "r1-1")
    [(message, body)] = story.of("ce")
    story.delivered(message)
    story.add(e.WebhookUpdated(url="https://hooks.example/"), "ce")
    asked = e.DeliveryRequested(
        message=message.id,
        webhook="ce",
        type=message.type,
        position=message.position,
        round=1,
        format=message.format,
    )
    story.add(asked, "CP")
    forgetful = e.DeliveryRequested(
        message="msg_" + 26 * "A",
        webhook="ce",
        type=message.type,
        position=message.position,
        round=1,
        format="cloudevents",
    )
    story.add(forgetful, "CP")

    folding = Fold([outbox])
    for recorded in story:
        folding.advance(recorded)
    again, forgotten = folding.state(outbox).lane("ce", "CP")
    assert json.loads(folding.state(outbox).body(again)) == json.loads(recall(story, again)) == body
    assert forgotten.format == "cloudevents"


@pytest.mark.parametrize("station", ["CP\n7", "\x7f", "\ufdd0", "\U0001ffff", "\x85"])
def test_an_id_that_no_subject_can_hold_is_told_by_the_source(station: str) -> None:
    story = Story()
    story.opened(station, "r1-1")
    [(_, body)] = story.of("ce")

    assert "subject" not in body
    assert unquote(body["source"]).removeprefix("/chargestations/") == body["data"]["id"] == station
    read(body)


@settings(max_examples=examples(100))
@given(station=st.text(min_size=1, max_size=8))
def test_whatever_a_station_is_called_the_sdk_of_cloudevents_reads_what_is_told_of_it(station: str) -> None:
    story = Story()
    story.opened(station, "r1-1")
    story.closed(station, "r1-1")

    for message, body in story.of("ce"):
        event = read(body)
        assert (event.get_id(), event.get_type()) == (message.id, message.type)
        assert event.get_subject() in (station, None)
        assert event.get_data() == body["data"]

"""What attempts carry: signatures, headers, certificates, formats and the checkpoint; and what happens if it lacks."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from attrs import evolve
from laning import owed
from mailroom import HOUR, SECRETS, Gateway, Receiver, sending
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine.delivery.attempts import Lacking, Supplies
from stationkeeper.engine.events import WebhookUpdated
from stationkeeper.engine.sending import Attempt, Destination

VAULT = {
    "new": b"n" * 24, "old": b"o" * 24, "key": b"k" * 32, "older-key": b"K" * 32, "token": b"Bearer 1", "odd": b"\xff",
    "chain": b"PEM of ours", "authorities": b"PEM of theirs",
}  # fmt: skip
WHERE = Destination(webhook="w", url="https://w.example", secrets=("new", "old"), state="active")


def attempt(at: int = 5_000_000, format: str = "standard", **changes: Any) -> Attempt:
    supplies = Supplies(VAULT.get, lambda: b"a note")
    return supplies.attempt(replace(owed(1), format=format), evolve(WHERE, **changes), b"{}", at)


def test_an_attempt_carries_all_that_its_webhook_has() -> None:
    made = attempt(
        keys=("key", "older-key"), headers=(("Authorization", "token"),), identity="chain", authorities="authorities"
    )

    assert made == Attempt(
        message="msg_1", url="https://w.example", body=b"{}", secrets=(b"n" * 24, b"o" * 24), at=5,
        keys=(b"k" * 32, b"K" * 32), headers=(("Authorization", "Bearer 1"),), identity=b"PEM of ours",
        authorities=b"PEM of theirs", checkpoint=b"a note",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("format", "type"), [("standard", "application/json"), ("cloudevents", "application/cloudevents+json")]
)
def test_the_content_type_is_that_of_the_messages_format(format: str, type: str) -> None:
    assert attempt(format=format).content_type == type


@pytest.mark.parametrize(("at", "number"), [(5_000_000, 2), (6_999_999, 2), (7_000_000, 1), (8_000_000, 1)])
def test_older_secrets_and_keys_sign_until_they_are_retired(at: int, number: int) -> None:
    made = attempt(at, keys=("key", "older-key"), retired_at=7_000_000)

    assert made.secrets == (b"n" * 24, b"o" * 24)[:number]
    assert made.keys == (b"k" * 32, b"K" * 32)[:number]


def test_a_webhook_may_be_signed_for_with_keys_alone() -> None:
    made = attempt(secrets=(), keys=("key",))

    assert (made.secrets, made.keys) == ((), (b"k" * 32,))


@pytest.mark.parametrize(
    ("changes", "problem", "unsigned"),
    [
        ({"secrets": ()}, "it has no usable signing secret", True),
        ({"secrets": ("gone",)}, "it has no usable signing secret", True),
        ({"secrets": ("gone", "old"), "retired_at": 1}, "it has no usable signing secret", True),
        ({"keys": ("gone",)}, "it has no usable signing key", True),
        ({"headers": (("X-Key", "gone"),)}, "its value of the header X-Key is missing among the secrets", False),
        ({"headers": (("X-Key", "odd"),)}, "the value of the header X-Key is no text", False),
        ({"identity": "gone"}, "its client certificate is missing among the secrets", False),
        ({"authorities": "gone"}, "its authorities is missing among the secrets", False),
    ],
)
def test_nothing_is_sent_without_what_its_receiver_expects(
    changes: dict[str, Any], problem: str, unsigned: bool
) -> None:
    with pytest.raises(Lacking) as lacking:
        attempt(**changes)

    assert (str(lacking.value), lacking.value.unsigned) == (problem, unsigned)


async def test_a_webhook_that_lacks_something_waits_and_says_why(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = WebhookUpdated(url="https://w.example", secrets=("s1",), headers=(("X-Key", "later"),))
    gateway.append(lacking, "w")
    async with sending(gateway):
        gateway.flip()
        with caplog.at_level(logging.ERROR):
            await trio.sleep(HOUR)
        health = gateway.deliveries.health("w")
        assert receiver.attempts == []
        SECRETS["later"] = b"abc"
        try:
            await trio.sleep(61.0)
        finally:
            del SECRETS["later"]
        mended = gateway.deliveries.health("w")

    assert health is not None
    assert not health.unsigned
    assert health.problem == (
        "its value of the header X-Key is missing among the secrets; nothing is sent to it until that is mended"
    )
    assert len(caplog.records) == 1, "said once, however often it is looked for"
    assert [attempt.headers for attempt in receiver.accepted] == [(("X-Key", "abc"),)]
    assert gateway.outcomes()[0].attempts == 1
    assert mended is not None
    assert mended.problem == ""


async def test_attempts_carry_the_newest_checkpoint(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    async with sending(gateway):
        for note in (b"", b"first", b"second"):
            gateway.checkpoint = note
            gateway.flip()
            await wait_all_tasks_blocked()

    assert [attempt.checkpoint for attempt in receiver.accepted] == [b"", b"first", b"second"]

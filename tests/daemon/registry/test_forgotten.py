"""A message that the outbox has forgotten is found in the log by its outcome."""

from __future__ import annotations

import pytest
import trio
from histories import History

from stationkeeper.daemon.registry.forgotten import find_forgotten
from stationkeeper.daemon.registry.messages import find_message
from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import (
    DeliveryParked,
    DeliverySkipped,
    DeliverySucceeded,
    Event,
    Format,
    LogRestored,
    StationRegistered,
    WebhookAdded,
    WebhookUpdated,
)
from stationkeeper.engine.fold import fold
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Owed
from stationkeeper.projections import outbox
from stationkeeper.projections.bodies import OFFLINE, message_id

MESSAGE = message_id("wh_1", "e1", OFFLINE, "CP-7")


def outcome(
    kind: type[DeliverySucceeded] | type[DeliveryParked], *, round: int = 0, message: str = MESSAGE, position: int = 1
) -> Event:
    more = {"reason": "tired"} if kind is DeliveryParked else {}
    return kind(
        message=message, webhook="wh_1", position=position, round=round, attempts=1, status=200, attempted_at=0,
        latency=0.1, **more,
    )  # fmt: skip


def written(*outcomes: Event, subject: str = "CP-7") -> MemoryLog:
    """Return a log of a cause, and then these outcomes."""
    log = MemoryLog()
    log.append([seal(StationRegistered(), id="e1", at=1, subject="CP-7")])
    log.append([seal(event, id=f"o{n}", at=1, subject=subject) for n, event in enumerate(outcomes)])
    return log


@pytest.mark.parametrize("subject", ["CP-7", ""])
def test_it_is_found_with_its_type_also_in_the_lane_of_nobody(subject: str) -> None:
    log = written(outcome(DeliverySucceeded), subject=subject)

    assert find_forgotten(log, MESSAGE) == Owed(MESSAGE, "wh_1", subject, OFFLINE, 1, 0, "delivered")


def test_the_newest_outcome_counts() -> None:
    found = find_forgotten(written(outcome(DeliveryParked), outcome(DeliverySucceeded, round=1)), MESSAGE)

    assert found is not None
    assert (found.round, found.state) == (1, "delivered")


def test_one_that_somebody_skipped_is_found_unless_it_was_accepted_after_all() -> None:
    skipped = DeliverySkipped(message=MESSAGE, webhook="wh_1", position=1, round=0)
    alone, accepted = written(skipped), written(skipped, outcome(DeliverySucceeded))

    assert find_forgotten(alone, MESSAGE) == Owed(MESSAGE, "wh_1", "CP-7", OFFLINE, 1, 0, "skipped")
    assert find_forgotten(accepted, MESSAGE) == Owed(MESSAGE, "wh_1", "CP-7", OFFLINE, 1, 0, "delivered")


@pytest.mark.parametrize(
    ("formats", "wanted"),
    [(["cloudevents"], "cloudevents"), (["standard", "cloudevents"], "cloudevents"), ([], "standard")],
)
def test_its_format_is_that_of_its_webhook_as_of_the_cause(formats: list[Format], wanted: Format) -> None:
    log = MemoryLog()
    for number, format in enumerate(formats):
        kind = WebhookAdded if number == 0 else WebhookUpdated
        log.append([seal(kind(url="https://x", format=format), id=f"w{number}", at=1, subject="wh_1")])
    log.append([seal(WebhookAdded(url="https://x", format="cloudevents"), id="w", at=1, subject="wh_2")])
    log.append([seal(StationRegistered(), id="e1", at=1, subject="CP-7")])
    cause = log.position
    log.append([seal(WebhookUpdated(url="https://x", format="standard"), id="later", at=1, subject="wh_1")])
    log.append([seal(outcome(DeliveryParked, position=cause), id="o1", at=1, subject="CP-7")])

    found = find_forgotten(log, MESSAGE)
    assert found is not None
    assert found.format == wanted


@pytest.mark.parametrize("message", ["msg_OTHER", "", '"round":0'])
def test_another_is_not_found(message: str) -> None:
    assert find_forgotten(written(outcome(DeliverySucceeded)), message) is None


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (2, 1)])
def test_it_is_found_beside_a_restore(before: int, after: int) -> None:
    """The restores up to the cause are in its id; those after it are not (ADR 0016)."""
    message = message_id("wh_1", "e1", OFFLINE, "CP-7", before * 2**20)
    log = MemoryLog()

    def restored(times: int) -> None:
        event = LogRestored(checkpoint_size=1, checkpoint_root="00")
        log.append([seal(event, id=f"l{len(list(log.read()))}-{n}", at=1) for n in range(times)])

    restored(before)
    log.append([seal(StationRegistered(), id="e1", at=1, subject="CP-7")])
    cause = len(list(log.read()))
    restored(after)
    told = outcome(DeliverySucceeded, message=message, position=cause)
    log.append([seal(told, id="o1", at=1, subject="CP-7")])

    assert find_forgotten(log, message) == Owed(message, "wh_1", "CP-7", OFFLINE, cause, 0, "delivered")


def test_an_outcome_whose_cause_is_another_is_not_taken_for_it() -> None:
    assert find_forgotten(written(outcome(DeliverySucceeded, message="msg_FORGED")), "msg_FORGED") is None


async def test_while_a_message_is_looked_for_others_have_their_turn() -> None:
    history = History()
    history.started("r1")
    for webhook in ("w1", "w2", "w3"):
        history.subscribed(webhook)
    history.opened("CP-7", "r1-1")
    state = fold(outbox, history)
    [last] = state.lane("w3", "CP-7")
    turns: list[str] = []

    async def look(id: str) -> Owed | None:
        found = await find_message(state, id)
        turns.append("found" if found else "none")
        return found

    async def others() -> None:
        for _ in range(2):
            turns.append("another")
            await trio.lowlevel.checkpoint()

    assert await look(last.id) == last
    assert await look("msg_" + "A" * 26) is await look("no id") is None
    turns.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, last.id)
        nursery.start_soon(others)
    assert turns[-1] == "found"
    assert "another" in turns

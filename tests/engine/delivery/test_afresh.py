"""Fresh starts: what a webhook that is enabled or mended is forgiven, at once and over a restart."""

from __future__ import annotations

import pytest
import trio
from laning import ILL, OK, destination, lanes, outage, owed, put, started
from mailroom import DAY, HOUR, MINUTE, Gateway, Receiver, ill, sending
from trio.testing import MockClock

from stationkeeper.engine.events import (
    Event,
    WebhookDisabled,
    WebhookEnabled,
    WebhookFailed,
    WebhookPaused,
    WebhookSuspended,
    WebhookUpdated,
)
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.projections import outbox

MENDED = WebhookUpdated(url="https://mended.example/hook", secrets=("s1",))


def well(attempt: Attempt) -> Answer:
    return Answer(status=200)


async def test_a_suspended_webhook_that_is_enabled_is_sent_at_once_all_that_waits(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    async with sending(gateway):
        for n in range(30):
            gateway.flip(f"CP-{n}")
        await trio.sleep(HOUR)
        assert gateway.told(WebhookSuspended)
        receiver.answer = well
        gateway.append(WebhookEnabled(), "w")
        await trio.sleep(1.0)
        health = gateway.deliveries.health("w")

    assert len(receiver.accepted) == 30
    assert health is not None
    assert (health.state, health.breaker) == ("active", "closed")


@pytest.mark.parametrize("stopped", [WebhookPaused(), WebhookDisabled(reason="x", since=0, status=500), None])
async def test_after_a_restart_too_what_waits_is_due_at_once_when_a_webhook_is_enabled(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock, stopped: Event | None
) -> None:
    receiver.answer = ill
    for n in range(3):
        gateway.flip(f"CP-{n}")
    async with sending(gateway):
        await trio.sleep(10 * HOUR)
        if stopped is not None:
            gateway.append(stopped, "w")
            await trio.sleep(MINUTE)
    gateway = Gateway(receiver, log=gateway.log, clock=gateway.clock)
    receiver.answer = well
    async with sending(gateway):
        await trio.sleep(MINUTE)
        assert receiver.accepted == []
        gateway.append(WebhookEnabled(), "w")
        await trio.sleep(1.0)

    assert len(receiver.accepted) == 3


async def test_a_new_url_is_not_disabled_for_what_the_old_one_refused_also_after_a_restart(
    gateway: Gateway, receiver: Receiver, autojump_clock: MockClock
) -> None:
    receiver.answer = ill
    gateway.flip("CP-0")
    async with sending(gateway):
        await trio.sleep(4 * DAY)
        gateway.flip("CP-1")
        await trio.sleep(0.95 * DAY)
        gateway.append(MENDED, "w")
        mended = gateway.clock.wall()
        gateway.flip("CP-2")
        await trio.sleep(2 * HOUR)
    failed = gateway.told(WebhookFailed)[-1]
    gateway = Gateway(receiver, log=gateway.log, clock=gateway.clock)
    async with sending(gateway):
        await trio.sleep(6 * HOUR)

    assert isinstance(failed, WebhookFailed)
    assert failed.since >= mended
    assert (gateway.fold.state(outbox).destination("w").failing_since or mended) >= mended  # type: ignore[union-attr]
    assert gateway.told(WebhookDisabled) == []


def test_answers_to_attempts_from_before_a_mending_say_nothing_of_what_was_mended() -> None:
    machine = lanes()
    put(machine, *(owed(n, f"CP-{n}") for n in range(40)))
    before = started(machine)
    machine.direct("w", destination(url="https://mended.example"), 1.0)
    for message in before:
        machine.answered(message, ILL, 2.0)
    condition = machine.condition("w")

    assert condition is not None
    assert (machine.breaker("w", 2.0), condition.health) == ("closed", "well")
    assert started(machine, 2.0), "the mended webhook is sent what waits"


def test_what_the_old_url_accepts_does_not_make_a_mended_webhook_well() -> None:
    machine = lanes()
    put(machine, owed(1000, "slow"))
    (slow,) = started(machine)
    machine.direct("w", destination(url="https://mended.example"), 0.0)
    outage(machine)
    machine.answered(slow, OK, 1.0)

    assert machine.breaker("w", 1.0) == "open"

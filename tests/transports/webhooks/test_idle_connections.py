"""Connections that nothing is sent over are closed in time, though nothing else is sent either."""

from __future__ import annotations

import pytest
import trio
from dialling import Exchange
from receiving import OK, answering, attempt_at
from trio.testing import MockClock

from stationkeeper.engine import open_engine
from stationkeeper.engine.events import StationRegistered, WebhookAdded
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Sender, Tidying
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender
from stationkeeper.transports.memory import MemoryStations
from stationkeeper.transports.webhooks.wires import IDLE_SECONDS


@pytest.fixture
def sender() -> WebhookSender:
    return WebhookSender()


def test_a_sender_is_one_with_tidiness_and_without(sender: WebhookSender) -> None:
    assert isinstance(sender, Sender)
    assert isinstance(sender, Tidying)


async def test_tidying_closes_what_was_idle_for_long_and_nothing_else(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, {"a.example": answering(OK), "b.example": answering(OK)})
        sender = exchange.sender()
        await sender.send(attempt_at("https://a.example/"))
        await trio.sleep(IDLE_SECONDS - 1)
        await sender.send(attempt_at("https://b.example/"))
        sender.tidy()
        assert exchange.open == 2

        await trio.sleep(1)
        sender.tidy()
        assert [pipe.closed for pipe in exchange.dialled] == [True, False]

        await sender.aclose()
        sender.tidy()
        assert exchange.open == 0


async def test_the_engine_sees_to_that_while_nothing_is_sent(autojump_clock: MockClock) -> None:
    log, stations = MemoryLog(), MemoryStations()
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, {"a.example": answering(OK)})
        async with open_engine(
            log,
            transports=[stations, exchange.sender()],
            projections=[presence, outbox],
            clock=VirtualClock(),
            inline=True,
        ) as engine:
            engine.secrets.keep("s1", b"secret")
            await engine.record(StationRegistered(), subject="CP-1")
            await engine.record(WebhookAdded(url="https://a.example/", secrets=("s1",)), subject="w1")
            await stations.connect("CP-1")
            await trio.sleep(IDLE_SECONDS / 2)
            assert exchange.open == 1

            await trio.sleep(IDLE_SECONDS)
            assert exchange.open == 0

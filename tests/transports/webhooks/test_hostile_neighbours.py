"""A hostile receiver costs nobody else anything: beside it, another gets all that it is owed, in order, at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
from dialling import End, Exchange, Script
from hypothesis import given, settings
from hypothesis import strategies as st
from mailroom import DAY, Gateway, Receiver, sending
from receiving import OK, read_request
from trio.testing import MockClock

from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.engine.settings import EngineSettings
from stationkeeper.transports import WebhookSender

GOOD, BAD = "good.example", "bad.example"
TIMEOUT = 15.0


def saying(
    *parts: bytes, pause: float = 0.0, reading: bool = True, then: Callable[[End], None] | None = None
) -> Script:
    """Say something, with pauses; then break off as *then* does, or stay."""

    async def script(stream: trio.abc.Stream) -> None:
        if reading:
            await read_request(stream)
        for part in parts:
            await stream.send_all(part)
            await trio.sleep(pause)
        if then is None:
            await trio.sleep_forever()
        assert isinstance(stream, End)
        then(stream)

    return script


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(head)
        while True:
            await stream.send_all(part)
            await trio.sleep(pause)

    return script


def politely(*answers: bytes) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        for answer in answers:
            await read_request(stream)
            await stream.send_all(answer)

    return script


def close(end: End) -> None:
    """Close as it ends."""


def reset(end: End) -> None:
    end.reset()


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
DEEDS: dict[str, Script] = {
    "answers": politely(OK, OK, OK),
    "never answers": saying(),
    "never reads": saying(reading=False),
    "closes": saying(then=close),
    "closes unread": saying(reading=False, then=close),
    "resets": saying(then=reset),
    "drips its head": endless(HEAD, b"x: y\r\n", 1.0),
    "drips its body": endless(CHUNKED, b"1\r\na\r\n", 1.0),
    "endless head": endless(HEAD, b"x: " + b"y" * 1000 + b"\r\n"),
    "endless body": endless(CHUNKED, b"3e8\r\n" + b"a" * 1000 + b"\r\n"),
    "endless interim": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "slow interim": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 1.0),
    "garbage": saying(b"\0\xff" * 500),
    "huge head": saying(HEAD + b"x: " + b"y" * 20_000 + b"\r\n\r\n"),
    "surplus": politely(OK + OK),
    "unasked": saying(OK, reading=False),
    "closes when idle": politely(OK),
    "refuses and stays": saying(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
    "half an answer, reset": saying(OK[:20], then=reset),
    "promises too much": saying(HEAD + b"content-length: 10\r\n\r\nab", then=close),
}


class Told:
    """What the good receiver got, and when, by station."""

    def __init__(self) -> None:
        self.versions: dict[str, list[int]] = {}
        self.lateness = 0.0
        self.caused: dict[tuple[str, int], float] = {}

    async def script(self, stream: trio.abc.Stream) -> None:
        while (request := await read_request(stream)) is not None:
            told = json.loads(request.body)["data"]
            self.versions.setdefault(told["id"], []).append(told["version"])
            waited = trio.current_time() - self.caused[told["id"], told["version"]]
            self.lateness = max(self.lateness, waited)
            await stream.send_all(OK)


async def neighbours(deeds: list[str], flips: list[tuple[str, float]]) -> None:
    turns = 0

    async def misbehave(stream: trio.abc.Stream) -> None:
        nonlocal turns
        turns += 1
        await DEEDS[deeds[(turns - 1) % len(deeds)]](stream)

    told = Told()
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, {GOOD: told.script, BAD: misbehave})
        sender = exchange.sender(timeout=TIMEOUT)
        gateway = Gateway(Through(sender), settings=EngineSettings(concurrency=4, webhook_concurrency=2))
        gateway.start()
        gateway.subscribe("bad")
        gateway.subscribe("good")
        counts: dict[str, int] = {}
        async with sending(gateway):
            for station, pause in flips:
                counts[station] = counts.get(station, 0) + 1
                told.caused[station, counts[station]] = trio.current_time()
                gateway.flip(station)
                await trio.sleep(pause)
            await trio.sleep(2 * TIMEOUT)
        await sender.aclose()
        assert exchange.open == 0, "every connection is closed, whatever came of it"
        nursery.cancel_scope.cancel()
    assert told.versions == {station: list(range(1, count + 1)) for station, count in counts.items()}
    assert told.lateness < 0.01, "in virtual time nothing but waiting takes any"


class Through(Receiver):
    """Sends by a real sender."""

    def __init__(self, sender: WebhookSender) -> None:
        super().__init__()
        self._sender = sender

    async def send(self, attempt: Attempt) -> Answer:
        return await self._sender.send(attempt)


STATIONS = st.sampled_from(["CP-1", "CP-2", "CP-3", "CP-4", "CP-5", "CP-6"])


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(sorted(DEEDS)), min_size=1, max_size=5),
    st.lists(st.tuples(STATIONS, st.sampled_from([0.0, 0.0, 1.0, 20.0])), min_size=1, max_size=14),
)
def test_beside_a_hostile_receiver_a_good_one_gets_all_in_order_at_once(
    deeds: list[str], flips: list[tuple[str, float]]
) -> None:
    trio.run(neighbours, deeds, flips, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("deed", sorted(DEEDS))
async def test_each_deed_ends_within_the_whole_limit(deed: str, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, {BAD: DEEDS[deed]})
        sender = exchange.sender(timeout=TIMEOUT)
        for _ in range(3):
            began = trio.current_time()
            attempt = Attempt(message="msg_1", url=f"https://{BAD}/", body=b"{}", secrets=(b"k",), at=int(DAY))
            answer = await sender.send(attempt)
            assert trio.current_time() - began <= TIMEOUT + 0.01
            assert answer.error or answer.status == 200
        await sender.aclose()
        assert exchange.open == 0
        nursery.cancel_scope.cancel()

"""Drawn lives of stations, receivers and the log against the whole engine, under virtual time (truths 15 to 18).

Stations come and go; receivers are well, ill, hang, or refuse one station's messages; the log fails for a while, with
the batch written or not; webhooks are paused; the gateway crashes or stops and starts again. Whatever happened, the
receivers' own books must add up in the end.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from stationkeeper.engine import Engine, EngineSettings, Retry, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import DeliverySucceeded, WebhookAdded, WebhookEnabled, WebhookPaused
from stationkeeper.engine.log.memory import Fault, MemoryLog
from stationkeeper.engine.log.secrets import MemorySecrets
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import AnyStation, MemoryStations
from stationkeeper.transports.memory import MemoryStation, NotLetIn

STATIONS = ["CP-1", "CP-2", "CP-3"]
WEBHOOKS = ["a", "b"]
MOODS = ["well", "well", "ill", "hanging", "busy", "against CP-1"]
RETRY = Retry(delays=(5.0, 30.0, 60.0), retry_after_cap=120.0, disable_after=300.0)
"""Days in minutes: the engine looks around once a second, also under virtual time."""

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["flip", "flip", "flip"]), st.sampled_from(STATIONS)),
        st.tuples(st.just("mood"), st.tuples(st.sampled_from(WEBHOOKS), st.sampled_from(MOODS))),
        st.tuples(st.sampled_from(["pause", "enable"]), st.sampled_from(WEBHOOKS)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 7.0, 40.0, 400.0])),
        st.tuples(st.just("fail"), st.sampled_from(["lost", "written"])),
        st.tuples(st.sampled_from(["crash", "stop"]), st.none()),
    ),
    max_size=40,
)


class Receivers:
    """The receivers of both webhooks, and their books. A `Sender`."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.moods: dict[str, str] = {}
        self.bodies: dict[str, bytes] = {}
        self.accepted: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self.ids: set[str] = set()
        self.in_flight: Counter[tuple[str, str]] = Counter()

    async def send(self, attempt: Attempt) -> Answer:
        webhook = attempt.url.rpartition("/")[2]
        data = json.loads(attempt.body)["data"]
        lane = webhook, data["id"]
        assert attempt.secrets == (b"k" * 24,)
        assert self.bodies.setdefault(attempt.message, attempt.body) == attempt.body, "same id, another body"
        assert self.in_flight[lane] == 0, "two of one lane"
        assert self.engine is not None
        assert self.engine.state(presence)[data["id"]].version >= data["version"], "a GET would show an older version"
        self.in_flight[lane] += 1
        try:
            return await self.answer(webhook, data["id"], data["version"], attempt.message)
        finally:
            self.in_flight[lane] -= 1

    async def answer(self, webhook: str, station: str, version: int, message: str) -> Answer:
        await trio.sleep(0.2)
        match self.moods.get(webhook, "well"):
            case "ill":
                return Answer(status=500)
            case "busy":
                return Answer(status=503, retry_after=60.0)
            case "hanging":
                await trio.sleep(15.0)
                return Answer(status=None, error="took more than 15 s")
            case "against CP-1" if station == "CP-1":
                return Answer(status=400)
            case _:
                self.accepted[webhook, station].append(version)
                self.ids.add(message)
                return Answer(status=204)

    async def aclose(self) -> None: ...


class World:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.log = MemoryLog(fault=self.fault)
        self.secrets = MemorySecrets()
        self.secrets.keep("secret", b"k" * 24)
        self.clock = VirtualClock()
        self.receivers = Receivers()
        self.sockets: dict[str, MemoryStation] = {}

    def fault(self, entries: Sequence[Entry]) -> Fault | None:
        return self.faults.pop() if self.faults else None

    async def play(self, plan: list[tuple[str, Any]]) -> None:
        pending = list(plan)
        while True:
            stations = MemoryStations(admit=AnyStation())
            async with open_engine(
                self.log,
                transports=[stations, self.receivers],
                projections=[presence, outbox],
                settings=EngineSettings(retry=RETRY),
                clock=self.clock,
                secrets=self.secrets,
                inline=True,
            ) as engine:
                self.receivers.engine = engine
                if not list(self.log.read(kinds={WebhookAdded.kind})):
                    for webhook in WEBHOOKS:
                        added = WebhookAdded(url=f"https://receiver.example/{webhook}", secrets=("secret",))
                        await engine.record(added, subject=webhook)
                while pending:
                    verb, given = pending.pop(0)
                    if verb in ("crash", "stop"):
                        break
                    await self.step(engine, stations, verb, given)
                else:
                    await self.rest(engine, stations)
                    return
                if verb == "crash":
                    engine.hurry()
            self.sockets.clear()
            self.faults.clear()
            self.log.recover()

    async def step(self, engine: Engine, stations: MemoryStations, verb: str, given: Any) -> None:
        match verb:
            case "flip":
                await self.flip(stations, given)
            case "mood":
                self.receivers.moods[given[0]] = given[1]
            case "wait":
                await trio.sleep(given)
            case "fail":
                self.faults.append(given)
            case _:
                with suppress(LogUnavailable):
                    await engine.record(WebhookPaused() if verb == "pause" else WebhookEnabled(), subject=given)

    async def flip(self, stations: MemoryStations, station: str) -> None:
        socket = self.sockets.get(station)
        with trio.move_on_after(30.0):
            if socket is not None and socket.closed is None:
                await socket.close()
            else:
                try:
                    self.sockets[station] = await stations.connect(station)
                except NotLetIn:
                    await trio.sleep(1.0)

    async def rest(self, engine: Engine, stations: MemoryStations) -> None:
        """Let everybody be well again, flip everybody once more, and judge what was told."""
        self.faults.clear()
        self.receivers.moods.clear()
        await trio.sleep(60.0)
        for webhook in WEBHOOKS:
            await engine.record(WebhookEnabled(), subject=webhook)
        for station in STATIONS:
            await self.flip(stations, station)
        await trio.sleep(600.0)
        self.judge(engine)

    def judge(self, engine: Engine) -> None:
        assert list(engine.state(outbox).pending()) == []
        for webhook in WEBHOOKS:
            for station in STATIONS:
                told = self.receivers.accepted[webhook, station]
                assert told == sorted(told), "out of order"
                assert told[-1] == engine.state(presence)[station].version, "the last one told is not the flag"
        succeeded = [decode(recorded) for recorded in self.log.read(kinds={DeliverySucceeded.kind})]
        messages = [event.message for event in succeeded if isinstance(event, DeliverySucceeded)]
        assert len(messages) == len(set(messages)), "an outcome twice"
        assert set(messages) <= self.receivers.ids, "recorded as delivered, and was not"


@settings(max_examples=examples(60), deadline=None)
@given(steps)
def test_whatever_happens_each_receiver_is_told_in_order_and_in_the_end(plan: list[tuple[str, Any]]) -> None:
    trio.run(World().play, plan, clock=MockClock(autojump_threshold=0))

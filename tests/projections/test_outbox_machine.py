"""Lives of lanes: what the outbox owes, against a model that keeps every message it ever derived.

The model is a list of messages, and reads the rules as they stand (O1 to O9). The outbox has room for what a few of
them say alone; what it hands over is put by here, as the engine does, and the rest is told anew from the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from attrs import define
from effort import examples
from histories import History
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stationkeeper.engine import events as e
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.sending import MessageState, Owed, Place
from stationkeeper.projections import outbox, scenes
from stationkeeper.projections.bodies import message_id
from stationkeeper.projections.outbox import Outbox, recall
from stationkeeper.projections.scenes import render_told

STATIONS = ("A", "B")
WEBHOOKS = ("w1", "w2", "w3")
ONLINE, OFFLINE = "chargestation.online", "chargestation.offline"
LANE = 64
STATES: tuple[MessageState, ...] = ("pending", "delivered", "parked", "skipped")
Mode = Literal["every", "latest"]
MODES: tuple[Mode, ...] = ("every", "latest")


@define
class Model:
    """A message, as the rules of semantics 6 would have it."""

    owed: Owed
    state: MessageState
    round: int
    body: bytes
    requested: bool = False
    """Somebody asked for this very message, in this round."""
    again: bool = False
    """It was pending, was not, and is again."""


class Lanes(RuleBasedStateMachine):
    """Stations flip, receivers answer, people ask again; the outbox and the model must owe the same."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.folding = Fold([outbox])
        self.messages: dict[str, Model] = {}
        self.subscribed: dict[str, tuple[str, ...]] = {}
        self.latest: set[str] = set()
        self.put_by: dict[Place, bytes] = {}
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(scenes, "KEPT", 6)
        self.told: dict[str, Owed] = {}
        self.connection: dict[str, str | None] = dict.fromkeys(STATIONS)
        self.connections = 0
        self.added = 0

    # --- the world ---

    @initialize()
    def start(self) -> None:
        self.history.started("r1")
        self.fold()
        self.subscribe(types=(ONLINE, OFFLINE), mode="every")

    @rule(station=st.sampled_from(STATIONS), times=st.integers(1, 35))
    def flap(self, station: str, times: int) -> None:
        for _ in range(times):
            self.flip(station)

    @precondition(lambda self: len(self.subscribed) < len(WEBHOOKS))
    @rule(types=st.sampled_from(((ONLINE, OFFLINE), (OFFLINE,), ())), mode=st.sampled_from(MODES))
    def subscribe(self, types: tuple[str, ...], mode: Mode) -> None:
        self.added += 1
        webhook = f"w{self.added}"
        self.history.subscribed(webhook, events=types, mode=mode)
        self.subscribed[webhook] = types
        self.latest |= {webhook} if mode == "latest" else set()
        self.fold()

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data(), mode=st.sampled_from(MODES))
    def turn(self, data: st.DataObject, mode: Mode) -> None:
        """Who turns to the latest is owed no older flips at once; another mode counts from the next flip on."""
        webhook = data.draw(st.sampled_from(sorted(self.subscribed)))
        types = self.subscribed[webhook]
        self.history.add(e.WebhookUpdated(url="https://hooks.example/", events=types, mode=mode), webhook)
        if mode == "latest" and webhook not in self.latest:
            for station in STATIONS:
                self.skip_older(self.lane(webhook, station))
        self.latest = self.latest - {webhook} | ({webhook} if mode == "latest" else set())
        self.fold()

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        webhook = data.draw(st.sampled_from(sorted(self.subscribed)))
        self.history.add(e.WebhookRemoved(), webhook)
        del self.subscribed[webhook]
        for id in [id for id, message in self.messages.items() if message.owed.webhook == webhook]:
            del self.messages[id]
        self.fold()

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data(), event=st.sampled_from((e.WebhookPaused(), e.WebhookEnabled())))
    def pause_or_enable(self, data: st.DataObject, event: e.Event) -> None:
        self.history.add(event, data.draw(st.sampled_from(sorted(self.subscribed))))
        self.fold()

    @precondition(lambda self: any(self.pending()))
    @rule(data=st.data(), outcome=st.sampled_from(("delivered", "parked")), late=st.booleans())
    def answer(self, data: st.DataObject, outcome: MessageState, late: bool) -> None:
        """A lane's head has its outcome; one that comes late belongs to an older round and changes nothing."""
        heads = {(model.owed.webhook, model.owed.subject): model for model in reversed(list(self.pending()))}
        model = heads[data.draw(st.sampled_from(sorted(heads)))]
        tell = self.history.delivered if outcome == "delivered" else self.history.parked
        tell(model.owed, round=model.round - late)
        if not late:
            model.state = outcome
        self.fold()

    @precondition(lambda self: any(self.pending()))
    @rule(data=st.data(), late=st.booleans())
    def skip(self, data: st.DataObject, late: bool) -> None:
        """Any pending message, wherever it stands in its lane."""
        pending = {model.owed.id: model for model in self.pending()}
        model = pending[data.draw(st.sampled_from(sorted(pending)))]
        self.history.skipped(model.owed, round=model.round + late)
        if not late:
            model.state = "skipped"
        self.fold()

    @precondition(lambda self: any(model.state == "skipped" for model in self.messages.values()))
    @rule(data=st.data(), outcome=st.sampled_from(("delivered", "parked")))
    def answer_what_was_skipped_in_flight(self, data: st.DataObject, outcome: MessageState) -> None:
        skipped = {id: model for id, model in self.messages.items() if model.state == "skipped"}
        model = skipped[data.draw(st.sampled_from(sorted(skipped)))]
        tell = self.history.delivered if outcome == "delivered" else self.history.parked
        tell(model.owed, round=model.round)
        if outcome == "delivered":
            model.state = "delivered"
        self.fold()

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def request(self, data: st.DataObject) -> None:
        """Anything that was ever derived is asked for again; what is pending cannot be."""
        model = self.messages[data.draw(st.sampled_from(sorted(self.messages)))]
        self.history.requested(model.owed, round=model.round + 1)
        if model.state != "pending":
            self.again(model, requested=True)
        self.fold()

    @rule()
    def start_again_from_a_snapshot(self) -> None:
        states = {part.name: part.load(part.dump(self.folding.state(part))) for part in self.folding.projections}
        again = Fold([outbox])
        again.resume(states, self.folding.position, self.folding.leaf)
        self.folding = again

    @rule()
    def lose_what_was_put_by(self) -> None:
        self.put_by.clear()
        for model in self.messages.values():
            model.again = True  # so nobody expects to find it there

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data(), bounds=st.tuples(st.integers(0, 300), st.integers(0, 300)))
    def recover(self, data: st.DataObject, bounds: tuple[int, int]) -> None:
        webhook, (since, until) = data.draw(st.sampled_from(sorted(self.subscribed))), sorted(bounds)
        self.history.add(e.WebhookRecovered(since=since, until=until), webhook)
        lost = [model for model in self.in_order() if model.state in ("parked", "skipped")]
        for model in lost:
            if model.owed.webhook == webhook and since <= model.owed.position <= until:
                self.again(model)
        self.fold()

    # --- the model ---

    def flip(self, station: str) -> None:
        before = self.connection[station]
        if before is None:
            self.connections += 1
            self.connection[station] = f"r1-{self.connections}"
            caused = self.history.opened(station, f"r1-{self.connections}")
        else:
            self.connection[station] = None
            caused = self.history.closed(station, before)
        self.fold()
        type = ONLINE if before is None else OFFLINE
        for webhook, types in sorted(self.subscribed.items()):
            if type in types:
                id = message_id(webhook, caused.id, type, station)
                owed = Owed(id, webhook, station, type, caused.position, 0, "pending")
                body = self.folding.state(outbox).body(owed)
                self.messages[id] = Model(owed, "pending", 0, body)
                self.keep_short(webhook, station)

    def again(self, model: Model, *, requested: bool = False) -> None:
        model.state, model.round, model.requested, model.again = "pending", model.round + 1, requested, True
        self.keep_short(model.owed.webhook, model.owed.subject)

    def keep_short(self, webhook: str, station: str) -> None:
        lane = self.lane(webhook, station)
        if webhook in self.latest:
            self.skip_older(lane)
            lane = self.lane(webhook, station)
        if len(lane) > LANE:
            lane[1].state = lane[2].state = "skipped"

    def skip_older(self, lane: list[Model]) -> None:
        for model in lane[:-1]:
            if not model.requested:
                model.state = "skipped"

    def in_order(self) -> list[Model]:
        return sorted(self.messages.values(), key=lambda model: model.owed.position)

    def pending(self) -> Iterator[Model]:
        return (model for model in self.in_order() if model.state == "pending")

    def lane(self, webhook: str, station: str) -> list[Model]:
        return [model for model in self.pending() if (model.owed.webhook, model.owed.subject) == (webhook, station)]

    def fold(self) -> None:
        for recorded in self.history.events[self.folding.position :]:
            for message in self.folding.advance(recorded).changes(outbox):
                self.told[message.id] = message
            self.put_by.update(self.folding.state(outbox).evicted())

    # --- what must hold ---

    @invariant()
    def lanes_are_the_models(self) -> None:
        state = self.folding.state(outbox)
        for webhook in self.subscribed:
            for station in STATIONS:
                expected = [(model.owed.id, model.round) for model in self.lane(webhook, station)]
                assert [(message.id, message.round) for message in state.lane(webhook, station)] == expected

    @invariant()
    def pending_is_all_the_lanes_and_all_that_was_told(self) -> None:
        pending = {message.id for message in self.folding.state(outbox).pending()}
        assert pending == {model.owed.id for model in self.pending()}
        assert pending == {id for id, message in self.told.items() if message.state == "pending"}

    @invariant()
    def bodies_are_what_they_were(self) -> None:
        state = self.folding.state(outbox)
        for message in state.pending():
            assert self.said(state, message) == self.messages[message.id].body

    def said(self, state: Outbox, message: Owed) -> bytes:
        place = message.position, message.subject
        if place not in state.untold(message.subject):
            return state.body(message)
        if place in self.put_by:
            return render_told(message, self.put_by[place])
        assert self.messages[message.id].again, "what was always pending is kept, or was handed over"
        return recall(self.history, message)

    @invariant()
    def what_was_put_away_is_listed(self) -> None:
        state = self.folding.state(outbox)
        for webhook in self.subscribed:
            for kept in STATES:
                models = [m for m in self.messages.values() if (m.owed.webhook, m.state) == (webhook, kept)]
                found = {message.id for message in state.messages(webhook, kept)}
                assert found == {model.owed.id for model in models}
                assert state.count(webhook, kept) == len(models)

    @invariant()
    def where_messages_go_and_who_waits_is_as_of_now(self) -> None:
        state = self.folding.state(outbox)
        afresh = outbox.load(outbox.dump(state))
        for webhook in self.subscribed:
            assert state.destination(webhook) == afresh.destination(webhook)
            assert state.oldest(webhook) == afresh.oldest(webhook)
            assert list(state.subjects(webhook)) == [head.subject for head in state.heads(webhook)]

    def teardown(self) -> None:
        again = Fold([outbox])
        for recorded in self.history:
            again.advance(recorded)
        state = self.folding.state(outbox)
        assert outbox.dump(again.state(outbox)) == outbox.dump(state)
        assert outbox.dump(outbox.load(outbox.dump(state))) == outbox.dump(state)
        assert len(state.scenes) <= scenes.KEPT
        self.patch.undo()


TestLanes = Lanes.TestCase
TestLanes.settings = settings(deadline=None, max_examples=examples(40), stateful_step_count=25)

"""A state machine that plays a log against a list: for every log, ours or yours.

    class MyLogMachine(LogMachine):
        def open_log(self, folder: Path) -> Log:
            return MyLog(folder / "log")

    TestMyLog = MyLogMachine.TestCase

Hypothesis then appends, conflicts, ends runs, keeps snapshots, fails and opens the log anew in any order, with times
that step to and fro, and after each step the log must be the list of what was acknowledged.
"""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ..entry import Beat, Entry, recorded
from ..errors import Conflict, Fenced
from ..events import DeliverySucceeded, Event, GatewayLost, GatewayStopped
from ..log import Attempted, Log, Snapshot
from .logs import some_attempt, some_entry

RUNS = [f"run-{n}" for n in range(4)]
MESSAGES = ["m1", "m2"]


class LogMachine(RuleBasedStateMachine):
    """Whatever is done to a log, it is the list of what was acknowledged, in order."""

    durable = True
    """Whether a log that was closed can be opened again with all it held; say False for one in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="log-machine-"))
        self.drawn = 0
        self.model: list[Entry] = []
        self.ended: set[str] = set()
        self.told: dict[str, Beat] = {}
        self.tried: dict[str, list[Attempted]] = {message: [] for message in MESSAGES}
        self.kept: Snapshot | None = None

    @abstractmethod
    def open_log(self, folder: Path) -> Log:
        """Open the log in a folder, empty the first time, with all that was appended there later."""

    @initialize()
    def begin(self) -> None:
        self.log: Log = self.open_log(self.folder)

    def new(self, run: str, event: Event | None = None) -> Entry:
        self.drawn += 1
        subject = "" if self.drawn % 4 == 0 else f"CP-{self.drawn % 3}"
        return some_entry(f"e{self.drawn}", event, run=run, subject=subject, at=self.drawn * 7 % 50)

    def running(self) -> list[str]:
        return [run for run in RUNS if run not in self.ended] or [""]

    # --- what may be done --------------------------------------------------------------------------------------------

    @rule(data=st.data(), size=st.integers(1, 6), beat=st.booleans())
    def append(self, data: st.DataObject, size: int, beat: bool) -> None:
        batch = [self.new(data.draw(st.sampled_from(self.running()))) for _ in range(size)]
        word = Beat(batch[0].run, self.drawn, self.drawn / 2) if beat else None
        first = len(self.model) + 1
        assert self.log.append(batch, beat=word) == list(range(first, first + size))
        self.model += batch
        if word is not None:
            self.told[word.run] = word

    @rule(size=st.sampled_from([998, 1_003]))
    def append_many(self, size: int) -> None:
        """Cross whatever a log counts in thousands."""
        if len(self.model) < 3_000:
            self.append_all([self.new("") for _ in range(size)])

    def append_all(self, batch: list[Entry]) -> None:
        self.log.append(batch)
        self.model += batch

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def append_old_among_new(self, data: st.DataObject) -> None:
        old = data.draw(st.lists(st.sampled_from(self.model), min_size=1, max_size=4))
        fresh = [self.new(self.running()[0]) for _ in range(2)]
        batch = data.draw(st.permutations([*old, *fresh, fresh[0]]))
        in_order = [entry for n, entry in enumerate(batch) if entry not in self.model and entry not in batch[:n]]
        positions = self.log.append(batch)
        self.model += in_order
        assert positions == [self.model.index(entry) + 1 for entry in batch]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def append_a_conflict(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.model))
        with pytest.raises(Conflict):
            self.log.append([self.new(self.running()[0]), some_entry(old.id, subject="other")])

    @rule(data=st.data(), lost=st.booleans())
    def end_a_run(self, data: st.DataObject, lost: bool) -> None:
        run = data.draw(st.sampled_from(RUNS))
        if run in self.ended:
            return
        by_another = GatewayLost(run=run, alive_at=0, listened=0.0, found_by="gw")
        self.append_all([self.new("", by_another) if lost else self.new(run, GatewayStopped(listened=1.0))])
        self.ended.add(run)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def append_for_an_ended_run(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.ended)))
        with pytest.raises(Fenced):
            self.log.append([self.new(self.running()[0]), self.new(run)])

    @rule(message=st.sampled_from(MESSAGES))
    def fail_to_deliver(self, message: str) -> None:
        attempt = some_attempt(message, number=len(self.tried[message]) + 1)
        self.log.append([], attempts=[attempt])
        self.tried[message].append(attempt)

    @rule(message=st.sampled_from(MESSAGES))
    def deliver(self, message: str) -> None:
        event = DeliverySucceeded(
            message=message, webhook="w", position=1, round=0, attempts=1, status=204, attempted_at=1, latency=0.1
        )
        self.append_all([self.new("", event)])
        assert message not in self.log.attempts()

    @precondition(lambda self: self.model)
    @rule()
    def keep_a_snapshot(self) -> None:
        self.kept = Snapshot("presence", 1, len(self.model), self.model[-1].leaf, str(self.drawn).encode())
        self.log.keep_snapshots([self.kept])
        # Runs that have ended need no last word any more; whoever keeps it does no harm.
        self.told = {run: beat for run, beat in self.told.items() if run not in self.ended}

    @precondition(lambda self: self.durable)
    @rule()
    def open_again(self) -> None:
        self.log.close()
        self.log = self.open_log(self.folder)

    @rule()
    def recover(self) -> None:
        self.log.recover()

    # --- what must be true -------------------------------------------------------------------------------------------

    @invariant()
    def the_log_is_the_model(self) -> None:
        if hasattr(self, "log"):
            self.check(self.log)

    def check(self, log: Log) -> None:
        """Hold a log, or whatever reads it, against the model."""
        model = [recorded(entry, position) for position, entry in enumerate(self.model, 1)]
        assert list(log.read()) == model
        assert log.position == len(model)
        assert log.latest_at == max((entry.at for entry in model), default=0)
        assert list(log.read(subject="CP-1")) == [entry for entry in model if entry.subject == "CP-1"]
        ends = {GatewayStopped.kind, GatewayLost.kind}
        assert list(log.read(kinds=ends)) == [entry for entry in model if entry.kind in ends]
        for at in (0, 20, 49):
            assert log.position_at(at) == max((entry.position for entry in model if entry.at <= at), default=0)
        assert self.told.items() <= dict(log.beats()).items()
        for message, attempts in self.tried.items():
            assert list(log.attempts_at(message)) == attempts
        assert log.snapshot("presence") == self.kept

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
        shutil.rmtree(self.folder)

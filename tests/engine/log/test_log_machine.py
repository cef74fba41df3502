"""A model against the log on the disk: a list of entries, and the runs that have ended."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stationkeeper.engine.entry import Entry, recorded
from stationkeeper.engine.errors import Conflict, Fenced
from stationkeeper.engine.events import GatewayLost, GatewayStopped
from stationkeeper.engine.log.reading import LogReader, open_reader
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

RUNS = [f"run-{n}" for n in range(4)]


class LogMachine(RuleBasedStateMachine):
    """Whatever is done to a log, it is the list of what was acknowledged, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="log-machine-"))
        self.lives = 0
        self.drawn = 0
        self.model: list[Entry] = []
        self.ended: set[str] = set()
        self.readers: list[tuple[LogReader, int]] = []

    @initialize()
    def begin(self) -> None:
        self.path.parent.mkdir()
        self.log: SqliteLog = open_log(self.path)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}" / "fleet.db"

    def new(self, run: str, event: GatewayStopped | GatewayLost | None = None) -> Entry:
        self.drawn += 1
        return some_entry(f"e{self.drawn}", event, run=run, subject=f"CP-{self.drawn % 3}", at=self.drawn * 7 % 50)

    def running(self) -> list[str]:
        return [run for run in RUNS if run not in self.ended] or [""]

    @rule(data=st.data(), size=st.integers(1, 6))
    def append(self, data: st.DataObject, size: int) -> None:
        batch = [self.new(data.draw(st.sampled_from(self.running()))) for _ in range(size)]
        first = len(self.model) + 1
        assert self.log.append(batch) == list(range(first, first + size))
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
        end = self.new("", by_another) if lost else self.new(run, GatewayStopped(listened=1.0))
        self.log.append([end])
        self.model.append(end)
        self.ended.add(run)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def append_for_an_ended_run(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.ended)))
        with pytest.raises(Fenced):
            self.log.append([self.new(self.running()[0]), self.new(run)])

    @rule()
    def open_again(self) -> None:
        self.log.close()
        self.log = open_log(self.path)

    @rule()
    def recover(self) -> None:
        self.log.recover()

    @rule()
    def lose_the_process(self) -> None:
        """Go on with the files as they stood, without an orderly close."""
        left = self.path
        self.lives += 1
        self.path.parent.mkdir()
        for name in ("fleet.db", "fleet.db-wal"):
            if (left.parent / name).exists():
                shutil.copy(left.parent / name, self.path.parent / name)
        self.stop_reading()
        self.log.close()
        self.log = open_log(self.path)

    @rule()
    def begin_to_read(self) -> None:
        if len(self.readers) < 3:
            self.readers.append((open_reader(self.path), 0))

    @rule()
    def read_on(self) -> None:
        for n, (reader, cursor) in enumerate(self.readers):
            found = list(reader.read(cursor))
            assert found == [recorded(entry, at) for at, entry in enumerate(self.model[cursor:], cursor + 1)]
            self.readers[n] = (reader, len(self.model))

    @invariant()
    def the_log_is_the_model(self) -> None:
        if hasattr(self, "log"):
            found = list(self.log.read())
            assert found == [recorded(entry, position) for position, entry in enumerate(self.model, 1)]
            assert self.log.position == len(self.model)
            assert self.log.latest_at == max((entry.at for entry in self.model), default=0)

    def stop_reading(self) -> None:
        for reader, _ in self.readers:
            reader.close()
        self.readers.clear()

    def teardown(self) -> None:
        self.stop_reading()
        if hasattr(self, "log"):
            self.log.close()
        shutil.rmtree(self.folder)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(stateful_step_count=20)

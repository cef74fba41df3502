"""The state machine of logs, with what only a log on the disk can suffer: lost processes, and readers beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import rule

from stationkeeper.engine.entry import recorded
from stationkeeper.engine.log import Log
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.reading import LogReader, open_reader
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.log_machine import LogMachine


class MemoryLogMachine(LogMachine):
    durable = False

    def open_log(self, folder: Path) -> Log:
        return MemoryLog()


class SqliteLogMachine(LogMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lives = 0
        self.readers: list[tuple[LogReader, int]] = []

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}" / "fleet.db"

    def open_log(self, folder: Path) -> Log:
        self.path.parent.mkdir(exist_ok=True)
        return open_log(self.path)

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
            self.check(reader)
            self.readers[n] = (reader, len(self.model))

    def stop_reading(self) -> None:
        for reader, _ in self.readers:
            reader.close()
        self.readers.clear()

    def teardown(self) -> None:
        self.stop_reading()
        super().teardown()


TestMemoryLogMachine = MemoryLogMachine.TestCase
TestMemoryLogMachine.settings = settings(stateful_step_count=20)
TestSqliteLogMachine = SqliteLogMachine.TestCase
TestSqliteLogMachine.settings = settings(stateful_step_count=20)

"""Both logs keep every promise of the protocol."""

from __future__ import annotations

from pathlib import Path

from stationkeeper.engine.log import Log
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import LogConformance


class TestSqliteLog(LogConformance):
    def open_log(self, folder: Path) -> Log:
        return open_log(folder / "fleet.db")


class TestMemoryLog(LogConformance):
    durable = False

    def open_log(self, folder: Path) -> Log:
        return MemoryLog()

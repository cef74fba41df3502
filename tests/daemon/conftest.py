"""What the tests of the daemon share: a real engine over a log in memory, its registrar, and a caller of commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from calling import Call, caller

from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import outbox, presence, registry, webhooks


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """A running engine, to which no station comes."""
    async with open_engine(
        MemoryLog(), projections=[presence, registry, webhooks, outbox], inline=True, mute=True
    ) as engine:
        yield engine


@pytest.fixture
def registrar(engine: Engine) -> Registrar:
    """The registrar of that engine."""
    return Registrar(engine)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Runs commands in a folder of their own, whatever the environment sets."""
    monkeypatch.chdir(tmp_path)
    for variable in ("STATIONKEEPER_URL", "STATIONKEEPER_TOKEN", "STATIONKEEPER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return caller(monkeypatch, capsysbinary)

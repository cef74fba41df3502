"""What the tests of the daemon share: a real engine over a log in memory, and its registrar."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stationkeeper.daemon.registrar import Registrar
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

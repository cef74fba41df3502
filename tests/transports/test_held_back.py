"""Answers that are held back, as whoever decides wants it, and never past the end of a handshake's time."""

from __future__ import annotations

import pytest
import trio
from attrs import define
from trio.testing import MockClock
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

from stationkeeper.engine import open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.transports import DenseStations, Knock, Refusal, WebSocketStations, Welcome

Transport = type[WebSocketStations] | type[DenseStations]


@define
class Holding:
    """Refuses everybody, some seconds later, and says so at once, or only when asked to wait."""

    delay: float
    at_once_too: bool

    def at_once(self, knock: Knock) -> Welcome | Refusal | None:
        return self._refusal() if self.at_once_too else None

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        await trio.lowlevel.checkpoint()
        return self._refusal()

    def _refusal(self) -> Refusal:
        return Refusal(status=401, reason="wrong_credentials", delay=self.delay)


@pytest.mark.parametrize("transport", [WebSocketStations, DenseStations])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("delay", "least", "most"), [(3.0, 3.0, 4.5), (60.0, 4.5, 9.9)])
async def test_an_answer_is_held_back_as_long_as_wanted_and_comes_in_time(
    transport: Transport, at_once: bool, delay: float, least: float, most: float, patient_clock: MockClock
) -> None:
    stations = transport("127.0.0.1:0", admit=Holding(delay, at_once), handshake_timeout=10.0)
    async with open_engine(MemoryLog(), transports=[stations], inline=True) as engine:
        began = trio.current_time()
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{engine.urls[0]}/CP-7", open_timeout=None):
                pass
        waited = trio.current_time() - began

    assert refused.value.response.status_code == 401
    assert least <= waited <= most

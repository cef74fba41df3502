"""Nobody stays on what was revoked between the proof and the admission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.revocation import drop_the_revoked
from stationkeeper.engine import open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import outbox, presence, registry, webhooks
from stationkeeper.transports.admission import Knock, Refusal, Welcome
from stationkeeper.transports.memory import MemoryStations, NotLetIn

PASSWORD = b"0123456789abcdefghij"

Meanwhile = Callable[[Registrar], Awaitable[object]]


async def replace(registrar: Registrar) -> None:
    await registrar.update("CP-7", StationChanges(generate=True), actor="")


async def remove(registrar: Registrar) -> None:
    await registrar.remove("CP-7", actor="")


async def overlap(registrar: Registrar) -> None:
    await registrar.update("CP-7", StationChanges(generate=True, overlap=60), actor="")


async def causes(meanwhile: Meanwhile, *, open: bool = False) -> list[str]:
    """Let a station in for whom something changes between its proof and its admission; return why it was dropped."""
    admission = RegistryAdmission()
    registrar: Registrar

    async def admit(knock: Knock) -> Welcome | Refusal:
        answer = await admission(knock)
        await meanwhile(registrar)
        return answer

    log, stations = MemoryLog(), MemoryStations(admit=admit)
    async with open_engine(
        log, transports=[stations], projections=[presence, registry, webhooks, outbox], inline=True
    ) as engine:
        registrar = Registrar(engine)
        admission.attach(engine, registrar.credentials)
        await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: drop_the_revoked(engine, open=open))
            await trio.testing.wait_all_tasks_blocked()
            with suppress(NotLetIn):
                await stations.connect("CP-7", password=PASSWORD)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        events = [decode(recorded) for recorded in log.read(kinds={ConnectionClosed.kind})]
    return [event.cause for event in events if isinstance(event, ConnectionClosed)]


@pytest.mark.parametrize(
    ("meanwhile", "expected"), [(replace, ["credential_revoked"]), (remove, ["removed"]), (overlap, [])]
)
async def test_what_changed_meanwhile_counts(meanwhile: Meanwhile, expected: list[str]) -> None:
    assert await causes(meanwhile) == expected

"""Nobody stays on what was revoked between the proof and the admission."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.profiles import Rules
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.revocation import drop_the_revoked
from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.testing.clock import VirtualClock
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
            nursery.start_soon(lambda: drop_the_revoked(engine, open=open, rules=Rules()))
            await trio.testing.wait_all_tasks_blocked()
            with suppress(NotLetIn):
                await stations.connect("CP-7", password=PASSWORD)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        events = [decode(recorded) for recorded in log.read(kinds={ConnectionClosed.kind})]
    return [event.cause for event in events if isinstance(event, ConnectionClosed)]


async def causes_later(station: NewStation, *, asked: bool = True, registered: bool = True) -> list[str]:
    """Let a station in that proves nothing, give it a password once it stands; return why it was dropped."""
    rules = Rules(security="basic" if asked else "none")
    log, admission = MemoryLog(), RegistryAdmission(open=True, rules=rules)
    stations = MemoryStations(admit=admission)
    async with open_engine(
        log, transports=[stations], projections=[presence, registry, webhooks, outbox], inline=True
    ) as engine:
        registrar = Registrar(engine)
        admission.attach(engine, registrar.credentials)
        if registered:
            await registrar.register(station, actor="")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: drop_the_revoked(engine, open=True, rules=rules))
            await stations.connect("CP-7")
            await trio.testing.wait_all_tasks_blocked()
            if registered:
                await registrar.update("CP-7", StationChanges(name="Bay 7"), actor="")
                await trio.testing.wait_all_tasks_blocked()
                assert "CP-7" in engine.connections, "a change of something else drops nobody"
                await registrar.update("CP-7", StationChanges(password=PASSWORD), actor="")
            else:
                await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        events = [decode(recorded) for recorded in log.read(kinds={ConnectionClosed.kind})]
    return [event.cause for event in events if isinstance(event, ConnectionClosed)]


@pytest.mark.parametrize("registered", [True, False])
async def test_who_came_in_without_a_password_goes_once_the_station_has_one(registered: bool) -> None:
    station = NewStation(id="CP-7", security="none")

    assert await causes_later(station, registered=registered) == ["credential_revoked"]


async def test_where_nobody_needs_a_password_nobody_goes_for_the_lack_of_one() -> None:
    assert await causes_later(NewStation(id="CP-7", security="none"), asked=False) == []


@pytest.mark.parametrize(
    ("meanwhile", "expected"), [(replace, ["credential_revoked"]), (remove, ["removed"]), (overlap, [])]
)
async def test_what_changed_meanwhile_counts(meanwhile: Meanwhile, expected: list[str]) -> None:
    assert await causes(meanwhile) == expected


@dataclass
class Place:
    """A daemon's registry, with whoever drops those that may not stay."""

    engine: Engine
    registrar: Registrar
    stations: MemoryStations
    log: MemoryLog

    async def connect(self, password: bytes, **terms: Any) -> None:
        await self.stations.connect("CP-7", password=password, **terms)

    def causes(self) -> list[str]:
        events = [decode(recorded) for recorded in self.log.read(kinds={ConnectionClosed.kind})]
        return [event.cause for event in events if isinstance(event, ConnectionClosed)]


@asynccontextmanager
async def open_place(rules: Rules | None = None) -> AsyncIterator[Place]:
    log, rules = MemoryLog(), rules or Rules()
    admission = RegistryAdmission(rules=rules)
    stations = MemoryStations(admit=admission)
    async with open_engine(
        log,
        transports=[stations],
        projections=[presence, registry, webhooks, outbox],
        clock=VirtualClock(),
        inline=True,
    ) as engine:
        registrar = Registrar(engine)
        admission.attach(engine, registrar.credentials)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: drop_the_revoked(engine, open=False, rules=rules, enrolment=registrar))
            yield Place(engine, registrar, stations, log)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [True, False])
async def test_a_connection_ends_with_the_time_of_its_credential(before: bool, autojump_clock: MockClock) -> None:
    """Whether it stood already when the overlap began, or came within it."""
    async with open_place() as at:
        await at.registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
        if before:
            await at.connect(PASSWORD)
        await at.registrar.update("CP-7", StationChanges(generate=True, overlap=600), actor="")
        await trio.sleep(300)
        if not before:
            await at.connect(PASSWORD)
        await trio.sleep(299)
        stood = "CP-7" in at.engine.connections
        await trio.sleep(2)
        stands = "CP-7" in at.engine.connections
        with pytest.raises(NotLetIn) as refused:
            await at.connect(PASSWORD)

    assert (stood, stands) == (True, False)
    assert at.causes() == ["credential_revoked"]
    assert refused.value.reason == "wrong_credentials"


async def test_who_changed_over_within_the_overlap_stays(autojump_clock: MockClock) -> None:
    async with open_place() as at:
        await at.registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
        await at.connect(PASSWORD)
        await at.registrar.update("CP-7", StationChanges(password=PASSWORD[::-1], overlap=600), actor="")
        await trio.sleep(300)
        await at.connect(PASSWORD[::-1])
        await trio.sleep(2_000)
        stands = "CP-7" in at.engine.connections

    assert stands
    assert at.causes()[0] == "superseded"
    assert "credential_revoked" not in at.causes()


async def test_the_old_password_is_good_no_longer_once_the_new_one_is_in_use(autojump_clock: MockClock) -> None:
    async with open_place() as at:
        await at.registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
        await at.connect(PASSWORD)
        await at.registrar.update("CP-7", StationChanges(password=PASSWORD[::-1], overlap=600), actor="")
        await at.connect(PASSWORD)  # it has not heard of the change yet
        await trio.testing.wait_all_tasks_blocked()
        before = len(at.engine.state(registry)["CP-7"].record.credentials)
        await at.connect(PASSWORD[::-1])
        await trio.testing.wait_all_tasks_blocked()
        after = at.engine.state(registry)["CP-7"].record
        with pytest.raises(NotLetIn):
            await at.connect(PASSWORD)
        stands = "CP-7" in at.engine.connections
        secrets = [id for id in at.engine.secrets.ids() if id.startswith("cred_")]

    assert (before, len(after.credentials), stands) == (2, 1, True)
    assert secrets == [after.credentials[0].id]
    assert "credential_revoked" not in at.causes()


async def test_of_three_passwords_in_a_row_two_are_good(autojump_clock: MockClock) -> None:
    keys = [bytes([number]) * 20 for number in range(3)]
    async with open_place() as at:
        await at.registrar.register(NewStation(id="CP-7", password=keys[0]), actor="")
        await at.connect(keys[0])
        for key in keys[1:]:
            await at.registrar.update("CP-7", StationChanges(password=key, overlap=600), actor="")
        await trio.testing.wait_all_tasks_blocked()
        dropped = at.causes()
        for key in keys[1:]:
            await at.connect(key)
        for key in keys[:2]:
            with pytest.raises(NotLetIn):
                await at.connect(key)
            await trio.testing.wait_all_tasks_blocked()

    assert dropped == ["credential_revoked"]

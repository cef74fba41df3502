"""Who is let in: registered stations that prove who they are, and with --open anybody else."""

from __future__ import annotations

import pytest
import trio

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.engine import Engine
from stationkeeper.engine.events import PingSettings, StationRecord, StationUpdated, Validity
from stationkeeper.projections import registry
from stationkeeper.transports.admission import Knock, Refusal, Welcome

PASSWORD = b"a password of some length"


@pytest.fixture
async def admission(engine: Engine, registrar: Registrar) -> RegistryAdmission:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD.decode(), protocol="ocpp1.6"), actor="")
    return attached(engine, registrar)


def attached(engine: Engine, registrar: Registrar, *, open: bool = False, none: bool = False) -> RegistryAdmission:
    admission = RegistryAdmission(open=open, security="none" if none else "basic")
    admission.attach(engine, registrar.credentials)
    return admission


def knock(station: str = "CP-7", password: bytes | None = PASSWORD) -> Knock:
    return Knock(station=station, password=password, username_matches=password is not None)


async def test_a_station_that_proves_who_it_is_comes_in(admission: RegistryAdmission, engine: Engine) -> None:
    (credential,) = engine.state(registry)["CP-7"].record.credentials

    assert await admission(knock()) == Welcome(
        station="CP-7", protocol="ocpp1.6", security="basic", credential=credential.id
    )


@pytest.mark.parametrize("password", [None, b"", b"wrong password", PASSWORD + b"\0"])
async def test_missing_and_wrong_credentials_are_refused(admission: RegistryAdmission, password: bytes | None) -> None:
    answer = await admission(knock(password=password))

    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (401, "wrong_credentials")
    assert PASSWORD.decode() not in answer.hint


async def test_a_password_that_cannot_be_checked_in_time_is_put_off(
    admission: RegistryAdmission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeeper.daemon.registry.credentials._WAITING", 0)
    answer = await admission(knock())

    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (503, "busy")
    assert answer.retry_after


async def test_an_unknown_id_is_told_apart(admission: RegistryAdmission) -> None:
    answer = await admission(knock("CP-8"))

    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (404, "unknown_station")


async def test_open_lets_unknown_ids_in_and_registered_ones_still_prove_themselves(
    admission: RegistryAdmission, engine: Engine, registrar: Registrar
) -> None:
    open = attached(engine, registrar, open=True)

    assert await open(knock("CP-8", None)) == Welcome(station="CP-8")
    assert isinstance(await open(knock(password=None)), Refusal)


async def test_without_security_any_registered_id_comes_in(
    admission: RegistryAdmission, engine: Engine, registrar: Registrar
) -> None:
    trusting = attached(engine, registrar, none=True)

    assert isinstance(await trusting(knock(password=None)), Welcome)
    assert isinstance(await trusting(knock("CP-8", None)), Refusal)


async def test_the_old_password_is_good_for_the_overlap_and_not_longer(
    admission: RegistryAdmission, engine: Engine, registrar: Registrar
) -> None:
    await registrar.update("CP-7", StationChanges(generate=True, overlap=60), actor="")
    assert isinstance(await admission(knock()), Welcome)
    new, old = engine.state(registry)["CP-7"].record.credentials
    ended = Validity(id=old.id, not_after=engine.now())

    await engine.record(StationUpdated(credentials=(new, ended)), subject="CP-7")

    assert isinstance(await admission(knock()), Refusal)


async def test_a_credential_is_not_good_before_its_time(admission: RegistryAdmission, engine: Engine) -> None:
    (credential,) = engine.state(registry)["CP-7"].record.credentials
    later = Validity(id=credential.id, not_before=engine.now() + 60_000_000)
    await engine.record(StationUpdated(credentials=(later,)), subject="CP-7")

    answer = await admission(knock())

    assert isinstance(answer, Refusal)
    assert "valid now" in answer.hint


async def test_who_knocks_before_the_registry_is_there_waits_for_it(engine: Engine, registrar: Registrar) -> None:
    admission = RegistryAdmission(open=True)
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await admission(knock("CP-8")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        admission.attach(engine, registrar.credentials)

    assert answers == [Welcome(station="CP-8")]


async def test_a_stations_own_liveness_goes_along(engine: Engine, registrar: Registrar) -> None:
    own = PingSettings(ping_interval=0, silence=120)
    await registrar.register(NewStation(id="CP-9", security="none", liveness=own), actor="")

    answer = await attached(engine, registrar)(knock("CP-9", None))

    assert answer == Welcome(station="CP-9", liveness=own)
    assert StationRecord().security == "basic"

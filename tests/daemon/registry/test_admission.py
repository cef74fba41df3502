"""Who is let in: registered stations that prove who they are, and with --open anybody else."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve
from msgspec.structs import replace

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.profiles import Rules
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
    admission = RegistryAdmission(open=open, rules=Rules(security="none" if none else "basic"))
    admission.attach(engine, registrar.credentials)
    return admission


def knock(station: str = "CP-7", password: bytes | None = PASSWORD) -> Knock:
    return Knock(station=station, password=password, username_matches=password is not None)


def told(refusal: Refusal) -> str:
    """Return a refusal's hint, as the log would have it."""
    return refusal.hint if isinstance(refusal.hint, str) else refusal.hint()


async def test_a_station_that_proves_who_it_is_comes_in(admission: RegistryAdmission, engine: Engine) -> None:
    (credential,) = engine.state(registry)["CP-7"].record.credentials

    assert await admission(knock()) == Welcome(
        station="CP-7", protocol="ocpp1.6", security="basic", credential=credential.id
    )


@pytest.mark.parametrize("password", [b"", b"wrong password", PASSWORD + b"\0"])
async def test_wrong_credentials_are_refused(admission: RegistryAdmission, password: bytes) -> None:
    answer = await admission(knock(password=password))

    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (401, "wrong_credentials")
    assert PASSWORD.decode() not in told(answer)


async def test_missing_credentials_are_told_apart(admission: RegistryAdmission) -> None:
    answer = admission.at_once(knock(password=None))

    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (401, "no_credentials")


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
    assert "valid now" in told(answer)


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


# --- at once ----------------------------------------------------------------------------------------------------------


async def test_all_but_a_password_that_must_be_stretched_is_decided_at_once(
    admission: RegistryAdmission, engine: Engine, registrar: Registrar
) -> None:
    made = await registrar.register(NewStation(id="CP-9", generate=True), actor="")
    assert made.password is not None
    await registrar.register(NewStation(id="CP-10", security="none"), actor="")

    assert RegistryAdmission().at_once(knock()) is None
    assert admission.at_once(knock()) is None
    assert isinstance(admission.at_once(knock("CP-9", made.password.encode())), Welcome)
    assert isinstance(admission.at_once(knock("CP-9", b"wrong")), Refusal)
    assert isinstance(admission.at_once(knock("CP-10", None)), Welcome)
    assert isinstance(admission.at_once(knock("CP-11")), Refusal)
    assert isinstance(await admission(knock()), Welcome)
    assert isinstance(admission.at_once(knock()), Welcome), "it is remembered"


async def test_guesses_are_put_off_and_then_told_to_come_later_and_the_right_key_comes_in(
    admission: RegistryAdmission, registrar: Registrar
) -> None:
    made = await registrar.register(NewStation(id="CP-9", generate=True), actor="")
    assert made.password is not None
    answers = [admission.at_once(knock("CP-9", b"guess number %d" % number)) for number in range(50)]
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]

    assert len(refusals) == len(answers)
    assert (refusals[0].status, refusals[0].reason) == (401, "wrong_credentials")
    assert refusals[0].delay > 0
    assert (refusals[-1].status, refusals[-1].reason) == (429, "too_often")
    assert refusals[-1].retry_after
    assert isinstance(admission.at_once(knock("CP-9", made.password.encode())), Welcome)


# --- user names and near misses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "words"),
    [
        (b"", "is empty"),
        (b"cp-9", "other capitals"),
        (b"CP-9 ", "white space"),
        (b"SN-9", "serial number"),
        (b"\xff\xfe", "is another"),
        (b"open sesame", "is another"),
    ],
)
async def test_another_user_name_is_refused_and_never_repeated_unless_it_is_forgiven(
    admission: RegistryAdmission, registrar: Registrar, username: bytes, words: str
) -> None:
    made = await registrar.register(NewStation(id="CP-9", generate=True, serial="SN-9", security="basic"), actor="")
    assert made.password is not None
    other = Knock(station="CP-9", username=username, password=made.password.encode())
    refused = admission.at_once(other)
    await registrar.update("CP-9", StationChanges(lenient=("username",)), actor="")
    forgiven = admission.at_once(other)
    wrong = admission.at_once(replace(other, password=b"wrong"))

    assert isinstance(refused, Refusal)
    assert (refused.status, refused.reason) == (401, "wrong_credentials")
    assert words in told(refused)
    assert "the password is right" in told(refused)
    assert "sesame" not in told(refused)
    assert isinstance(forgiven, Welcome)
    assert forgiven.lenient == ("username",)
    assert isinstance(wrong, Refusal)


async def test_what_is_nearly_right_is_told_and_still_refused(
    admission: RegistryAdmission, registrar: Registrar
) -> None:
    made = await registrar.register(NewStation(id="CP-9", generate=True), actor="")
    assert made.password is not None
    answer = admission.at_once(knock("CP-9", b"'%b'" % made.password.encode()))

    assert isinstance(answer, Refusal)
    assert "quotation marks" in told(answer)
    assert made.password not in told(answer)


async def test_an_old_password_whose_time_is_over_is_told_as_such(
    admission: RegistryAdmission, engine: Engine, registrar: Registrar
) -> None:
    made = await registrar.register(NewStation(id="CP-9", generate=True), actor="")
    assert made.password is not None
    await registrar.update("CP-9", StationChanges(generate=True, overlap=60), actor="")
    new, old = engine.state(registry)["CP-9"].record.credentials
    await engine.record(StationUpdated(credentials=(new, evolve(old, not_after=engine.now()))), subject="CP-9")
    answer = admission.at_once(knock("CP-9", made.password.encode()))

    assert isinstance(answer, Refusal)
    assert "an old one" in told(answer)

"""The registrar: what it refuses, in which order it keeps things, and what it forgets."""

from __future__ import annotations

from traceback import format_exception
from typing import Any

import pytest
import trio

from stationkeeper.daemon.registry.errors import AlreadyThere, Invalid, NotFound, StillPending
from stationkeeper.daemon.registry.profiles import Rules
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.signing import read_secret
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, UrlPolicy, WebhookChanges
from stationkeeper.engine import Engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import (
    DeliverySucceeded,
    PingSettings,
    StationRegistered,
    StationUpdated,
    Validity,
    WebhookAdded,
    WebhookUpdated,
)
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.run import open_engine
from stationkeeper.projections import outbox, presence, registry, webhooks

HOOK = "https://example.com/hook"
PASSWORD = "a password of some length"


def newest(engine: Engine) -> Recorded:
    return list(engine.log.read())[-1]


# --- stations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (NewStation(id="CP-9", security="mtls", serial="CP-7"), "serial: 'CP-7' is the id of another station"),
        (NewStation(id="CP-9", security="mtls", serial="S-7"), "serial: 'S-7' is the serial of station 'CP-7'"),
        (NewStation(id="S-7", security="mtls"), "id: 'S-7' is the serial of station 'CP-7'"),
    ],
)
async def test_one_certificate_is_good_for_one_station(registrar: Registrar, new: NewStation, told: str) -> None:
    await registrar.register(NewStation(id="CP-7", security="mtls", serial="S-7"), actor="a")
    with pytest.raises(Invalid) as caught:
        await registrar.register(new, actor="a")

    assert told in str(caught.value)


@pytest.mark.parametrize("serial", ["CP-7", "S-7"])
async def test_a_serial_that_is_anothers_is_not_taken_by_an_update_and_free_once_that_is_gone(
    registrar: Registrar, serial: str
) -> None:
    await registrar.register(NewStation(id="CP-7", security="mtls", serial="S-7"), actor="a")
    await registrar.register(NewStation(id="CP-8", security="mtls"), actor="a")
    with pytest.raises(Invalid, match="CP-7"):
        await registrar.update("CP-8", StationChanges(serial=serial), actor="a")
    await registrar.update("CP-7", StationChanges(serial="CP-7"), actor="a")  # its own id
    await registrar.remove("CP-7", actor="a")

    await registrar.update("CP-8", StationChanges(serial=serial), actor="a")


async def test_a_change_that_changes_nothing_is_not_recorded(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD, name="Bay 7"), actor="a")
    before = engine.position
    made = await registrar.update("CP-7", StationChanges(name="Bay 7", security="basic"), actor="a")

    assert (made.position, engine.position) == (before, before)


async def test_an_overlap_takes_a_new_password(registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="a")
    with pytest.raises(Invalid, match="overlap: it goes with a new password"):
        await registrar.update("CP-7", StationChanges(name="Bay 7", overlap=60), actor="a")


async def test_a_password_that_would_never_be_taken_is_not_handed_out(engine: Engine) -> None:
    registrar = Registrar(engine, rules=Rules(security="mtls"))
    with pytest.raises(Invalid, match="profile 1 or 2"):
        await registrar.register(NewStation(id="CP-7", generate=True), actor="a")
    await registrar.register(NewStation(id="CP-7", generate=True, profile=2), actor="a")
    with pytest.raises(Invalid, match="profile 1 or 2"):
        await registrar.update("CP-7", StationChanges(generate=True, profile=None), actor="a")

    assert (await registrar.update("CP-7", StationChanges(generate=True), actor="a")).password


async def test_a_station_is_registered_with_all_that_was_said(engine: Engine, registrar: Registrar) -> None:
    new = NewStation(
        id="CP-7",
        password=PASSWORD,
        protocol="ocpp1.6",
        name="Bay 7",
        site="Car park",
        liveness=PingSettings(silence=60),
    )
    made = await registrar.register(new, actor="admin-1")
    recorded = newest(engine)
    event = decode(recorded)

    assert made.password is None
    assert (recorded.position, recorded.subject, recorded.actor) == (made.position, "CP-7", "admin-1")
    assert isinstance(event, StationRegistered)
    assert (event.protocol, event.security, event.name, event.site) == ("ocpp1.6", "basic", "Bay 7", "Car park")
    assert event.liveness == PingSettings(silence=60)
    assert await registrar.credentials.matches(event.credentials[0].id, PASSWORD.encode())


async def test_a_generated_key_is_handed_out_once_in_hex_and_matches(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.register(NewStation(id="CP-7", generate=True), actor="")
    credential = engine.state(registry)["CP-7"].record.credentials[0].id

    assert made.password is not None
    assert len(made.password) == 40
    assert await registrar.credentials.matches(credential, bytes.fromhex(made.password))


async def test_an_id_is_registered_once_also_by_two_at_once(registrar: Registrar) -> None:
    outcomes: list[str] = []

    async def register() -> None:
        try:
            await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
            outcomes.append("registered")
        except AlreadyThere:
            outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(register)
        nursery.start_soon(register)

    assert sorted(outcomes) == ["refused", "registered"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": " a"}, "id"),
        ({"id": "a:b", "protocol": "ocpp2.0.1"}, "id"),
        ({"id": "x" * 49, "protocol": "ocpp2.1"}, "id"),
        ({"protocol": "ocpp1.5"}, "protocol"),
        ({"security": "mtls"}, "security"),
        ({"security": "tls"}, "security"),
        ({"profile": 0}, "profile"),
        ({"profile": True}, "profile"),
        ({"profile": 3, "security": "basic"}, "profile"),
        ({"profile": 3}, "security"),
        ({"profile": 2, "password": None, "security": "mtls"}, "profile"),
        ({"profile": 1, "password": None, "security": "none"}, "profile"),
        ({"serial": ""}, "serial"),
        ({"serial": "SN 8 "}, "serial"),
        ({"serial": "x" * 256}, "serial"),
        ({"lenient": ("user",)}, "lenient"),
        ({"lenient": ("username", "username")}, "lenient"),
        ({"lenient": ("subprotocol",)}, "lenient"),
        ({"security": "none"}, "security"),
        ({"password": None}, "password"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 256}, "password"),
        ({"generate": True}, "password"),
        ({"name": "a\x1b[2J"}, "name"),
        ({"liveness": PingSettings(ping_interval=-1)}, "liveness.ping_interval"),
        ({"liveness": PingSettings(ping_interval=1e-9)}, "liveness.ping_interval"),
        ({"liveness": PingSettings(ping_timeout=0)}, "liveness.ping_timeout"),
        ({"liveness": PingSettings(ping_timeout=0.9)}, "liveness.ping_timeout"),
        ({"liveness": PingSettings(silence=0.9)}, "liveness.silence"),
    ],
)
async def test_a_field_that_cannot_be_is_refused_by_name(
    engine: Engine, registrar: Registrar, fields: dict[str, Any], field: str
) -> None:
    before = engine.position
    with pytest.raises(Invalid) as caught:
        await registrar.register(NewStation(**{"id": "CP-7", "password": PASSWORD, **fields}), actor="")

    assert caught.value.field == field
    assert (engine.position, engine.secrets.ids()) == (before, frozenset())


@pytest.mark.parametrize("id", ["AL1000", "RDAM 123", "RDAM|123", "a:b", "ä/ö", "x" * 255])
async def test_ids_that_stations_have_are_taken(registrar: Registrar, id: str) -> None:
    made = await registrar.register(NewStation(id=id, generate=True), actor="")

    assert made.id == id


async def test_half_a_character_in_a_password_is_refused_and_nothing_of_it_is_shown(registrar: Registrar) -> None:
    password = "canary\ud800canary"
    with pytest.raises(Invalid) as first:
        await registrar.register(NewStation(id="CP-7", password=password), actor="")
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    with pytest.raises(Invalid) as second:
        await registrar.update("CP-7", StationChanges(password=password), actor="")

    for caught in (first, second):
        assert caught.value.field == "password"
        told = "".join(format_exception(caught.value, limit=0))
        assert "canary" not in told
        assert "d800" not in told


@pytest.mark.parametrize("interval", [0, 1])
async def test_a_station_may_be_pinged_never_or_each_second(registrar: Registrar, interval: float) -> None:
    liveness = PingSettings(ping_interval=interval, ping_timeout=1, silence=1)

    await registrar.register(NewStation(id="CP-7", generate=True, liveness=liveness), actor="")


async def test_a_new_password_ends_the_old_one(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    (old,) = engine.state(registry)["CP-7"].record.credentials
    made = await registrar.update("CP-7", StationChanges(generate=True), actor="")
    (new,) = engine.state(registry)["CP-7"].record.credentials

    assert made.password is not None
    assert await registrar.credentials.matches(new.id, bytes.fromhex(made.password))
    assert engine.secrets.get(old.id) is None


async def test_with_an_overlap_two_passwords_are_good_and_never_three(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    for _ in range(2):
        await registrar.update("CP-7", StationChanges(generate=True, overlap=60), actor="")
    before = engine.state(registry)["CP-7"].record.credentials[0]
    await registrar.update("CP-7", StationChanges(generate=True, overlap=60), actor="")
    new, old = engine.state(registry)["CP-7"].record.credentials

    assert old.id == before.id
    assert new.not_after is None
    assert old.not_after is not None
    assert 59_000_000 < old.not_after - engine.now() <= 60_000_000
    assert engine.secrets.ids() >= {new.id, old.id}
    assert len([id for id in engine.secrets.ids() if id.startswith("cred_")]) == 2


async def test_an_overlap_prolongs_nothing(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    (credential,) = engine.state(registry)["CP-7"].record.credentials
    ends = engine.now() + 1_000_000
    await engine.record(StationUpdated(credentials=(Validity(id=credential.id, not_after=ends),)), subject="CP-7")
    await registrar.update("CP-7", StationChanges(generate=True, overlap=60), actor="")

    assert engine.state(registry)["CP-7"].record.credentials[1].not_after == ends


async def test_what_a_change_leaves_out_stays(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD, name="Bay 7", protocol="ocpp1.6"), actor="")
    before = engine.state(registry)["CP-7"].record
    await registrar.update("CP-7", StationChanges(site="Car park", protocol=None), actor="")
    event = decode(newest(engine))

    assert isinstance(event, StationUpdated)
    assert (event.name, event.site, event.protocol) == ("Bay 7", "Car park", None)
    assert event.credentials == before.credentials


async def test_security_and_password_agree_after_any_change(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", security="none"), actor="")
    with pytest.raises(Invalid, match="password"):
        await registrar.update("CP-7", StationChanges(security="basic"), actor="")
    await registrar.update("CP-7", StationChanges(password=PASSWORD), actor="")
    assert engine.state(registry)["CP-7"].record.security == "basic"
    with pytest.raises(Invalid, match="security"):
        await registrar.update("CP-7", StationChanges(security="none", generate=True), actor="")

    await registrar.update("CP-7", StationChanges(security="none"), actor="")

    assert engine.state(registry)["CP-7"].record.credentials == ()
    assert not [id for id in engine.secrets.ids() if id.startswith("cred_")]


async def test_the_old_password_ends_when_the_new_one_is_in_use_and_by_no_other_sign(
    engine: Engine, registrar: Registrar
) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    (only,) = engine.state(registry)["CP-7"].record.credentials
    alone = await registrar.settle_on("CP-7", only.id, actor="")
    await registrar.update("CP-7", StationChanges(generate=True, overlap=60, name="Bay 7"), actor="")
    new, old = engine.state(registry)["CP-7"].record.credentials
    by_old = await registrar.settle_on("CP-7", old.id, actor="")
    of_nobody = await registrar.settle_on("CP-8", new.id, actor="")
    by_new = await registrar.settle_on("CP-7", new.id, actor="")
    record = engine.state(registry)["CP-7"].record

    assert (alone, by_old, of_nobody, by_new) == (None, None, None, engine.position)
    assert (record.credentials, record.name) == ((new,), "Bay 7")
    assert not await registrar.credentials.matches(old.id, PASSWORD.encode())


async def test_profile_and_security_agree_after_any_change(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", profile=3, serial="SN-7", lenient=("origin",)), actor="")
    first = engine.state(registry)["CP-7"].record
    with pytest.raises(Invalid, match="password"):
        await registrar.update("CP-7", StationChanges(profile=2), actor="")
    with pytest.raises(Invalid, match="profile"):
        await registrar.update("CP-7", StationChanges(security="mtls", profile=1), actor="")
    with pytest.raises(Invalid, match="profile"):
        await registrar.update("CP-7", StationChanges(profile=4), actor="")
    await registrar.update("CP-7", StationChanges(profile=2, generate=True), actor="")
    second = engine.state(registry)["CP-7"].record
    await registrar.update("CP-7", StationChanges(profile=3), actor="")
    third = engine.state(registry)["CP-7"].record
    await registrar.update("CP-7", StationChanges(security="none", serial=None, lenient=()), actor="")
    last = engine.state(registry)["CP-7"].record

    assert (first.security, first.profile, first.serial, first.lenient) == ("mtls", 3, "SN-7", ("origin",))
    assert (second.security, second.profile, len(second.credentials), second.serial) == ("basic", 2, 1, "SN-7")
    assert (third.security, third.profile, third.credentials, third.lenient) == ("mtls", 3, (), ("origin",))
    assert (last.security, last.profile, last.serial, last.lenient) == ("none", None, None, ())


async def test_what_can_be_forgiven_is_judged_together_with_what_is_there(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    with pytest.raises(Invalid, match="protocol"):
        await registrar.update("CP-7", StationChanges(lenient=("subprotocol",)), actor="")
    await registrar.update("CP-7", StationChanges(lenient=("subprotocol",), protocol="ocpp1.6"), actor="")
    with pytest.raises(Invalid, match="protocol"):
        await registrar.update("CP-7", StationChanges(protocol=None), actor="")

    assert engine.state(registry)["CP-7"].record.lenient == ("subprotocol",)


async def test_a_removed_station_leaves_no_password_behind(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", password=PASSWORD), actor="")
    await registrar.remove("CP-7", actor="")

    assert "CP-7" not in engine.state(registry)
    assert not [id for id in engine.secrets.ids() if id.startswith("cred_")]
    with pytest.raises(NotFound):
        await registrar.remove("CP-7", actor="")


async def test_the_secret_is_kept_before_the_event_that_names_it() -> None:
    log = MemoryLog(fault=lambda entries: "lost" if entries and entries[0].kind == "station.registered" else None)
    async with open_engine(log, projections=[presence, registry, webhooks, outbox], inline=True) as engine:
        registrar = Registrar(engine)
        with pytest.raises(LogUnavailable):
            await registrar.register(NewStation(id="CP-7", generate=True), actor="")
        left = [id for id in engine.secrets.ids() if id.startswith("cred_")]
        assert len(left) == 1
        engine.hurry()

        assert await registrar.sweep(engine.secrets.ids()) == 1
        assert engine.secrets.get(left[0]) is None


async def test_a_sweep_leaves_what_is_named(engine: Engine, registrar: Registrar) -> None:
    await registrar.register(NewStation(id="CP-7", generate=True), actor="")
    await registrar.subscribe(NewWebhook(url=HOOK), actor="")
    before = engine.secrets.ids()

    assert await registrar.sweep(before) == 0
    assert engine.secrets.ids() == before


async def test_what_a_webhook_has_in_the_vault_is_there_before_the_event_and_until_after_it() -> None:
    lost: set[str] = set()
    log = MemoryLog(fault=lambda entries: "lost" if entries and entries[0].kind in lost else None)
    async with open_engine(log, projections=[presence, registry, webhooks, outbox], inline=True) as engine:
        registrar = Registrar(engine)
        new = NewWebhook(url=HOOK, signatures=("v1", "v1a"), headers={"X-A": "one", "X-B": "two"})
        made = await registrar.subscribe(new, actor="")
        before = engine.secrets.ids()
        lost.add("webhook.updated")
        with pytest.raises(LogUnavailable):
            await registrar.update_webhook(made.id, WebhookChanges(headers={"X-A": "three", "X-B": None}), actor="")
        orphans = engine.secrets.ids() - before
        assert (len(before), len(orphans)) == (4, 1)
        assert registrar.webhook_secrets_named() == before, "the record stands, and what it names is there"
        engine.hurry()

        assert await registrar.sweep(engine.secrets.ids()) == 1
        assert engine.secrets.ids() == before


# --- webhooks --------------------------------------------------------------------------------------------------------


async def test_a_subscription_gets_an_id_and_a_secret(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK, stations=("CP-1*",), initial="state"), actor="admin-1")
    event = decode(newest(engine))

    assert isinstance(event, WebhookAdded)
    assert (event.url, event.stations, event.initial) == (HOOK, ("CP-1*",), "state")
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    assert registrar.has_secret(made.id, made.secret)
    assert made.secret.encode() not in newest(engine).body


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"url": "http://example.com"}, "url", "allow_http"),
        ({"url": "ftp://example.com"}, "url", "https"),
        ({"url": "https://example.com:9999"}, "url", "port 9999"),
        ({"url": "https://"}, "url", "it must be https"),
        ({"url": "https://exa mple.com"}, "url", "it holds a space"),
        ({"url": "https://me:secret@example.com"}, "url", "leave out"),
        ({"url": "https://127.0.0.1/x"}, "url", "allow_private_networks"),
        ({"url": "https://localhost/x"}, "url", "allow_private_networks"),
        ({"url": "https://[::1]/x"}, "url", "allow_private_networks"),
        ({"url": "https://10.1.2.3/x"}, "url", "allow_private_networks"),
        ({"events": ()}, "events", "at least one"),
        ({"events": ("chargestation.offlin",)}, "events", "did you mean chargestation.offline?"),
        ({"stations": ()}, "stations", "at least one"),
        ({"secret": "whsec_short"}, "secret", "24 to 64"),
        ({"secret": "x" * 44}, "secret", "24 to 64"),
    ],
)
async def test_a_subscription_that_cannot_be_is_refused_by_name(
    registrar: Registrar, fields: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(Invalid, match=told) as caught:
        await registrar.subscribe(NewWebhook(**{"url": HOOK, **fields}), actor="")

    assert caught.value.field == field


async def test_a_policy_lets_http_and_private_networks_in(engine: Engine) -> None:
    registrar = Registrar(engine, policy=UrlPolicy(allow_http=True, allow_private_networks=True))

    assert await registrar.subscribe(NewWebhook(url="http://127.0.0.1:9999/hook"), actor="")


async def test_during_rotations_older_secrets_sign_on(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK), actor="")
    second = await registrar.rotate_secret(made.id, actor="")
    third = await registrar.rotate_secret(made.id, actor="")
    record = registrar.webhook_record(made.id)

    assert len(record.secrets) == 3
    assert second.secret is not None
    assert third.secret is not None
    assert registrar.has_secret(made.id, third.secret)
    assert not registrar.has_secret(made.id, second.secret)
    assert made.secret is not None
    assert [engine.secrets.get(id) for id in record.secrets] == [
        read_secret(each) for each in (third.secret, second.secret, made.secret)
    ]
    assert len([id for id in engine.secrets.ids() if id.startswith("sign_")]) == 3


async def test_a_leaked_secret_signs_no_more(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK), actor="")
    await registrar.rotate_secret(made.id, actor="", overlap=0)

    assert len(registrar.webhook_record(made.id).secrets) == 1
    assert len([id for id in engine.secrets.ids() if id.startswith("sign_")]) == 1


async def test_a_webhook_is_mended_paused_tested_enabled_and_removed(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK, name="mine"), actor="")
    await registrar.update_webhook(made.id, WebhookChanges(url=HOOK + "/new"), actor="")
    event = decode(newest(engine))
    assert isinstance(event, WebhookUpdated)
    assert (event.url, event.name) == (HOOK + "/new", "mine")

    kinds: list[str] = []
    for ask in (registrar.pause, registrar.test, registrar.enable, registrar.remove_webhook):
        await ask(made.id, actor="")
        kinds.append(newest(engine).kind)

    assert kinds == ["webhook.paused", "webhook.tested", "webhook.enabled", "webhook.removed"]
    assert not [id for id in engine.secrets.ids() if id.startswith("sign_")]
    with pytest.raises(NotFound):
        await registrar.pause(made.id, actor="")


@pytest.mark.parametrize(("since", "until"), [(0, None), (99, None), (5, 2)])
async def test_a_recovery_of_nothing_is_refused(registrar: Registrar, since: int, until: int | None) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK), actor="")

    with pytest.raises(Invalid, match="since"):
        await registrar.recover(made.id, since=since, until=until, actor="")


async def test_only_a_settled_message_can_be_asked_for_again(engine: Engine, registrar: Registrar) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK), actor="")
    await registrar.test(made.id, actor="")
    (owed,) = engine.state(outbox).messages(made.id)
    with pytest.raises(StillPending):
        await registrar.redeliver(owed.id, actor="")
    await settle(engine, owed.id, made.id, owed.position)

    await registrar.redeliver(owed.id, actor="")

    (again,) = engine.state(outbox).messages(made.id)
    assert (again.id, again.round) == (owed.id, 1)


async def test_a_message_that_the_outbox_forgot_is_found_in_the_log(
    engine: Engine, registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK), actor="")
    await registrar.test(made.id, actor="")
    (owed,) = engine.state(outbox).messages(made.id)
    await settle(engine, owed.id, made.id, owed.position)
    box = engine.state(outbox).boxes[made.id]
    box._delivered.clear()  # as after a hundred younger ones

    await registrar.redeliver(owed.id, actor="")

    (again,) = engine.state(outbox).messages(made.id)
    assert (again.id, again.type, again.round) == (owed.id, "webhook.ping", 1)
    with pytest.raises(NotFound):
        await registrar.redeliver("msg_" + "A" * 26, actor="")


async def settle(engine: Engine, message: str, webhook: str, position: int) -> None:
    await engine.record(
        DeliverySucceeded(
            message=message, webhook=webhook, position=position, round=0, attempts=1, status=200,
            attempted_at=engine.now(), latency=0.1,
        )
    )  # fmt: skip

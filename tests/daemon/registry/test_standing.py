"""Webhooks of the configuration: only differences become events, and those of the API are never touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import evolve

from stationkeeper.daemon.configuration.webhooks import WebhookSection
from stationkeeper.daemon.registry.errors import InConfiguration
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.signing import write_secret
from stationkeeper.daemon.registry.standing import ACTOR, ID_PREFIX, bring_into_line, read_standing
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, UrlPolicy, WebhookChanges
from stationkeeper.engine import Engine
from stationkeeper.engine.errors import WrongSetting
from stationkeeper.projections import webhooks

HOOK = "https://example.com/hook"


def section(folder: Path, name: str = "mine", **more: Any) -> WebhookSection:
    return evolve(WebhookSection(name=name, url=HOOK, secret_file=folder / f"{name}.secret"), **more)


async def settle(engine: Engine, registrar: Registrar, *sections: WebhookSection) -> list[str]:
    """Bring the log into line; return the kinds of the events that it took."""
    before = engine.position
    await bring_into_line(engine, registrar, read_standing(sections, UrlPolicy()))
    return [recorded.kind for recorded in engine.log.read(before)]


async def test_the_same_configuration_takes_no_event(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    mine, yours = section(tmp_path), section(tmp_path, "yours", events=("chargestation.offline",))

    assert await settle(engine, registrar, mine, yours) == ["webhook.added"] * 2
    assert await settle(engine, registrar, yours, mine) == []


async def test_a_difference_takes_one_event(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    mine = section(tmp_path)
    await settle(engine, registrar, mine)

    assert await settle(engine, registrar, evolve(mine, url=HOOK + "/new")) == ["webhook.updated"]
    assert await settle(engine, registrar, evolve(mine, url=HOOK + "/new", stations=("CP-1*",))) == ["webhook.updated"]
    (webhook,) = engine.state(webhooks).values()
    assert (webhook.record.url, webhook.record.stations) == (HOOK + "/new", ("CP-1*",))


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Every option that a webhook of the configuration may have, with the files that they name."""
    ca = trustme.CA()
    ca.issue_cert("ours.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text("Bearer canary-5f1c\n")
    return {
        "events": ("chargestation.offline.confirmed",), "stations": ("CP-1*",), "sites": ("N*",), "initial": "state",
        "mode": "latest", "format": "cloudevents", "signatures": ("v1", "v1a"),
        "header_files": {"X-B": tmp_path / "token", "Authorization": tmp_path / "token"},
        "client_certificate": tmp_path / "ours.pem", "authorities": tmp_path / "ca.pem", "rate": 2.5, "concurrency": 3,
    }  # fmt: skip


async def test_every_option_reaches_the_log_and_takes_no_event_again(
    engine: Engine, registrar: Registrar, tmp_path: Path, options: dict[str, Any]
) -> None:
    mine = section(tmp_path, **options)
    assert await settle(engine, registrar, mine) == ["webhook.added"]
    assert await settle(engine, registrar, mine) == []
    assert await settle(engine, registrar, evolve(mine, header_files=dict(reversed(mine.header_files.items())))) == []

    (webhook,) = engine.state(webhooks).values()
    record = webhook.record
    plain = ("events", "stations", "sites", "initial", "mode", "format", "rate", "concurrency")
    assert {name: getattr(record, name) for name in plain} == {name: options[name] for name in plain}
    assert {name: engine.secrets.get(id) for name, id in record.headers} == dict.fromkeys(
        ("Authorization", "X-B"), b"Bearer canary-5f1c"
    )
    assert (len(record.secrets), len(record.keys)) == (1, 1)
    assert (engine.secrets.get(record.identity) or b"").startswith(b"-----BEGIN")
    assert b"canary" not in list(engine.log.read())[-1].body


@pytest.mark.parametrize(
    "change",
    [
        {"sites": ("*",)}, {"mode": "every"}, {"format": "standard"}, {"signatures": ("v1",)}, {"rate": None},
        {"concurrency": None}, {"client_certificate": None}, {"authorities": None}, {"header_files": {}},
    ],
    ids=str,
)  # fmt: skip
async def test_each_option_that_differs_takes_one_event_and_what_it_replaced_is_forgotten(
    engine: Engine, registrar: Registrar, tmp_path: Path, options: dict[str, Any], change: dict[str, Any]
) -> None:
    mine = section(tmp_path, **options)
    await settle(engine, registrar, mine)

    assert await settle(engine, registrar, evolve(mine, **change)) == ["webhook.updated"]
    assert await settle(engine, registrar, evolve(mine, **change)) == []
    assert engine.secrets.ids() == registrar.webhook_secrets_named()


async def test_another_value_in_a_headers_file_is_taken_up(
    engine: Engine, registrar: Registrar, tmp_path: Path, options: dict[str, Any]
) -> None:
    mine = section(tmp_path, **options)
    await settle(engine, registrar, mine)
    (tmp_path / "token").write_text("Bearer other")

    assert await settle(engine, registrar, mine) == ["webhook.updated"]
    assert engine.secrets.ids() == registrar.webhook_secrets_named()


async def test_one_that_signs_with_keys_alone_has_no_secret_until_it_is_asked_for(
    engine: Engine, registrar: Registrar, tmp_path: Path
) -> None:
    mine = section(tmp_path, signatures=("v1a",), secret_file=None)
    await settle(engine, registrar, mine)
    (id,) = engine.state(webhooks)
    assert registrar.webhook_record(id).secrets == ()

    both = section(tmp_path, signatures=("v1", "v1a"))
    assert await settle(engine, registrar, both) == ["webhook.updated"], "with the file's secret at once"
    assert both.secret_file is not None
    assert registrar.has_secret(id, both.secret_file.read_text().strip())


async def test_a_new_secret_is_taken_up(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    mine = section(tmp_path)
    await settle(engine, registrar, mine)
    assert mine.secret_file is not None
    mine.secret_file.unlink()

    assert await settle(engine, registrar, mine) == ["webhook.updated"]
    (id,) = engine.state(webhooks)
    assert registrar.has_secret(id, mine.secret_file.read_text().strip())


async def test_a_new_secret_leaves_the_key_what_it_is(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    mine = section(tmp_path, signatures=("v1", "v1a"))
    await settle(engine, registrar, mine)
    (id,) = engine.state(webhooks)
    before = registrar.webhook_record(id)
    assert mine.secret_file is not None
    mine.secret_file.unlink()

    await settle(engine, registrar, mine)

    now = registrar.webhook_record(id)
    assert (now.secrets[1:], now.keys) == (before.secrets, before.keys)
    assert now.retired_at is not None


async def test_a_secret_that_stands_in_a_file_is_changed_there_alone(
    engine: Engine, registrar: Registrar, tmp_path: Path
) -> None:
    """The next start would bring it back."""
    mine = section(tmp_path, signatures=("v1", "v1a"))
    await settle(engine, registrar, mine)
    (id,) = engine.state(webhooks)
    before = registrar.webhook_record(id)

    for secret in (None, write_secret(b"x" * 32)):
        with pytest.raises(InConfiguration, match=r"secret_file of \[\[webhook\]\] 'mine'; change it there"):
            await registrar.rotate_secret(id, actor="admin-1", secret=secret)
    assert registrar.webhook_record(id) == before
    assert await settle(engine, registrar, mine) == []


async def test_what_stands_in_the_configuration_is_changed_and_removed_there_alone(
    engine: Engine, registrar: Registrar, tmp_path: Path
) -> None:
    """Else the next start would take it back without a word, and cancel what was owed."""
    mine = section(tmp_path)
    await settle(engine, registrar, mine)
    (id,) = engine.state(webhooks)
    before = registrar.webhook_record(id)

    told = "stands in the configuration as 'mine'; change it there, and restart"
    with pytest.raises(InConfiguration, match=told):
        await registrar.update_webhook(id, WebhookChanges(name="other"), actor=ACTOR)
    with pytest.raises(InConfiguration, match=told):
        await registrar.remove_webhook(id, actor=ACTOR)
    assert registrar.webhook_record(id) == before
    for ask in (registrar.pause, registrar.enable, registrar.test):
        await ask(id, actor="admin-1")


async def test_what_the_next_start_leaves_as_it_is_may_be_rotated(
    engine: Engine, registrar: Registrar, tmp_path: Path
) -> None:
    """To the file's own secret, which ends the older ones where one leaked; and a key, which stands in no file."""
    mine, keyed = section(tmp_path), section(tmp_path, "keyed", signatures=("v1a",), secret_file=None)
    await settle(engine, registrar, mine, keyed)
    ids = {hook.record.name: id for id, hook in engine.state(webhooks).items()}
    assert mine.secret_file is not None
    mine.secret_file.unlink()
    await settle(engine, registrar, mine, keyed)
    assert len(registrar.webhook_record(ids["mine"]).secrets) == 2

    await registrar.rotate_secret(ids["mine"], actor="a", secret=mine.secret_file.read_text().strip(), overlap=0)
    await registrar.rotate_secret(ids["keyed"], actor="a")

    assert len(registrar.webhook_record(ids["mine"]).secrets) == 1
    assert len(registrar.webhook_record(ids["keyed"]).keys) == 2
    assert await settle(engine, registrar, mine, keyed) == []


async def test_what_is_gone_from_the_file_is_removed_and_what_the_api_made_stays(
    engine: Engine, registrar: Registrar, tmp_path: Path
) -> None:
    made = await registrar.subscribe(NewWebhook(url=HOOK, name="mine"), actor="admin-1")
    await settle(engine, registrar, section(tmp_path))

    assert await settle(engine, registrar) == ["webhook.removed"]
    (id,) = engine.state(webhooks)
    assert id == made.id


async def test_its_id_tells_where_it_comes_from(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    await settle(engine, registrar, section(tmp_path))
    (id,) = engine.state(webhooks)

    assert id.startswith(ID_PREFIX)
    assert {recorded.actor for recorded in engine.log.read(kinds={"webhook.added"})} == {"config"}


def test_a_secret_file_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    mine = section(tmp_path)
    (first,), (second,) = read_standing([mine], UrlPolicy()), read_standing([mine], UrlPolicy())

    assert mine.secret_file is not None
    assert first.secret == second.secret
    assert mine.secret_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("more", "content", "told"),
    [
        ({"url": "http://example.com"}, None, "'mine': url"),
        ({"events": ("chargestation.on",)}, None, "did you mean chargestation.online?"),
        ({}, "whsec_short", "holds no secret"),
        ({"secret_file": Path("/proc/nowhere/secret")}, None, "cannot be used"),
        ({"header_files": {"X-A": Path("/proc/nowhere")}}, None, "header_files.X-A = '/proc/nowhere' cannot be read"),
        ({"header_files": {"Host": Path("/dev/null")}}, None, "Host is set by Stationkeeper"),
        ({"header_files": {"X-A": Path("/dev/null")}}, None, "headers.X-A: its value is empty"),
        ({"client_certificate": Path("/dev/null")}, None, "client_certificate: it holds no private key"),
        ({"authorities": Path("/proc/nowhere")}, None, "authorities = '/proc/nowhere' cannot be read"),
    ],
)
def test_one_that_cannot_be_is_named(tmp_path: Path, more: dict[str, Any], content: str | None, told: str) -> None:
    mine = section(tmp_path, **more)
    if content is not None:
        assert mine.secret_file is not None
        mine.secret_file.write_text(content)
    with pytest.raises(WrongSetting, match="mine") as caught:
        read_standing([mine], UrlPolicy())

    assert told in str(caught.value)
    assert "short" not in str(caught.value)

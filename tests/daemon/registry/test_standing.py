"""Webhooks of the configuration: only differences become events, and those of the API are never touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from stationkeeper.daemon.configuration.webhooks import WebhookSection
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.standing import ID_PREFIX, bring_into_line, read_standing
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, UrlPolicy
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


async def test_a_new_secret_is_taken_up(engine: Engine, registrar: Registrar, tmp_path: Path) -> None:
    mine = section(tmp_path)
    await settle(engine, registrar, mine)
    mine.secret_file.unlink()

    assert await settle(engine, registrar, mine) == ["webhook.updated"]
    (id,) = engine.state(webhooks)
    assert registrar.has_secret(id, mine.secret_file.read_text().strip())


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

    assert first.secret == second.secret
    assert mine.secret_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("more", "content", "told"),
    [
        ({"url": "http://example.com"}, None, "'mine': url"),
        ({"events": ("chargestation.on",)}, None, "did you mean chargestation.online?"),
        ({}, "whsec_short", "holds no secret"),
        ({"secret_file": Path("/proc/nowhere/secret")}, None, "cannot be used"),
    ],
)
def test_one_that_cannot_be_is_named(tmp_path: Path, more: dict[str, Any], content: str | None, told: str) -> None:
    mine = section(tmp_path, **more)
    if content is not None:
        mine.secret_file.write_text(content)
    with pytest.raises(WrongSetting, match="mine") as caught:
        read_standing([mine], UrlPolicy())

    assert told in str(caught.value)
    assert "short" not in str(caught.value)

"""Whatever is done to stations and webhooks: kept is exactly what is named, and good are the last passwords alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.registry.errors import Refused
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.webhook_requests import NewWebhook
from stationkeeper.engine import open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import outbox, presence, registry, webhooks

IDS = st.sampled_from(["CP-1", "CP-2"])
KEYS = st.binary(min_size=16, max_size=20)
HOOK = NewWebhook(url="https://example.com/hook")

DEEDS = st.one_of(
    st.tuples(st.just("register"), IDS, KEYS),
    st.tuples(st.just("replace"), IDS, KEYS),
    st.tuples(st.just("overlap"), IDS, KEYS),
    st.tuples(st.just("open"), IDS),
    st.tuples(st.just("remove"), IDS),
    st.tuples(st.sampled_from(["subscribe", "rotate", "rotate at once", "unsubscribe"])),
)


class World:
    """A registrar, and the passwords that must be good."""

    def __init__(self, registrar: Registrar) -> None:
        self.registrar = registrar
        self.good: dict[str, list[bytes]] = {}
        self.hooks: list[str] = []

    async def do(self, deed: str, *given: Any) -> None:
        registrar = self.registrar
        match deed, given:
            case "register", (id, key):
                await registrar.register(NewStation(id=id, password=key), actor="")
                self.good[id] = [key]
            case "replace", (id, key):
                await registrar.update(id, StationChanges(password=key), actor="")
                self.good[id] = [key]
            case "overlap", (id, key):
                await registrar.update(id, StationChanges(password=key, overlap=3600), actor="")
                self.good[id] = [key, *self.good[id][:1]]
            case "open", (id,):
                await registrar.update(id, StationChanges(security="none"), actor="")
                self.good[id] = []
            case "remove", (id,):
                await registrar.remove(id, actor="")
                del self.good[id]
            case "subscribe", _:
                self.hooks.append((await registrar.subscribe(HOOK, actor="")).id)
            case (("rotate" | "rotate at once"), _) if self.hooks:
                await registrar.rotate_secret(self.hooks[0], actor="", overlap=0 if deed == "rotate at once" else 60)
            case "unsubscribe", _ if self.hooks:
                await registrar.remove_webhook(self.hooks.pop(), actor="")
            case _:
                pass


@given(st.lists(DEEDS, max_size=20), st.lists(KEYS, max_size=3))
async def test_what_is_kept_is_what_is_named(deeds: list[tuple[Any, ...]], strangers: list[bytes]) -> None:
    async with open_engine(
        MemoryLog(), projections=[presence, registry, webhooks, outbox], inline=True, mute=True
    ) as engine:
        world = World(registrar := Registrar(engine))
        for deed in deeds:
            with suppress(Refused):
                await world.do(*deed)

        named = registrar.credentials_named() | registrar.webhook_secrets_named()
        assert engine.secrets.ids() - {"pepper"} == named
        assert world.good.keys() == engine.state(registry).keys()
        for id, good in world.good.items():
            credentials = [credential.id for credential in engine.state(registry)[id].record.credentials]
            for key in {*good, *strangers}:
                matching = [await registrar.credentials.matches(credential, key) for credential in credentials]
                assert any(matching) == (key in good)

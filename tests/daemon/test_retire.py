"""A rotation: both secrets and both keys sign until the overlap is over; then the older ones go, and are forgotten."""

from __future__ import annotations

from typing import Any

import trio
from attrs import evolve
from trio.testing import MockClock

from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation
from stationkeeper.daemon.registry.wardrobe import OLDER
from stationkeeper.daemon.registry.webhook_requests import NewWebhook
from stationkeeper.daemon.retire import LOOK, retire_secrets
from stationkeeper.engine import open_engine
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.fold import Projection
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.secrets import MemorySecrets
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence, registry, webhooks

HOOK = NewWebhook(url="https://example.com/hook", signatures=("v1", "v1a"))
PROJECTIONS: list[Projection[Any, Any]] = [presence, registry, webhooks, outbox]
OVERLAP = 600.0


async def test_the_older_ones_sign_until_their_time_and_are_then_forgotten(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    async with open_engine(log, projections=PROJECTIONS, clock=VirtualClock(), inline=True, mute=True) as engine:
        registrar = Registrar(engine)
        id = (await registrar.subscribe(HOOK, actor="a")).id
        other = (await registrar.subscribe(HOOK, actor="a")).id
        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        both = registrar.webhook_record(id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retire_secrets, engine, registrar)
            await trio.sleep(OVERLAP - LOOK)
            await registrar.retire(id)  # nobody may, before its time
            assert registrar.webhook_record(id) == both
            assert (len(both.secrets), len(both.keys), len(engine.secrets.ids())) == (2, 2, 6)

            await trio.sleep(2 * LOOK)
            once = engine.position
            await trio.sleep(3 * LOOK)
            nursery.cancel_scope.cancel()

        now = registrar.webhook_record(id)
        assert now == evolve(both, secrets=both.secrets[:1], keys=both.keys[:1], retired_at=None)
        assert engine.secrets.ids() == {*now.secrets, *now.keys, *registrar.webhook_secrets_named()}
        assert len(registrar.webhook_record(other).secrets) == 1
        assert engine.position == once, "once"


async def test_a_rotation_repeated_cuts_off_nobody_who_knows_the_first_secret_alone(autojump_clock: MockClock) -> None:
    """The first answer may be lost: then the second secret is known to nobody, and the receiver has the first."""
    async with open_engine(
        MemoryLog(), projections=PROJECTIONS, clock=VirtualClock(), inline=True, mute=True
    ) as engine:
        registrar = Registrar(engine)
        id = (await registrar.subscribe(HOOK, actor="a")).id
        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        first = registrar.webhook_record(id)
        await trio.sleep(OVERLAP / 2)
        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        second = registrar.webhook_record(id)

        assert (second.secrets[1:], second.keys[1:]) == (first.secrets, first.keys)
        assert first.retired_at is not None
        assert second.retired_at == first.retired_at + OVERLAP / 2 * 1_000_000
        assert engine.secrets.ids() == {*second.secrets, *second.keys}

        await registrar.rotate_secret(id, actor="a", overlap=1)
        third = registrar.webhook_record(id)
        assert third.secrets[1:] == second.secrets, "three older ones"
        assert third.retired_at == second.retired_at, "the latest time of all"

        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        fourth = registrar.webhook_record(id)
        assert (fourth.secrets[1:], fourth.keys[1:]) == (third.secrets[:OLDER], third.keys[:OLDER]), "and no more"
        assert engine.secrets.ids() == {*fourth.secrets, *fourth.keys}


async def test_what_is_past_its_time_is_not_kept_by_another_rotation(autojump_clock: MockClock) -> None:
    async with open_engine(
        MemoryLog(), projections=PROJECTIONS, clock=VirtualClock(), inline=True, mute=True
    ) as engine:
        registrar = Registrar(engine)
        id = (await registrar.subscribe(HOOK, actor="a")).id
        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        first = registrar.webhook_record(id)
        await trio.sleep(OVERLAP)
        await registrar.rotate_secret(id, actor="a", overlap=OVERLAP)
        second = registrar.webhook_record(id)
        assert (second.secrets[1:], second.keys[1:]) == (first.secrets[:1], first.keys[:1])

        await registrar.rotate_secret(id, actor="a", overlap=0)
        third = registrar.webhook_record(id)
        assert (len(third.secrets), len(third.keys), third.retired_at) == (1, 1, None), "a leak ends them all"


class FullDisk(MemorySecrets):
    """A vault that can forget nothing while its disk is full."""

    full = False

    def forget(self, id: str) -> None:
        if self.full:
            raise LogUnavailable("the disk is full")
        super().forget(id)


async def test_what_cannot_be_forgotten_fails_no_change_and_is_forgotten_later(autojump_clock: MockClock) -> None:
    vault = FullDisk()
    async with open_engine(
        MemoryLog(), projections=PROJECTIONS, clock=VirtualClock(), secrets=vault, inline=True, mute=True
    ) as engine:
        registrar = Registrar(engine)
        id = (await registrar.subscribe(HOOK, actor="a")).id
        gone = (await registrar.subscribe(HOOK, actor="a")).id
        await registrar.register(NewStation(id="CP-7", generate=True), actor="a")
        vault.full = True

        made = await registrar.rotate_secret(id, actor="a", overlap=0)
        await registrar.remove_webhook(gone, actor="a")
        await registrar.remove("CP-7", actor="a")

        assert made.secret is not None
        assert registrar.has_secret(id, made.secret), "which was shown"
        wanted = {*registrar.webhook_secrets_named(), "pepper"}
        assert len(vault.ids() - wanted) == 2 + 2 + 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retire_secrets, engine, registrar)
            await trio.sleep(1.5 * LOOK)
            assert len(vault.ids() - wanted) == 5
            vault.full = False
            await trio.sleep(LOOK)
            nursery.cancel_scope.cancel()

        assert vault.ids() <= wanted
        assert vault.ids() >= registrar.webhook_secrets_named()

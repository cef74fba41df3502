"""A log in which a fleet is registered, each station with a credential of its own; made once, and copied for each use.

All have the same password: a machine-made key of 20 bytes as hex digits, so that clients need no list.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import trio

from stationkeeper.daemon.registry.credentials import Credentials
from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.events import StationRegistered, Validity
from stationkeeper.engine.log.secrets import MemorySecrets, open_secrets
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections import outbox, presence, registry, settling, webhooks

PASSWORD = "00112233445566778899aabbccddeeff00112233"
LOG = "bench.db"
PROJECTIONS = (presence, registry, webhooks, outbox, settling)
"""The daemon's."""
_AT_ONCE = 100


def station(number: int) -> str:
    return f"CP-{number}"


def stations(count: int, first: int = 0) -> list[str]:
    return [station(number) for number in range(first, first + count)]


def registered(folder: Path, count: int) -> Path:
    """Return a new folder with a log named `LOG`, in which so many stations are registered."""
    template = folder / f"registered-{count}"
    if not template.exists():
        template.mkdir(parents=True)
        trio.run(_register, template / LOG, count)
    copy = folder / f"log-{sum(1 for _ in folder.glob('log-*'))}"
    shutil.copytree(template, copy)
    return copy


async def _register(log: Path, count: int) -> None:
    kept = MemorySecrets()
    credentials = Credentials(kept)
    async with open_engine(log, transports=[], projections=PROJECTIONS, mute=True) as engine:
        for first in range(0, count, _AT_ONCE):
            async with trio.open_nursery() as nursery:
                for number in range(first, min(first + _AT_ONCE, count)):
                    nursery.start_soon(_enrol, engine, credentials, number)
    # At one go: kept one by one, each with syncs of its own, they would take most of a benchmark's time.
    with closing(open_log(log)) as opened:
        secrets = open_secrets(log, opened.log_id, create=False)
    assert secrets is not None
    with closing(secrets):
        secrets.keep_all({id: kept.get(id) or b"" for id in kept.ids()})


async def _enrol(engine: Engine, credentials: Credentials, number: int) -> None:
    credential = f"cred_{number}"
    await credentials.keep(credential, PASSWORD)
    await engine.record(StationRegistered(credentials=(Validity(id=credential),)), subject=station(number))

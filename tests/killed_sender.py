"""A gateway that delivers what a log owes until nothing is left; to be killed by `test_kill_deliveries.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from stationkeeper.engine import EngineSettings, open_engine
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, WebhookAdded
from stationkeeper.engine.settings import Retry
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender

SETTINGS = EngineSettings(retry=Retry(delays=(0.02,) * 200))
SECRET = b"0123456789abcdef01234567"


async def prepare(path: Path, url: str, stations: int, flips: int) -> None:
    """Write a log that owes so many flips of so many stations."""
    async with open_engine(path, projections=[presence, outbox], mute=True) as engine:
        engine.secrets.keep("secret", SECRET)
        await engine.record(WebhookAdded(url=url, secrets=("secret",)), subject="w")
        batch: list[Entry] = []
        for number in range(flips * stations):
            connection = f"{engine.run}-{number // 2 // stations * stations + number % stations + 1}"
            opened = ConnectionOpened(connection=connection, ping_interval=25.0, ping_timeout=20.0, silence=900.0)
            closed = ConnectionClosed(
                connection=connection, side="station", cause="station_closed", alive_at=engine.now()
            )
            event = closed if number // stations % 2 else opened
            id, station = f"{engine.run}-{number}:event", f"CP-{number % stations}"
            gateway, run = engine.gateway, engine.run
            batch.append(seal(event, id=id, at=engine.now(), subject=station, gateway=gateway, run=run))
        await engine.committer.append(batch)


async def deliver(path: Path) -> None:
    sender = WebhookSender(timeout=0.3, allow_http=True, allow_private_networks=True)
    async with open_engine(path, transports=[sender], projections=[presence, outbox], settings=SETTINGS) as engine:
        print("begun", flush=True)
        while next(iter(engine.state(outbox).pending()), None) is not None:
            await engine.beyond(engine.position)
        print("done", flush=True)


if __name__ == "__main__":
    trio.run(deliver, Path(sys.argv[1]))

"""What is measured: stations let in by the daemon's registry with credentials, every open durable, silence watched.

It is the daemon without its HTTP side: the same transport, admission and projections, on a log in the working folder.
It prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import gc
import sys

import trio

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.credentials import Credentials
from stationkeeper.daemon.serve import GC_THRESHOLDS
from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.events import StationRegistered, Validity
from stationkeeper.projections import outbox, presence, registry
from stationkeeper.transports import WebSocketStations

PASSWORD = "00112233445566778899aabbccddeeff00112233"
"""Of every station here: a machine-made key of 20 bytes, as hex digits."""
STATIONS = 8_000


async def register(engine: Engine, credentials: Credentials) -> None:
    await credentials.keep("shared", PASSWORD)
    record = StationRegistered(credentials=(Validity(id="shared"),))
    for first in range(
        0, STATIONS, 100
    ):  # a few at a time, so that no freed memory is left for connections to grow into
        async with trio.open_nursery() as nursery:
            for number in range(first, first + 100):
                nursery.start_soon(lambda station: engine.record(record, subject=station), f"CP-{number}")


async def main(ping: float, tuned: bool) -> None:
    admission = RegistryAdmission()
    stations = WebSocketStations("127.0.0.1:0", admit=admission)
    settings = EngineSettings(liveness=Liveness(ping_interval=ping) if ping else Liveness())
    async with open_engine(
        "bench.db", transports=[stations], projections=[presence, registry, outbox], settings=settings
    ) as engine:
        credentials = Credentials(engine.secrets)
        await register(engine, credentials)
        admission.attach(engine, credentials)
        if tuned:
            gc.collect()
            gc.freeze()
        print(stations.addresses[0].rpartition(":")[2], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ping", type=float, default=0.0)
    options.add_argument("--gc", choices=["tuned", "default"], default="tuned")
    chosen = options.parse_args()
    if tuned := chosen.gc == "tuned":
        gc.set_threshold(*GC_THRESHOLDS)
    trio.run(main, chosen.ping, tuned)

"""What is measured: stations let in by the daemon's registry with credentials, every open durable, silence watched.

It is the daemon without its HTTP side: the same transport, admission and projections, on a log that `fleet` made. It
prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import trio
from fleet import PROJECTIONS
from machine import resident_bytes

from stationkeeper import transports
from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.credentials import Credentials
from stationkeeper.daemon.serve import GC_THRESHOLDS
from stationkeeper.daemon.tls import StationTls
from stationkeeper.engine import Engine, EngineSettings, Liveness, open_engine
from stationkeeper.engine.events import WebhookTested

_CACHE_FILLING = 200_000
"""Events of some 500 bytes with their indexes; the cache holds 16 MB."""
TRANSPORTS = {"trio-websocket": "WebSocketStations", "dense": "DenseStations"}


async def main(chosen: argparse.Namespace) -> None:
    admission = RegistryAdmission(open=chosen.open)
    tls = None if chosen.tls is None else StationTls(Path(chosen.tls), Path(chosen.tls))
    extra: dict[str, Any] = {"trusted_proxies": ("127.0.0.0/8",)} if chosen.proxied else {}
    stations = getattr(transports, TRANSPORTS[chosen.transport])("127.0.0.1:0", admit=admission, tls=tls, **extra)
    settings = EngineSettings(liveness=Liveness(ping_interval=chosen.ping) if chosen.ping else Liveness())
    async with open_engine(chosen.log, transports=[stations], projections=PROJECTIONS, settings=settings) as engine:
        admission.attach(engine, Credentials(engine.secrets))
        if chosen.gc == "tuned":
            gc.collect()
            gc.freeze()
        if chosen.settled:
            await fill_page_cache(engine)
        ballast = filled_holes()
        print(stations.addresses[0].rpartition(":")[2], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        del ballast


async def fill_page_cache(engine: Engine) -> None:
    """Write until SQLite's page cache, which is bounded, is as large as it gets: it is the log's, not the stations'."""
    for _ in range(_CACHE_FILLING // 1_000):
        told = [engine.seal(WebhookTested(), id="", subject=f"nobody-{number}") for number in range(1_000)]
        await engine.submit(told).wait()


def filled_holes() -> list[object]:
    """Take what is free within our memory since the start, so that stations cannot grow into it unseen."""
    ballast: list[object] = []
    for size in range(48, 513, 16):  # each class of Python's allocator that bytes can be of
        before = resident_bytes(os.getpid())
        while resident_bytes(os.getpid()) < before + (1 << 18):
            ballast += [bytes(size - 33) for _ in range(1_000)]
    return ballast


def profile_until_told(file: str) -> None:
    """Profile this thread, the event loop's, until SIGUSR1 comes; then write what was found."""
    profile = cProfile.Profile()

    def write(signum: int, frame: FrameType | None) -> None:
        profile.disable()
        profile.dump_stats(file)

    signal.signal(signal.SIGUSR1, write)
    profile.enable()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("log")
    options.add_argument("--transport", choices=[*TRANSPORTS], default="dense")
    options.add_argument("--settled", action="store_true", help="with a log that has filled its page cache")
    options.add_argument("--ping", type=float, default=0.0)
    options.add_argument("--gc", choices=["tuned", "default"], default="tuned")
    options.add_argument("--tls", help="a file with certificate and key")
    options.add_argument("--proxied", action="store_true", help="behind a proxy that speaks the PROXY protocol")
    options.add_argument("--open", action="store_true", help="let in whoever is not registered, too")
    options.add_argument("--profile", help="until SIGUSR1, profile the event loop's thread; a file (pstats)")
    chosen = options.parse_args()
    if chosen.gc == "tuned":
        gc.set_threshold(*GC_THRESHOLDS)
    if chosen.profile:
        profile_until_told(chosen.profile)
    trio.run(main, chosen)

"""How long a start takes on a log of a million events: from a snapshot, and by folding it all.

A start is from `open_engine` to the moment at which stations are accepted, in a process of its own, with the daemon's
projections. The log holds 10 000 stations that came and went some fifty times each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio
from result import Result, report

from stationkeeper.engine import open_engine
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, GatewayStarted, StationRegistered
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.names import closed_id, connection_name, opened_id
from stationkeeper.projections import outbox, presence, registry
from stationkeeper.transports import AnyStation, WebSocketStations

EVENTS = 1_000_000
STATIONS = 10_000
BATCH = 1_000
ROUNDS = 3
BEGAN = 1_760_000_000_000_000  # microseconds: in October 2025


def visit(number: int) -> list[Entry]:
    """Return what the *number*-th visit leaves behind: a station opens, and is gone a second later."""
    station, connection = f"CP-{number % STATIONS}", connection_name("run", number)
    at = BEGAN + number * 1_000_000
    opened = ConnectionOpened(
        connection=connection, subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0
    )
    closed = ConnectionClosed(connection=connection, side="station", code=1000, cause="station_closed", alive_at=at)
    return [
        seal(opened, id=opened_id(connection), at=at, subject=station, gateway="bench", run="run"),
        seal(closed, id=closed_id(connection), at=at + 500_000, subject=station, gateway="bench", run="run"),
    ]


def write(path: Path) -> None:
    """Write a log of so many events."""
    started = GatewayStarted(
        public_url="ws://127.0.0.1:9000/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
        settling=300.0, rules=1, software="bench", host="bench",
    )  # fmt: skip
    log = open_log(path)
    batch = [seal(started, id="run", at=BEGAN, gateway="bench", run="run")]
    batch += [seal(StationRegistered(), id=f"r-{n}", at=BEGAN, subject=f"CP-{n}") for n in range(STATIONS)]
    for number in range(1, (EVENTS - len(batch)) // 2 + 1):
        batch += visit(number)
        if len(batch) >= BATCH:
            log.append(batch)
            batch = []
    log.append(batch)
    log.close()


async def start(path: str) -> float:
    """Open the engine on a log and return how long that took; leaving it keeps snapshots."""
    began = time.perf_counter()
    stations = WebSocketStations("127.0.0.1:0", admit=AnyStation())
    async with open_engine(path, transports=[stations], projections=[presence, registry, outbox]) as engine:
        took = time.perf_counter() - began
        assert engine.ready
    return took


def started_in(path: Path) -> float:
    """Return how long a start takes in a fresh process."""
    command = [sys.executable, __file__, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder:
        path = Path(folder) / "bench.db"
        write(path)
        folding = started_in(path)
        resuming = [started_in(path) for _ in range(ROUNDS)]
    spread = f"{min(resuming):.2f} to {max(resuming):.2f} s in {ROUNDS} rounds"
    report(
        [
            Result(
                part="start",
                name="1 000 000 events, from snapshots",
                value=statistics.median(resuming),
                unit="s",
                at_most=2.0,
                note=spread,
            ),
            Result(part="start", name="the same, without snapshots", value=folding, unit="s", note="folds every event"),
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(trio.run(start, sys.argv[1]))
    else:
        main()

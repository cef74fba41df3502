"""What a backlog costs: memory and snapshots with up to a million messages owed, and how fast a long one is sent.

A webhook that is paused is owed ever more, up to 64 messages of each of 10 000 stations; a hundred webhooks are owed
one of each. Both are folded in a process of their own, which tells its resident memory on the way; the log is made up
event by event and never held. Then a whole engine sends a backlog of a hundred thousand messages to a receiver, most
of what they say from the file beside the log; then the same with that file lost, and as many fresh ones at a time as
the outbox has room for.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import trio
from deliver import SECRET, SENDER_CORE, receiver
from machine import keep_to_core, resident_bytes, slope
from result import Result, report

from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry, Recorded
from stationkeeper.engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    GatewayStarted,
    WebhookAdded,
    WebhookEnabled,
    WebhookPaused,
)
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.scenes import scenes_path
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender

PART = "backlog"
QUICK = "--quick" in sys.argv
STATIONS = 1_000 if QUICK else 10_000
DEEP, WIDE = 64, 20 if QUICK else 100
"""Messages of a station owed to one webhook; webhooks that are each owed one of each station."""
FLIPS = 10
"""Of each station in the backlog that is sent."""
BEGAN = 1_760_000_000_000_000  # microseconds: in October 2025
_MEGABYTE = 1 << 20


def flips(run: str, times: int, first: int = 0) -> Iterator[tuple[Event, str, str]]:
    """Yield events, each with its id and its station: every station goes online and offline in turn."""
    for turn in range(first, first + times):
        for number in range(STATIONS):
            connection = f"{run}-{turn // 2 * STATIONS + number + 1}"
            if turn % 2 == 0:
                opened = ConnectionOpened(connection=connection, ping_interval=25.0, ping_timeout=20.0, silence=900.0)
                yield opened, f"{connection}:opened", f"CP-{number}"
            else:
                closed = ConnectionClosed(
                    connection=connection, side="station", cause="station_closed", alive_at=BEGAN, code=1000
                )
                yield closed, f"{connection}:closed", f"CP-{number}"


# --- memory and snapshots --------------------------------------------------------------------------------------------


def grow(webhooks: int, times: int) -> None:
    """Fold a growing backlog, and print what it took: points of messages and bytes, and what a snapshot is."""
    folding = Fold([outbox])

    def fold(event: Event, id: str, subject: str = "") -> None:
        position = folding.position + 1
        entry = seal(event, id=id, at=BEGAN + position * 1000, subject=subject, gateway="bench", run="run")
        folding.advance(Recorded(**{name: getattr(entry, name) for name in entry.__struct_fields__}, position=position))

    started = GatewayStarted(
        public_url="wss://gateway.example/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
        settling=300.0, rules=1, software="bench", host="bench",
    )  # fmt: skip
    fold(started, "run")
    if webhooks == 1:
        fold(WebhookAdded(url="https://hooks.example/"), "added", "w")
    else:
        # The fleet is there before anybody is told of it, and one webhook more is owed its state each time.
        for told in flips("run", 1):
            fold(*told)
    points: list[tuple[int, int]] = []
    state = folding.state(outbox)
    for number in range(times if webhooks == 1 else webhooks):
        if webhooks == 1:
            for told in flips("run", 1, number):
                fold(*told)
        else:
            fold(WebhookAdded(url="https://hooks.example/", initial="state"), f"added-{number}", f"w{number}")
        gc.collect()
        owed = sum(state.count(webhook) for webhook in state.boxes)
        points.append((owed, resident_bytes(os.getpid())))
    began = time.perf_counter()
    written = outbox.dump(state)
    dumped = time.perf_counter()
    read = outbox.load(written)
    loaded = time.perf_counter()
    assert sum(read.count(webhook) for webhook in read.boxes) == points[-1][0]
    print(json.dumps({"points": points, "size": len(written), "dump": dumped - began, "load": loaded - dumped}))


def memory(name: str, webhooks: int, times: int) -> list[Result]:
    command = [sys.executable, __file__, "--grow", str(webhooks), str(times), *(["--quick"] if QUICK else [])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    points: list[tuple[int, int]] = found["points"]
    # From where the lanes and the room for scenes are full.
    settled = points[len(points) // 8 :]
    owed, resident = points[-1]
    return [
        Result(
            part=PART,
            name=f"memory of a message owed, {name}",
            value=slope(settled),
            unit="bytes",
            note=f"{owed:,} owed in {resident / _MEGABYTE:,.0f} MiB; {settled[0][0]:,} in "
            f"{settled[0][1] / _MEGABYTE:,.0f} MiB",
        ),
        Result(
            part=PART,
            name=f"snapshot of the outbox, {name}",
            value=found["dump"] * 1e3,
            unit="ms",
            note=f"{found['size'] / _MEGABYTE:,.1f} MiB, {found['size'] / owed:.0f} bytes a message; read in "
            f"{found['load'] * 1e3:,.0f} ms",
        ),
    ]


# --- sending ---------------------------------------------------------------------------------------------------------


def sender() -> WebhookSender:
    return WebhookSender(allow_http=True, allow_private_networks=True)


async def prepare(path: Path, url: str, times: int) -> None:
    """Write a log that owes a webhook so many messages of each station."""
    async with open_engine(path, transports=[sender()], projections=[presence, outbox]) as engine:
        engine.secrets.keep("secret", SECRET)
        await engine.record(WebhookAdded(url=url, secrets=("secret",)), subject="w")
        await engine.record(WebhookPaused(), subject="w")
        entries = flips(engine.run, times)
        while batch := [sealed(engine, *told) for told in islice(entries, 1_000)]:
            await engine.committer.append(batch)


def sealed(engine: Engine, event: Event, id: str, subject: str) -> Entry:
    return seal(event, id=id, at=engine.now(), subject=subject, gateway=engine.gateway, run=engine.run)


async def drain(path: Path) -> float:
    """Send all that a log owes; return messages a second."""
    async with open_engine(path, transports=[sender()], projections=[presence, outbox]) as engine:
        owed = engine.state(outbox).count("w")
        began = time.perf_counter()
        await engine.record(WebhookEnabled(), subject="w")
        while engine.state(outbox).count("w"):
            await engine.beyond(engine.position)
        return owed / (time.perf_counter() - began)


def sent(folder: Path, url: str, times: int, *, lost: bool = False) -> tuple[float, float]:
    """Return how many messages a second a backlog is sent at, and how many bytes stood beside the log."""
    path = folder / f"{times}-{lost}.db"
    trio.run(prepare, path, url, times)
    beside = scenes_path(path)
    size = beside.stat().st_size if beside.exists() else 0
    if lost:
        for end in ("", "-wal", "-shm"):
            beside.with_name(beside.name + end).unlink(missing_ok=True)
    return trio.run(drain, path), size


def sending() -> list[Result]:
    keep_to_core(SENDER_CORE)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder, receiver() as url:
        fresh, _ = sent(Path(folder), url, 1)
        kept, size = sent(Path(folder), url, FLIPS)
        lost, _ = sent(Path(folder), url, FLIPS, lost=True)
    owed = FLIPS * STATIONS
    return [
        Result(part=PART, name="sent, as many as there is room for", value=fresh, unit="messages/s",
               note=f"{STATIONS:,} messages in as many lanes, HTTP on loopback, each outcome durable"),
        Result(part=PART, name="sent, of a long backlog", value=kept, unit="messages/s",
               note=f"{owed:,} messages in {STATIONS:,} lanes; {size / _MEGABYTE:,.0f} MiB stand beside the log"),
        Result(part=PART, name="sent, of a long backlog that is told anew", value=lost, unit="messages/s",
               note="the same; the file beside the log was lost"),
    ]  # fmt: skip


def main() -> None:
    if "--grow" in sys.argv:
        at = sys.argv.index("--grow")
        grow(int(sys.argv[at + 1]), int(sys.argv[at + 2]))
        return
    deep = memory(f"one webhook, up to {DEEP} of each of {STATIONS:,} stations", 1, DEEP)
    wide = memory(f"{WIDE} webhooks, one of each of {STATIONS:,} stations", WIDE, 1)
    report([*deep, *wide, *sending()])


if __name__ == "__main__":
    main()

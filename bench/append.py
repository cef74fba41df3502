"""How fast events become durable through the committer, beside a bare `executemany` of the same rows in the same run.

Both write to files of the same folder, with the same indexes and the same syncs; sealing is part of what is measured,
folding is not. Rounds of the two alternate, so that a busy minute slows both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import trio
from machine import spread
from msgspec.structs import astuple
from result import Result, report

from stationkeeper.engine.codec import seal
from stationkeeper.engine.committer import Committer
from stationkeeper.engine.entry import Entry, Recorded
from stationkeeper.engine.events import ConnectionOpened
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.names import connection_name, new_id, opened_id

EVENTS = 30_000
WRITERS = 100
BATCH = 1_000
STATIONS = 10_000
ROUNDS = 5
BEGAN = 1_760_000_000_000_000


def entry(number: int, run: str) -> Entry:
    connection = connection_name(run, number)
    opened = ConnectionOpened(
        connection=connection, subprotocol="ocpp1.6", security="basic", ping_interval=25.0, ping_timeout=20.0,
        silence=900.0,
    )  # fmt: skip
    return seal(
        opened, id=opened_id(connection), at=BEGAN + number, subject=f"CP-{number % STATIONS}", gateway="bench", run=run
    )


def committed(path: Path, write: Callable[[Committer, str], Awaitable[None]]) -> float:
    """Return the events a second that went through a committer."""
    run = new_id(BEGAN)

    async def main() -> float:
        with closing(open_log(path)) as log:
            committer = Committer(log, inline=False, committed=pass_over)
            async with trio.open_nursery() as nursery:
                await nursery.start(committer.run)
                began = time.perf_counter()
                await write(committer, run)
                took = time.perf_counter() - began
                await committer.close()
            return EVENTS / took

    return trio.run(main)


def pass_over(events: list[Recorded]) -> None:
    """Fold nothing: the fold has a benchmark of its own."""


async def one_by_one(committer: Committer, run: str) -> None:
    """Let many writers append one event each, again and again."""
    numbers = iter(range(EVENTS))

    async def writer() -> None:
        for number in numbers:
            await committer.append([entry(number, run)])

    async with trio.open_nursery() as nursery:
        for _ in range(WRITERS):
            nursery.start_soon(writer)


async def in_batches(committer: Committer, run: str) -> None:
    """Append batch after batch, as an import does."""
    for start in range(0, EVENTS, BATCH):
        await committer.append([entry(number, run) for number in range(start, start + BATCH)])


def bare(path: Path, size: int) -> float:
    """Return the events a second of plain SQLite: the same rows, tables and syncs, and nothing of ours around them."""
    open_log(path).close()
    run = new_id(BEGAN)
    rows = [(*astuple(entry(number, run)), number + 1) for number in range(EVENTS)]
    with closing(connect(path, mode="rw")) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = full")
        began = time.perf_counter()
        for start in range(0, EVENTS, size):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows[start : start + size])
            connection.execute("COMMIT")
        return EVENTS / (time.perf_counter() - began)


INSERT = (
    "INSERT INTO event "
    "(id, at, kind, schema, subject, gateway, run, actor, body, private, salt, digest, leaf, position) "
    f"VALUES ({', '.join('?' * 14)})"
)


def results(name: str, ours: Sequence[float], theirs: Sequence[float], at_least: float) -> list[Result]:
    ratios = [theirs / ours for ours, theirs in zip(ours, theirs, strict=True)]
    return [
        Result(
            part="append",
            name=name,
            value=statistics.median(ours),
            unit="events/s",
            at_least=at_least,
            note=f"{min(ours):,.0f} to {max(ours):,.0f} in {ROUNDS} rounds of {EVENTS:,}, synchronous=FULL",
        ),
        Result(
            part="append",
            name=f"{name}: time over a bare executemany",
            value=statistics.median(ratios),
            unit="x",
            note=f"{spread(ratios)}; the bare one does not seal, and writes {statistics.median(theirs):,.0f} events/s",
        ),
    ]


def main() -> None:
    singles: list[float] = []
    batches: list[float] = []
    bare_singles: list[float] = []
    bare_batches: list[float] = []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
            singles.append(committed(Path(folder) / f"singles-{number}.db", one_by_one))
            bare_singles.append(bare(Path(folder) / f"bare-singles-{number}.db", WRITERS))
            batches.append(committed(Path(folder) / f"batches-{number}.db", in_batches))
            bare_batches.append(bare(Path(folder) / f"bare-batches-{number}.db", BATCH))
    report(
        [
            *results(f"{WRITERS} writers, one event each", singles, bare_singles, at_least=15_000),
            *results(f"batches of {BATCH:,}", batches, bare_batches, at_least=60_000),
        ]
    )


if __name__ == "__main__":
    main()

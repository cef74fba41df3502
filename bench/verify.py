"""How fast a log is verified, beside a raw scan of its file, and what the ledger costs each event that is appended.

The log is of a mixed history (`mixed`), with snapshots and a checkpoint. A verification recomputes every leaf, the
tree, the tables beside the events and every projection, and lets SQLite check the file. What each process of it takes
is CPU time; the rate of the whole is by the clock, as whoever waits for it sees it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from mixed import mixed_history
from result import Result, report

from stationkeeper.daemon.audit.passes import Job, Pass, run
from stationkeeper.daemon.audit.verdict import verify
from stationkeeper.engine.entry import Entry, leaf
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.keeper import open_ledger
from stationkeeper.engine.ledger.note import SigningKey
from stationkeeper.engine.ledger.tree import Tree
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.queries import COLUMNS
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import open_log

EVENTS = int(os.environ.get("EVENTS", "1000000"))
BATCH = 1_000
"""Events between two checkpoints, at most."""
COMMIT = 50
"""Events of one commit, as a busy gateway makes them."""
ROUNDS = 3


def write(path: Path, length: int) -> None:
    """Write a log of the first events of the mixed history, with a snapshot of the tree and a checkpoint."""
    history = mixed_history(length)
    with closing(open_log(path)) as log:
        while batch := list(islice(history, 10 * BATCH)):
            log.append(batch)
        secrets = open_secrets(path, log.log_id, create=True)
        assert secrets is not None
        with closing(secrets):
            ledger = open_ledger(log, path, log.log_id, secrets)
        log.keep_snapshots([ledger.snapshot()])
        ledger.protect(*ledger.note())


def scan(path: Path) -> None:
    """Read every column of every row with SQLite alone."""
    with closing(connect(path, mode="ro")) as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM event ORDER BY position")
        while rows.fetchmany(BATCH):
            pass


def audit(path: Path, *, replay: bool) -> None:
    report = verify(str(path), files=[], keys=[], replay=replay, tell=lambda seen: None)
    assert report.sound
    assert report.protection.position == EVENTS


def one_pass(path: Path, *passes: Pass) -> None:
    run(Job(str(path), EVENTS, list(passes), [EVENTS], []), lambda seen: None)


def vouch(entries: list[Entry], folder: Path) -> None:
    """Do what the ledger adds to appends: a leaf an event, the tree a commit, a checkpoint every thousand events."""
    tree, key = Tree(), SigningKey("stationkeeper/bench", bytes(32))
    for begin in range(0, len(entries), COMMIT):
        tree.extend([leaf(entry) for entry in entries[begin : begin + COMMIT]])
        if tree.size % BATCH == 0:
            outside.write_note(
                folder / "vouched", Checkpoint("stationkeeper/bench", tree.size, tree.root()).signed(key)
            )


def timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    began = clock()
    work()
    return clock() - began


def main() -> None:
    entries = list(mixed_history(EVENTS // 10))
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as name:
        path = Path(name) / "log.db"
        write(path, EVENTS)
        wall, cpu = time.monotonic, time.process_time
        sides: dict[str, Callable[[], float]] = {
            "verify": lambda: timed(wall, lambda: audit(path, replay=True)),
            "bytes": lambda: timed(wall, lambda: audit(path, replay=False)),
            "scan": lambda: timed(cpu, lambda: scan(path)),
            "leaves": lambda: timed(cpu, lambda: one_pass(path, "leaves")),
            "file": lambda: timed(cpu, lambda: one_pass(path, "file")),
            "replay": lambda: timed(cpu, lambda: one_pass(path, "replay")),
            "ledger": lambda: 10 * timed(cpu, lambda: vouch(entries, Path(name))),
        }
        rounds = [{side: work() / EVENTS for side, work in sides.items()} for _ in range(ROUNDS)]
    told(rounds)


def told(rounds: list[dict[str, float]]) -> None:
    """Report what was found: seconds an event."""
    load = f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}"

    def spread(side: str, unit: Callable[[float], float]) -> str:
        values = sorted(unit(one[side]) for one in rounds)
        return f"{values[0]:,.3g} to {values[-1]:,.3g} in {ROUNDS} rounds"

    def rate(side: str, name: str, *, at_least: float | None = None, note: str) -> Result:
        value = statistics.median(1 / one[side] for one in rounds)
        return Result(part="verify", name=name, value=value, unit="events/s", at_least=at_least, note=note)

    def cost(side: str, name: str, *, at_most: float | None = None) -> Result:
        value = statistics.median(1e6 * one[side] for one in rounds)
        note = f"CPU time; {spread(side, lambda seconds: 1e6 * seconds)}"
        return Result(part="verify", name=name, value=value, unit="us an event", at_most=at_most, note=note)

    alone = statistics.median(1 / max(one["replay"], one["leaves"] + one["file"]) for one in rounds)
    report(
        [
            rate("verify", "everything, by the clock", at_least=150_000, note=load),
            Result(
                part="verify",
                name="everything, if each of its two processes had a processor to itself",
                value=alone,
                unit="events/s",
                note="by the CPU time of the one that takes longer",
            ),
            rate("bytes", "without the replay, by the clock", note=load),
            cost("scan", "a raw scan of the file"),
            cost("leaves", "leaves, tree and tables, reading included"),
            cost("file", "SQLite's check of the file"),
            cost("replay", "all projections, reading included"),
            cost("ledger", "what the ledger costs an append: leaf, tree, checkpoints", at_most=3),
        ]
    )


if __name__ == "__main__":
    main()

"""What is done to a log and to the files beside it by a process that dies: histories for `test_crash.py`.

Each says what it is about to do and what it has done; the files, and nobody else, know the rest.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from faulted import History, Say, arm, kept, lay_down, serve
from faulting import Fault

from stationkeeper.engine.entry import Beat, Entry
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import DeliverySucceeded, GatewayStopped
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint, origin_of
from stationkeeper.engine.ledger.note import SigningKey
from stationkeeper.engine.log import Snapshot, sqlite
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_attempt, some_entry

OLD_LOGS = Path(__file__).parents[2] / "vectors" / "logs"
NAME = "fleet.db"
LEFT: Mapping[str, bytes] = {}
"""What `leave_behind` left."""

acknowledged: set[str] = set()


def append(log: SqliteLog, say: Say, batch: list[Entry]) -> None:
    """Append with a word before and after; before it of those alone that are new."""
    ids = [entry.id for entry in batch]
    say("tried", [id for id in ids if id not in acknowledged])
    say("kept", ids, log.append(batch, beat=Beat("run-a", 1, 1.0)))
    acknowledged.update(ids)


OLD = [[some_entry("old 1"), some_entry("old 2")], [some_entry("old 3", private=b"x" * 9000)]]


def leave_behind(folder: Path) -> None:
    """Leave a log behind as a process that ended without closing it: with a `-wal`."""
    child = os.fork()
    if child == 0:
        log = open_log(folder / NAME)
        for batch in OLD:
            log.append(batch)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def crashed(folder: Path, say: Say) -> None:
    """Begin with what a crash left behind."""
    lay_down(LEFT, folder)
    position = 0
    for batch in OLD:
        ids = [entry.id for entry in batch]
        say("kept", ids, list(range(position + 1, position + len(ids) + 1)))
        acknowledged.update(ids)
        position += len(ids)


def making(folder: Path, fault: Fault, say: Say) -> None:
    arm(folder, fault)
    append(open_log(folder / NAME), say, [some_entry("first")])


def opening(folder: Path, fault: Fault, say: Say) -> None:
    """Open what a crash left behind."""
    crashed(folder, say)
    arm(folder, fault)
    append(open_log(folder / NAME), say, [some_entry("new")])


def appending(folder: Path, fault: Fault, say: Say) -> None:
    """Append what is new, what is old among new, and ends of runs."""
    crashed(folder, say)
    log = open_log(folder / NAME)
    arm(folder, fault)
    append(log, say, [some_entry("a"), some_entry("b", private=b"y" * 9000)])
    append(log, say, [some_entry("c"), some_entry("a"), some_entry("old 2"), some_entry("d")])
    settled = DeliverySucceeded(
        message="m", webhook="w", position=1, round=0, attempts=1, status=204, attempted_at=7, latency=0.1
    )
    log.append([], attempts=[some_attempt("m")])
    append(log, say, [some_entry("settled", settled)])
    append(log, say, [some_entry("before"), some_entry("end", GatewayStopped(listened=1.0))])


def recovering(folder: Path, fault: Fault, say: Say) -> None:
    crashed(folder, say)
    log = open_log(folder / NAME)
    unsure = some_entry("a", private=b"y" * 9000)
    append(log, say, [unsure])
    arm(folder, fault)
    log.recover()
    append(log, say, [some_entry("b"), unsure])


def keeping_snapshots(folder: Path, fault: Fault, say: Say) -> None:
    log = open_log(folder / NAME)
    append(log, say, [some_entry("a")])
    arm(folder, fault)
    for state in (b"s" * 9000, b"t" * 9000):
        log.keep_snapshots([Snapshot("presence", 1, 1, b"leaf", state), Snapshot("outbox", 1, 1, b"leaf", state)])
    append(log, say, [some_entry("b")])


def checkpointing(folder: Path, fault: Fault, say: Say) -> None:
    """Move the pages of the `-wal` into the file, while appends go on."""
    vars(sqlite)["CHECKPOINT_PAGES"] = 12
    log = open_log(folder / NAME)
    append(log, say, [some_entry("0")])
    arm(folder, fault)
    for n in range(1, 5):
        append(log, say, [some_entry(f"{n}", private=b"x" * 5000), some_entry(f"{n} more")])


def closing(folder: Path, fault: Fault, say: Say) -> None:
    log = open_log(folder / NAME)
    append(log, say, [some_entry("a"), some_entry("b")])
    arm(folder, fault)
    log.close()


def migrating(folder: Path, fault: Fault, say: Say) -> None:
    """Open the log of an older release, which was killed in its time, and so bring it up to date."""
    for old in OLD_LOGS.glob("0.1.0-killed.db*.gz"):
        (folder / old.name.replace("0.1.0-killed.db", NAME).removesuffix(".gz")).write_bytes(
            gzip.decompress(old.read_bytes())
        )
    arm(folder, fault)
    log = open_log(folder / NAME)
    say("at", log.position)
    append(log, say, [some_entry("new")])


def keeping_secrets(folder: Path, fault: Fault, say: Say) -> None:
    log = open_log(folder / NAME)
    arm(folder, fault)
    try:
        secrets = open_secrets(folder / NAME, log.log_id, create=True)
    except LogUnavailable as error:
        say("refused", str(error))
        return
    assert secrets is not None
    changes: list[tuple[str, str | None]] = [("a", "one" * 500), ("b", "two" * 500), ("a", "three" * 500), ("b", None)]
    for id, secret in changes:
        say("changing", id, secret)
        try:
            if secret is None:
                secrets.forget(id)
            else:
                secrets.keep(id, secret.encode())
            say("changed", id, secret)
        except LogUnavailable as error:
            say("refused", str(error))
    secrets.close()


def writing_checkpoints(folder: Path, fault: Fault, say: Say) -> None:
    """Write the files of the ledger beside the log, the next time if not this time."""
    path = folder / NAME
    arm(folder, fault)
    key = SigningKey(origin_of("log"), b"k" * 32)
    for size in range(1, 6):
        try:
            outside.add_key(path, key.public)
            outside.write_note(path, Checkpoint(origin_of("log"), size, b"r" * 32).signed(key))
            say("size", size)
        except LogUnavailable as error:
            say("refused", str(error))


HISTORIES: tuple[Callable[[Path, Fault, Say], None], ...] = (
    making,
    opening,
    appending,
    recovering,
    keeping_snapshots,
    checkpointing,
    closing,
    migrating,
    keeping_secrets,
    writing_checkpoints,
)

if __name__ == "__main__":
    LEFT = kept(leave_behind)
    named: dict[str, History] = {history.__name__: history for history in HISTORIES}
    serve(named)

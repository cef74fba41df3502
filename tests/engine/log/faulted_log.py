"""What is done to a log while system calls fail: histories for `test_faults.py`, run under `faults.c`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import trio
from faulted import Say, arm, disarm, record, seen, serve, struck
from faulting import Fault
from trio.testing import MockClock

from stationkeeper.engine.committer import Committer, Ticket
from stationkeeper.engine.entry import Beat, Entry, Recorded
from stationkeeper.engine.errors import LogDamaged, LogError, LogUnavailable
from stationkeeper.engine.events import DeliverySucceeded, GatewayStopped
from stationkeeper.engine.log import Log, Snapshot, sqlite
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_attempt, some_entry

sqlite.CHECKPOINT_PAGES = 30  # type: ignore[misc]
LASTS = 12.0
"""Seconds after which a fault that lasts is over."""

crashed: list[SqliteLog] = []
"""Logs that nobody closes: what stands in their files when the process ends is all that there is."""
STRAY_TOOL = """
import sqlite3, sys
tool = sqlite3.connect(sys.argv[1])
tool.execute("SELECT count(*) FROM event").fetchall()
tool.close()
"""
"""As an operator may look at the log. Who is the last to close it moves the `-wal` into the file and removes it."""


def committing(folder: Path, fault: Fault, say: Say) -> None:
    """Commit facts and wishes to a new log and to an old one, with all that goes beside them."""
    arm(folder, fault)
    for life in "ab":
        log = opened(folder / "fleet.db", say)
        try:
            trio.run(commit, log, life, say, clock=MockClock(autojump_threshold=0))
        except BaseExceptionGroup as group:
            # SQLite calls a page that cannot be read damaged, and then we stop rather than guess.
            if group.subgroup(LogDamaged) is None:
                raise
            say("stopped", str(group.exceptions[0]))
            disarm()
        log.close()


def reading_beside(folder: Path, fault: Fault, say: Say) -> None:
    """Read a log again and again in the process that writes it, while a stray tool comes and goes."""
    log = open_log(folder / "fleet.db")
    log.append([some_entry("before")])
    arm(folder, fault)
    for _ in range(3):
        try:
            with closing(open_reader(folder / "fleet.db")) as reader:
                say("read", reader.way, len(list(reader.read())))
        except LogUnavailable as error:
            say("refused", type(error).__name__, str(error))
    say("calls", seen(), struck())
    disarm()
    subprocess.run([sys.executable, "-c", STRAY_TOOL, folder / "fleet.db"], check=True)
    say("kept", ["after"], log.append([some_entry("after")]))
    crashed.append(log)


def opened(path: Path, say: Say) -> SqliteLog:
    """Open the log, as whoever starts a daemon again and again, until nothing fails any more."""
    for attempt in range(5):
        try:
            return open_log(path)
        except LogError as error:
            say("refused", type(error).__name__, str(error))
        if attempt == 3:
            disarm()
    raise AssertionError("it does not open though nothing fails")


def losing_pages(folder: Path, fault: Fault, say: Say, *, rewriting: bool = True, going_on: bool = False) -> None:
    """Append until a sync fails; then go on with the same log, or end, and start again. All is recorded."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    record(work, folder / "trace")
    if not rewriting:
        vars(sqlite)["rewrite_wal"] = lambda path: None
    acks = os.open(work / "fleet.db.acks", os.O_RDWR | os.O_CREAT)
    arm(work, fault)
    log = opened(work / "fleet.db", say)
    crashed.append(log)
    for n in range(6):
        batch = [some_entry(f"{log.position + k}", private=b"x" * 2500) for k in range(1, n % 3 + 2)]
        try:
            log.append(batch)
        except LogUnavailable as error:
            say("refused", str(error))
            if not going_on:
                return
            log.recover()
            log.append(batch)
        os.pwrite(acks, b"%08d" % log.position, 0)


def losing_pages_and_going_on(folder: Path, fault: Fault, say: Say) -> None:
    losing_pages(folder, fault, say, going_on=True)


def losing_pages_for_good(folder: Path, fault: Fault, say: Say) -> None:
    """The control: as it would be without the rewriting of the `-wal`."""
    losing_pages(folder, fault, say, rewriting=False)


async def commit(log: SqliteLog, life: str, say: Say) -> None:
    def told(events: list[Recorded]) -> None:
        say("told", [(event.position, event.id) for event in events])

    run = f"run-{life}"
    committer = Committer(log, inline=True, committed=told, beat=lambda: Beat(run, 1, 1.0))
    # What was committed before this life was told in it.
    say("begun", committer.position)
    facts: list[tuple[list[Entry], Ticket]] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(committer.run)
        nursery.start_soon(relieve)
        for n in range(4 if life == "a" else 3):
            batch = [some_entry(f"{life}{n}.{k}", run=run, private=b"x" * 1500) for k in range(n % 3 + 1)]
            facts.append((batch, committer.submit(batch, required=True)))
            if n == 3:
                facts.append((batch, committer.submit(batch, required=True)))
            nursery.start_soon(wish, committer, some_entry(f"{life}{n} wish", run=run), say)
            committer.note(some_attempt(f"{life}{n}"))
            if n == 2:
                nursery.start_soon(keep_snapshot, committer, say)
            await trio.sleep(0.7)
        settled = DeliverySucceeded(
            message=f"{life}1", webhook="w", position=1, round=0, attempts=1, status=204, attempted_at=7, latency=0.1
        )
        last = [some_entry(f"{life} settled", settled, run=run)]
        facts.append((last, committer.submit(last, required=True)))
        for batch, ticket in facts:
            say("kept", [entry.id for entry in batch], await ticket.wait())
        end = some_entry(f"{life} end", GatewayStopped(listened=1.0), run=run)
        say("kept", [end.id], await committer.append([end], required=True))
        await committer.close()
        nursery.cancel_scope.cancel()
    say("failures", committer.failures, committer.writable)


async def wish(committer: Committer, entry: Entry, say: Say) -> None:
    """Ask for something that is refused while the log cannot be written."""
    writable = committer.writable
    try:
        ticket = committer.submit([entry])
    except LogUnavailable as error:
        assert not writable
        say("dropped", entry.id, str(error))
        return
    assert writable, "a wish was taken while the log could not be written"
    try:
        say("kept", [entry.id], await ticket.wait())
    except LogUnavailable as error:
        say("dropped" if ticket.dropped else "unknown", entry.id, str(error))


async def keep_snapshot(committer: Committer, say: Say) -> None:
    def keep(log: Log) -> None:
        log.keep_snapshots([Snapshot("presence", 1, log.position, b"leaf", b"s" * 9000)])

    try:
        await committer.between(keep)
    except LogUnavailable as error:
        say("no snapshot", str(error))


async def relieve() -> None:
    """End a fault some time after it has begun."""
    while not struck():  # noqa: ASYNC110 - whoever strikes is no task
        await trio.sleep(0.5)
    await trio.sleep(LASTS)
    disarm()


if __name__ == "__main__":
    assert seen() == 0
    histories = (committing, reading_beside, losing_pages, losing_pages_and_going_on, losing_pages_for_good)
    serve({history.__name__: history for history in histories})

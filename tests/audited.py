"""Logs for tests of audits: vouched for up to some position, and then meddled with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from stationkeeper import projections
from stationkeeper.daemon.audit.verdict import Report, verify
from stationkeeper.engine.entry import Entry, leaf
from stationkeeper.engine.errors import Fenced
from stationkeeper.engine.fold import Fold, Projection
from stationkeeper.engine.ledger.keeper import Ledger, open_ledger
from stationkeeper.engine.ledger.note import VerifyingKey
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.snapshots import take


def plain(entry: Entry) -> Entry:
    """Return an entry as it is before it is in a log."""
    return Entry(*[getattr(entry, name) for name in Entry.__struct_fields__])


def forged(entry: Entry, **changes: Any) -> Entry:
    """Return an entry with other fields, and the leaf that fits these."""
    changed = replace(plain(entry), **changes)
    return replace(changed, leaf=leaf(changed))


def append_all(log: SqliteLog, entries: Iterable[Entry]) -> None:
    """Append what a log takes of some entries: those of runs that have ended are left out."""
    for entry in entries:
        try:
            log.append([plain(entry)])
        except Fenced:
            continue


def ledger_of(log: SqliteLog) -> Ledger:
    secrets = open_secrets(log.path, log.log_id, create=True)
    assert secrets is not None
    with closing(secrets):
        return open_ledger(log, log.path, log.log_id, secrets)


def vouch(log: SqliteLog) -> None:
    """Write a checkpoint of all that a log holds."""
    ledger = ledger_of(log)
    ledger.protect(*ledger.note())


def keep_snapshots(log: SqliteLog) -> None:
    """Keep a snapshot of everything that an audit can judge."""
    fold = Fold([one for one in vars(projections).values() if isinstance(one, Projection)])
    for recorded in log.read():
        fold.advance(recorded)
    log.keep_snapshots([*take(fold), ledger_of(log).snapshot()])


def make(path: Path, protected: Iterable[Entry], later: Iterable[Entry] = ()) -> tuple[int, int]:
    """Make a log whose first events are vouched for; return how far that reaches, and where it ends."""
    with closing(open_log(path)) as log:
        append_all(log, protected)
        vouch(log)
        reach = log.position
        append_all(log, later)
        return reach, log.position


def audit(path: Path, *, checkpoints: Sequence[Path] = (), keys: Sequence[VerifyingKey] = (), **more: Any) -> Report:
    return verify(str(path), files=checkpoints, keys=keys, replay=more.get("replay", True), tell=lambda seen: None)


def tamper(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    """Change a log with another program than ours."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            sql, values = (statement, ()) if isinstance(statement, str) else statement
            connection.execute(sql, values)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def files_of(path: Path) -> dict[str, bytes]:
    """Return the bytes of a log and of all that stands beside it, but for SQLite's shared memory."""
    return {
        file.name: file.read_bytes()
        for file in sorted(path.parent.iterdir())
        if file.is_file() and not file.name.endswith("-shm")
    }

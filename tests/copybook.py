"""Logs on the disk that have a past, for tests of what is copied from them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from histories import History

from stationkeeper.engine.entry import Entry, Recorded
from stationkeeper.engine.errors import Conflict, Fenced
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.keeper import Ledger, open_ledger
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.secrets import MemorySecrets, Secrets, open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

REMOTE = b"203.0.113.77:50123"
"""Private in the events of these logs."""


def some(first: int, count: int, subject: str = "CP-1") -> list[Entry]:
    """Return entries that are good for any log, with something private."""
    return [some_entry(f"e{n}", subject=subject, private=REMOTE) for n in range(first, first + count)]


@contextmanager
def writing(path: Path) -> Generator[tuple[SqliteLog, Secrets, Ledger]]:
    """Write a log for as long as the block lasts, as a daemon does; an unfinished `-wal` is left at the end."""
    with closing(open_log(path)) as log:
        secrets = open_secrets(path, log.log_id, create=log.position == 0) or MemorySecrets()
        with closing(secrets):
            yield log, secrets, open_ledger(log, path, log.log_id, secrets)


def append(log: SqliteLog, ledger: Ledger, entries: Sequence[Entry], *, protect: bool = True) -> None:
    """Append, and vouch for it outside."""
    log.append(entries)
    if fresh := list(log.read(ledger.size)):
        ledger.extend(fresh)
    if protect and ledger.key is not None:
        ledger.protect(*ledger.note())


def make(path: Path, events: int = 10, *, unprotected: int = 0) -> list[Recorded]:
    """Make a log with secrets and a checkpoint, and return its events; the last few came after the checkpoint."""
    with writing(path) as (log, secrets, ledger):
        secrets.keep("s1", b"a signing secret")
        append(log, ledger, some(1, events - unprotected))
        append(log, ledger, some(events - unprotected + 1, unprotected), protect=False)
        return list(log.read())


def make_of(path: Path, history: Sequence[Entry] | History) -> list[Recorded]:
    """Make a log of a history, without what no log takes, and return its events."""
    with writing(path) as (log, _, ledger):
        for entry in history:
            try:
                append(log, ledger, [entry], protect=False)
            except (Conflict, Fenced):
                continue
        if ledger.size:
            ledger.protect(*ledger.note())
        return list(log.read())


def events_of(path: Path) -> list[Recorded]:
    with closing(open_reader(path)) as reader:
        return list(reader.read())


def tamper(path: Path, *statements: str) -> None:
    """Change a log behind everybody's back."""
    with closing(connect(path, mode="rw")) as connection:
        for statement in statements:
            connection.execute(statement)


CUT = ("DELETE FROM event WHERE position > 4", "UPDATE head SET position = 4")
CHANGED = ("UPDATE event SET body = x'7b207d' WHERE position = 3",)


def files(folder: Path) -> dict[str, bytes]:
    """Return what stands in a folder, without locks and what readers share."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and not file.name.endswith((".lock", "-shm"))
    }


def checkpoint_of(path: Path) -> Checkpoint:
    """Return the checkpoint that stands beside a log."""
    note = outside.read_note(path)
    assert note is not None
    return Checkpoint.parse(note)

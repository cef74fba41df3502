"""Copies of a log that are made, or taken up, by a process that dies: histories for `test_crash_copies.py`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from faulted import Say, arm, kept, lay_down, record, serve
from faulting import NONE, Fault

from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.exporting import export
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.errors import LogError
from stationkeeper.engine.ledger.keeper import open_ledger
from stationkeeper.engine.log.redaction import redact
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

REMOTE = b"203.0.113.77:50123"
"""Private in the events."""


PREPARED: Mapping[str, bytes] = {}
"""What `make_a_past` made."""


def prepare(folder: Path) -> Path:
    """Begin with a log that went on for three events after a backup and an export of it."""
    lay_down(PREPARED, folder)
    return folder / "fleet.db"


def begin(folder: Path, fault: Fault) -> None:
    """Arm the fault; without one, let all be recorded from here on, beside what there is."""
    if fault != NONE:
        arm(folder, fault)
        return
    shutil.copytree(folder, folder.with_name(f"{folder.name}.before"))
    record(folder, folder.with_name(f"{folder.name}.trace"))


def make_a_past(folder: Path) -> None:
    log = folder / "fleet.db"
    write(log, 1, 2, 3, 4)
    back_up(log, folder / "backup.db", with_secrets=True)
    export(log, folder / "export.jsonl")
    write(log, 5, 6, 7)


def write(path: Path, *numbers: int) -> None:
    """Append events, and vouch for them."""
    with closing(open_log(path)) as log:
        log.append([some_entry(f"{n}", private=REMOTE) for n in numbers])
        secrets = open_secrets(path, log.log_id, create=True)
        assert secrets is not None
        with closing(secrets):
            ledger = open_ledger(log, path, log.log_id, secrets)
            ledger.protect(*ledger.note())


def backing_up(folder: Path, fault: Fault, say: Say) -> None:
    log = prepare(folder)
    begin(folder, fault)
    with refused(say):
        back_up(log, folder / "new.db", with_secrets=True)
        say("done")


def restoring(folder: Path, fault: Fault, say: Say) -> None:
    log = prepare(folder)
    begin(folder, fault)
    with refused(say):
        restore(folder / "backup.db", log)
        say("done")


def restoring_itself(folder: Path, fault: Fault, say: Say) -> None:
    log = prepare(folder)
    begin(folder, fault)
    with refused(say):
        restore(log, log)
        say("done")


def importing(folder: Path, fault: Fault, say: Say) -> None:
    prepare(folder)
    begin(folder, fault)
    with refused(say):
        import_log(folder / "export.jsonl", folder / "new.db")
        say("done")


def redacting(folder: Path, fault: Fault, say: Say) -> None:
    log = open_log(prepare(folder))
    begin(folder, fault)
    with refused(say):
        redact(log, "CP-1")
        say("done")


@contextmanager
def refused(say: Say) -> Iterator[None]:
    """Tell what could not be done, and why."""
    try:
        yield
    except LogError as error:
        say("refused", type(error).__name__, str(error))


if __name__ == "__main__":
    PREPARED = kept(make_a_past)
    histories = (backing_up, restoring, restoring_itself, importing, redacting)
    serve({history.__name__: history for history in histories})

"""Killed at each step of a backup, an import, a restore or a redaction: nothing is lost, and the next try ends it.

Between the steps of CI, each a sync or a change of a name, there are only writes to files that nobody has seen yet;
`make soak` tries them all, and the middle of each.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from faulting import (
    DIE,
    EVERYTHING,
    EVERYWHERE,
    NAME,
    SYNC,
    Victim,
    compiled,
    deaths,
    folder_in_memory,
    victim,
)

from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.entry import leaf
from stationkeeper.engine.errors import LogDamaged
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import origin_of
from stationkeeper.engine.ledger.keeper import known_checkpoint
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.redaction import redact
from stationkeeper.engine.log.secrets import open_secrets, secrets_path
from stationkeeper.engine.log.sqlite import open_log

WAYS = EVERYWHERE if EVERYTHING else ((SYNC | NAME, DIE),)
BEFORE = ["1", "2", "3", "4"]
AFTER = [*BEFORE, "5", "6", "7"]
REMOTE = b"203.0.113.77"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("dying_copies.py"), library) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def ids(path: Path) -> list[str]:
    """Read a log, check it, and return the ids of its events; that of a restore is drawn, so its kind stands here."""
    with closing(open_reader(path)) as reader:
        events = list(reader.read())
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert all(event.leaf == leaf(event) for event in events)
    return [event.kind if event.kind == "log.restored" else event.id for event in events]


def is_mute(path: Path) -> bool:
    """Return whether a log has its secrets, but sends nothing until it is adopted."""
    with closing(open_reader(path)) as reader:
        secrets = open_secrets(path, reader.log_id, create=False)
    assert secrets is not None
    with closing(secrets):
        return secrets.held


def bytes_of(path: Path) -> dict[str, bytes]:
    files = (path, secrets_path(path), outside.checkpoint_path(path), outside.keys_path(path))
    return {file.name: file.read_bytes() for file in files}


def test_a_backup_is_there_as_a_whole_or_not_at_all(process: Victim, folder: Path) -> None:
    for outcome, log in deaths(process, folder, "backing_up", ways=WAYS):
        before, backup = bytes_of(log), log.with_name("new.db")
        done = backup.exists()
        assert done or outcome.status != 0
        if not done:
            for left in log.parent.glob("new.db.secrets*"):
                left.unlink()  # the next try leaves them alone, and says so: somebody may need them
            back_up(log, backup, with_secrets=True)
        assert ids(backup) == AFTER
        assert is_mute(backup)
        assert bytes_of(log) == before


def test_an_import_is_there_as_a_whole_or_not_at_all(process: Victim, folder: Path) -> None:
    for _, log in deaths(process, folder, "importing", ways=WAYS):
        imported = log.with_name("new.db")
        if not imported.exists():
            import_log(log.with_name("export.jsonl"), imported)
        assert ids(imported) == BEFORE


@pytest.mark.parametrize("history", ["restoring", "restoring_itself"])
def test_a_restore_loses_nothing_and_the_next_one_ends_it(process: Victim, folder: Path, history: str) -> None:
    wanted = BEFORE if history == "restoring" else AFTER
    for outcome, log in deaths(process, folder, history, ways=WAYS):
        copy = log.parent / "looked at"
        shutil.copytree(log.parent, copy, ignore=shutil.ignore_patterns("looked at"))
        with suppress(LogDamaged), closing(open_log(copy / log.name)) as opened:
            assert opened.position in (len(AFTER), len(wanted) + 1), "another log was begun in its place"
        replaced = [file for file in log.parent.glob("fleet.db.replaced-*Z") if file.read_bytes()[:6] == b"SQLite"]
        assert AFTER in [ids(file) for file in [*replaced, log] if file.exists()], "the old log is nowhere"
        if outcome.status != 0:
            restore(log if history == "restoring_itself" else log.with_name("backup.db"), log)
        found = ids(log)
        assert found[-1] == "log.restored"
        assert [id for id in found if id != "log.restored"] == wanted
        assert is_mute(log)
        with closing(open_reader(log)) as reader:
            known = known_checkpoint(log, origin_of(reader.log_id))
        assert known is not None
        assert known.size == len(found)


def test_a_redaction_is_ended_by_the_next_one_and_changes_no_leaf(process: Victim, folder: Path) -> None:
    for outcome, log in deaths(process, folder, "redacting", ways=WAYS):
        assert ids(log) == AFTER
        if not outcome.words("redacted"):
            with closing(open_log(log)) as opened:
                redact(opened, "CP-1")
        assert ids(log) == AFTER
        for file in log.parent.glob("fleet.db*"):
            assert REMOTE not in file.read_bytes(), f"{file.name} still holds what was private"

"""Restores and exports by a process that dies before each step, where the log that is replaced still has its `-wal`.

Backups, imports and redactions die in `tests/engine/log/test_crash_copies.py`. In CI the steps are syncs and changes of
names, between which nobody sees what is written; `make soak` tries every step, and the middle of each write.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from copybook import events_of, files, writing
from faulting import (
    DIE,
    EVERYTHING,
    EVERYWHERE,
    NAME,
    SYNC,
    Fault,
    Outcome,
    Victim,
    compiled,
    folder_in_memory,
    victim,
)

from stationkeeper.engine.copies.exporting import export
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import LogContradicted, LogDamaged
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import open_log

HERE, THERE, TEXT = "fleet.db", "copy.db", "text"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("dying_restores.py"), library) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def deaths(process: Victim, folder: Path, history: str) -> Iterator[tuple[Outcome, Path]]:
    """Let a history die at each of its steps, and at last live; yield what it had said, and where its files are."""
    past = folder / "past"
    past.mkdir()
    assert process.play("past", past).status == 0
    for sorts, how in EVERYWHERE if EVERYTHING else ((SYNC | NAME, DIE),):
        status, step = -signal.SIGKILL, 0
        while status != 0:
            step += 1
            here = folder / f"{step}"
            shutil.copytree(past, here)
            outcome = process.play(history, here, Fault(sorts, how, step))
            status = outcome.status
            assert status in (0, -signal.SIGKILL)
            try:
                yield outcome, here
            except Exception as error:
                error.add_note(f"at step {step} ({how}): {outcome.said}, {sorted(files(here))}")
                raise
            shutil.rmtree(here)
        assert step > 3


ALL = [f"e{n}" for n in range(1, 13)]


def test_an_export_is_whole_or_not_there(process: Victim, folder: Path) -> None:
    for outcome, here in deaths(process, folder, "exporting"):
        if not (here / "new").exists():
            assert not outcome.words("done")
            export(here / HERE, here / "new")
        assert import_log(here / "new", here / "new.db") == 12


def everything(here: Path) -> set[str]:
    """Return the ids of all events in the log and in what was set aside."""
    found: set[str] = set()
    for path in here.glob(f"{HERE}*"):
        if path.name == HERE or (path.name.startswith(f"{HERE}.replaced-") and path.name.endswith("Z")):
            found |= {event.id for event in events_of(path)}
    return found


def look(here: Path) -> list[Recorded]:
    """Return the events of the log as a start would find them; none where it refuses."""
    try:
        with closing(open_log(here / HERE)) as log:
            secrets = open_secrets(here / HERE, log.log_id, create=False)
            held = secrets is None or secrets.held
            if secrets is not None:
                secrets.close()
            events = list(log.read())
            if events[-1].kind == "log.restored":
                assert held, "it was restored, and would speak"
            else:
                assert not held, "it was not restored, and was muted"
        with writing(here / HERE):
            return events
    except (LogContradicted, LogDamaged):
        return []


@pytest.mark.parametrize(
    ("history", "source"), [("restoring", THERE), ("restoring_an_export", TEXT), ("restoring_here", HERE)]
)
def test_a_restore_has_not_begun_or_can_be_done_again(process: Victim, folder: Path, history: str, source: str) -> None:
    wanted = ALL if source == HERE else ALL[:8]
    for outcome, here in deaths(process, folder, history):
        found = look(here)
        ids = [event.id for event in found]
        assert ids in ([], ALL) or (ids[:-1], found[-1].kind) == (wanted, "log.restored")
        if outcome.words("done"):
            assert found[-1].kind == "log.restored"
        restore(here / source, here / HERE)

        again = events_of(here / HERE)
        told = [event.id for event in again if event.kind != "log.restored"]
        assert told == wanted
        assert again[-1].kind == "log.restored"
        assert everything(here) >= set(ALL)
        with writing(here / HERE) as (log, secrets, ledger):
            assert ledger.protected == log.position
            assert secrets.held
            assert secrets.get("s1") == b"a signing secret"
        assert not [name for name in files(here) if ".restoring" in name]

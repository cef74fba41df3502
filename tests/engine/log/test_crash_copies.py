"""Killed at each step of a backup, an import, a restore or a redaction: nothing is lost, and the next try ends it.

Between the steps of CI, each a sync or a change of a name, there are only writes to files that nobody has seen yet;
`make soak` tries them all, and the middle of each.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from disks import Disk, parse
from faulting import (
    DIE,
    EVERYTHING,
    EVERYWHERE,
    NAME,
    OPEN,
    SYNC,
    WRITE,
    Fault,
    Victim,
    compiled,
    deaths,
    faults,
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
from stationkeeper.engine.log.secrets_key import default_key_file
from stationkeeper.engine.log.sqlite import open_log

WAYS = EVERYWHERE if EVERYTHING else ((SYNC | NAME, DIE),)
BEFORE = ["1", "2", "3", "4"]
AFTER = [*BEFORE, "5", "6", "7"]
REMOTE = b"203.0.113.77"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("shims")
    shims = compiled("recorder", folder), compiled("faults", folder)
    with victim(Path(__file__).with_name("dying_copies.py"), *shims) as process:
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
        secrets = open_secrets(path, reader.log_id, create=False, key=default_key_file(path.with_name("fleet.db")))
    assert secrets is not None
    with closing(secrets):
        return secrets.held


def bytes_of(path: Path) -> dict[str, bytes]:
    files = (path, secrets_path(path), outside.checkpoint_path(path), outside.keys_path(path))
    return {file.name: file.read_bytes() for file in files}


def judge_backup(log: Path, before: dict[str, bytes], *, done: bool) -> None:
    """A backup is there as a whole or not at all, and the next try makes it."""
    backup = log.with_name("new.db")
    if not backup.exists():
        assert not done
        for left in log.parent.glob("new.db.secrets*"):
            left.unlink()  # the next try leaves them alone, and says so: somebody may need them
        back_up(log, backup, with_secrets=True)
    assert ids(backup) == AFTER
    assert is_mute(backup)
    assert bytes_of(log) == before


def judge_import(log: Path, *, done: bool) -> None:
    """An import is there as a whole or not at all, and the next try makes it."""
    imported = log.with_name("new.db")
    if not imported.exists():
        assert not done
        import_log(log.with_name("export.jsonl"), imported)
    assert ids(imported) == BEFORE


def judge_restore(log: Path, history: str, *, done: bool) -> None:
    """A restore has lost nothing, nobody begins another log in between, and the next try ends it."""
    wanted = BEFORE if history == "restoring" else AFTER
    copy = log.parent / "looked at"
    shutil.copytree(log.parent, copy, ignore=shutil.ignore_patterns("looked at"))
    with suppress(LogDamaged), closing(open_log(copy / log.name)) as opened:
        assert opened.position in (len(AFTER), len(wanted) + 1), "another log was begun in its place"
    replaced = [file for file in log.parent.glob("fleet.db.replaced-*Z") if file.read_bytes()[:6] == b"SQLite"]
    assert AFTER in [ids(file) for file in [*replaced, log] if file.exists()], "the old log is nowhere"
    if not done:
        restore(log if history == "restoring_itself" else log.with_name("backup.db"), log)
    found = ids(log)
    assert found[-1] == "log.restored"
    assert [id for id in found if id != "log.restored"] == wanted
    assert is_mute(log)
    with closing(open_reader(log)) as reader:
        known = known_checkpoint(log, origin_of(reader.log_id))
    assert known is not None
    assert known.size == len(found)


def judge_redaction(log: Path, *, done: bool) -> None:
    """A redaction changes no leaf, and the next try ends it."""
    assert ids(log) == AFTER
    if not done:
        with closing(open_log(log)) as opened:
            redact(opened, "CP-1")
    assert ids(log) == AFTER
    for file in log.parent.glob("fleet.db*"):
        assert REMOTE not in file.read_bytes(), f"{file.name} still holds what was private"


def judge(history: str, log: Path, before: dict[str, bytes], *, done: bool) -> None:
    match history:
        case "backing_up":
            judge_backup(log, before, done=done)
        case "importing":
            judge_import(log, done=done)
        case "redacting":
            judge_redaction(log, done=done)
        case _:
            judge_restore(log, history, done=done)


STEP: dict[int, int] = {} if EVERYTHING else {WRITE: 15, OPEN: 3}
"""Of writes and openings one in so many is tried in CI; of syncs, removals and renames each."""
HISTORIES = ["backing_up", "importing", "restoring", "restoring_itself", "redacting"]


@pytest.mark.parametrize("history", HISTORIES)
def test_whichever_step_is_the_last_nothing_is_lost_and_the_next_try_ends_it(
    process: Victim, folder: Path, history: str
) -> None:
    for outcome, log in deaths(process, folder, history, ways=WAYS):
        judge(history, log, bytes_of(log) if history == "backing_up" else {}, done=bool(outcome.words("done")))


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("sort", [WRITE, SYNC, OPEN, NAME], ids=["write", "sync", "open", "name"])
def test_whichever_call_fails_nothing_is_lost_and_the_next_try_ends_it(
    process: Victim, folder: Path, history: str, sort: int
) -> None:
    (folder / "count").mkdir()
    calls = process.play(history, folder / "count", Fault(sort, first=0, times=-1)).seen
    for number, fault in enumerate(faults(sort, calls)):
        if fault.first % STEP.get(sort, 1):
            continue
        log = folder / f"{number}" / "fleet.db"
        log.parent.mkdir()
        outcome = process.play(history, log.parent, fault)
        try:
            assert outcome.status == 0
            judge(history, log, bytes_of(log) if history == "backing_up" else {}, done=bool(outcome.words("done")))
        except BaseException as error:
            error.add_note(f"{fault}: {outcome.said}")
            raise
        shutil.rmtree(log.parent)


@pytest.mark.parametrize("history", HISTORIES)
def test_whenever_the_power_fails_nothing_is_lost_and_the_next_try_ends_it(
    process: Victim, folder: Path, history: str
) -> None:
    (folder / "work").mkdir()
    assert process.play(history, folder / "work").status == 0
    start = {file.name: file.read_bytes() for file in (folder / "work.before").iterdir()}
    before = bytes_of(folder / "work.before" / "fleet.db")
    images = 0
    for done, files in disks(start, (folder / "work.trace").read_bytes()):
        images += 1
        log = folder / f"{images}" / "fleet.db"
        log.parent.mkdir()
        for name, content in files.items():
            (log.parent / name).touch(mode=0o600)
            (log.parent / name).write_bytes(content)
        try:
            judge(history, log, before, done=done)
        except BaseException as error:
            error.add_note(f"image {images}: {sorted(files)}")
            raise
        shutil.rmtree(log.parent)
    assert images > 10


def disks(start: dict[str, bytes], trace: bytes) -> Iterator[tuple[bool, dict[str, bytes]]]:
    """Yield what the disk may hold around each sync and change of a name, and whether that was the end."""
    chance, seen = random.Random(20261122), set[int]()
    disk = Disk(files=start)
    records = list(parse(trace))
    for record, following in zip(records, [*records[1:], None], strict=True):
        disk.do(record)
        done = following is None
        if not EVERYTHING and following is not None and not {record.kind, following.kind} & set("sur"):
            continue
        for fate in ("nothing", "all", "some"):
            files = disk.after_power_loss(fate, chance)
            state = hash((done, *sorted(files.items())))
            if state not in seen:
                seen.add(state)
                yield done, files

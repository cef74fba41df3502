"""Bad days in a process of their own: killed at each step of what it writes, or at any moment, and a disk that ends.

A step is a system call that changes a file. `faults.c` kills the process just before its k-th, for every k, and then
in the middle of each write.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faulting import (
    NAME,
    OPEN,
    SYNC,
    TRUNCATE,
    WRITE,
    Fault,
    Outcome,
    Victim,
    compiled,
    deaths,
    faults,
    folder_in_memory,
    victim,
)

from stationkeeper.engine.entry import leaf
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import signer_of
from stationkeeper.engine.log.driver import LAYOUT
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

APPENDER = """
import sys
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

log = open_log(sys.argv[1])
first = log.position
for n in range(10**9):
    positions = log.append([some_entry(f"{first + 3 * n + k}") for k in (1, 2, 3)])
    print(positions[-1], flush=True)
"""

UNTIL_THE_DISK_ENDS = """
import os, resource, signal, sys
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

path, ballast = sys.argv[1], sys.argv[1] + ".ballast"
log = open_log(path)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
if os.path.exists(ballast):
    relieve = lambda: os.unlink(ballast)
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    relieve = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
written = 0
batch = []
try:
    while True:
        batch = [some_entry(f"{written + k}", private=b"x" * 500) for k in (1, 2, 3)]
        log.append(batch)
        written += 3
        print("kept", log.position, flush=True)
except LogUnavailable as error:
    print("said", error, flush=True)
for _ in range(3):
    try:
        log.recover()
        log.append(batch)
        batch = [some_entry(f"more {log.position + k}", private=b"x" * 100_000) for k in (1, 2, 3)]
    except LogUnavailable as error:
        print("said", error, flush=True)
relieve()
log.recover()
log.append(batch)
print("kept", log.position, flush=True)
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("dying_log.py"), library) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.mark.parametrize(
    "history", ["making", "opening", "appending", "recovering", "keeping_snapshots", "checkpointing", "closing"]
)
def test_whichever_step_is_the_last_a_log_holds_whole_batches_and_all_that_was_acknowledged(
    process: Victim, folder: Path, history: str
) -> None:
    for outcome, path in deaths(process, folder, history):
        with closing(open_log(path)) as log:
            check_batches(outcome, log)
            states = {kept.state for name in ("presence", "outbox") if (kept := log.snapshot(name))}
            assert len(states) <= 1, "of snapshots kept together one is older"


def check_batches(outcome: Outcome, log: SqliteLog) -> None:
    """Check that a log is whole, holds what its dead writer was told, and goes on."""
    events = list(log.read())
    ids = [event.id for event in events]
    assert [event.position for event in events] == list(range(1, log.position + 1))
    assert all(event.leaf == leaf(event) for event in events)
    assert len(set(ids)) == len(ids)
    assert log.fetch("PRAGMA integrity_check", ()) == [("ok",)]
    for batch, positions in outcome.words("kept"):
        assert [ids[position - 1] for position in positions] == batch
    for (batch,) in outcome.words("tried"):
        assert set(batch) <= set(ids) or not set(batch) & set(ids), "a batch was split"
    assert log.append([some_entry("after", run="run-z")]) == [len(ids) + 1]


def test_whichever_step_is_the_last_an_old_log_is_of_its_layout_or_of_ours(process: Victim, folder: Path) -> None:
    known = json.loads((Path(__file__).parents[2] / "vectors" / "logs" / "0.1.0-killed.json").read_text())
    layouts: set[int] = set()
    for outcome, path in deaths(process, folder, "migrating"):
        with closing(open_reader(path)) as reader:
            layouts.add(reader.layout)
            before = [event.leaf for event in reader.read()]
        with closing(open_log(path)) as log:
            assert [event.leaf for event in log.read()] == before
            assert log.fetch("PRAGMA user_version", ()) == [(LAYOUT,)]
            check_batches(outcome, log)
        assert len(before) in (known["events"], known["events"] + 1)
    assert layouts == {1, LAYOUT}


def test_whichever_step_is_the_last_each_secret_is_the_old_or_the_new_one(process: Victim, folder: Path) -> None:
    for outcome, path in deaths(process, folder, "keeping_secrets"):
        check_secrets(outcome, path)


@pytest.mark.parametrize("sort", [WRITE, SYNC, OPEN, TRUNCATE, NAME])
def test_whichever_call_fails_each_secret_is_the_old_or_the_new_one(process: Victim, folder: Path, sort: int) -> None:
    (folder / "count").mkdir()
    calls = process.play("keeping_secrets", folder / "count", Fault(sort, first=0, times=-1)).seen
    for number, fault in enumerate(faults(sort, calls)):
        (folder / f"{number}").mkdir()
        outcome = process.play("keeping_secrets", folder / f"{number}", fault)
        assert outcome.status == 0, f"{fault}: {outcome.said}"
        check_secrets(outcome, folder / f"{number}" / "fleet.db")


def check_secrets(outcome: Outcome, path: Path) -> None:
    """Check that each secret is one that it was changed to, the last if that is known, and what it was before gone."""
    allowed: dict[str, set[str | None]] = {"a": {None}, "b": {None}}
    for word, *rest in outcome.said:
        if word == "changing":
            allowed[rest[0]] |= {rest[1]}
        elif word == "changed":
            allowed[rest[0]] = {rest[1]}
    with closing(open_log(path)) as log:
        secrets = open_secrets(path, log.log_id, create=True)
    assert secrets is not None
    with closing(secrets):
        for id, values in allowed.items():
            found = secrets.get(id)
            assert (found and found.decode()) in values, f"{id}: {outcome.said}"
    for id, secret in (("a", "one"), ("b", "two")):
        if secret * 500 not in allowed[id]:
            assert secret.encode() * 20 not in secrets.path.read_bytes(), f"{secret} was replaced"


def test_whichever_step_is_the_last_the_checkpoint_beside_a_log_is_the_old_or_the_new_one(
    process: Victim, folder: Path
) -> None:
    for outcome, path in deaths(process, folder, "writing_checkpoints"):
        note = outside.read_note(path)
        said = max((size for (size,) in outcome.words("size")), default=0)
        if note is None:
            assert said == 0
        else:
            assert signer_of(note, outside.read_keys(path)) is not None
            assert Checkpoint.parse(note).size in (said, said + 1)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "fleet.db"
    for life in range(3):
        acknowledged = kill_while_appending(path, after=random.Random(seed * 10 + life).randrange(1, 120))

        with closing(open_log(path)) as log:
            ids = [event.id for event in log.read()]
        assert len(ids) >= acknowledged
        assert len(ids) % 3 == 0, "a batch was split"
        assert ids == [str(n) for n in range(1, len(ids) + 1)]


def kill_while_appending(path: Path, *, after: int) -> int:
    """Kill a process that appends, after so many acknowledgements; return the last that it gave."""
    child = subprocess.Popen([sys.executable, "-c", APPENDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = ""
    for _ in range(after):
        said = child.stdout.readline() or said
    child.send_signal(signal.SIGKILL)
    said = ([said, *child.stdout.readlines()])[-1]
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return int(said)


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    check_that_nothing_is_lost(tmp_path / "fleet.db", "check the disk, its limits")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, nearly full of what can be thrown away."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems can only be mounted by root: run this test as root")
    (disk / "fleet.db.ballast").write_bytes(bytes(600_000))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    check_that_nothing_is_lost(small_disk / "fleet.db", "the disk is full")


def check_that_nothing_is_lost(path: Path, remedy: str) -> None:
    """Append until the disk ends, and on once it has room again."""
    command = [sys.executable, "-c", UNTIL_THE_DISK_ENDS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    kept = [int(rest) for word, rest in lines if word == "kept"]
    said = [rest for word, rest in lines if word == "said"]
    assert len(said) >= 2
    assert all(remedy in text for text in said)
    with closing(open_log(path)) as log:
        assert log.position == kept[-1] > kept[-2]
        assert len({event.id for event in log.read()}) == log.position

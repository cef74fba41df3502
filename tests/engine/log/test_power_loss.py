"""Power that fails at any moment: what was acknowledged is there, whatever the disk had not been told to keep.

A process works on a log while `recorder.c`, preloaded, writes down each write and sync. From the record we build what
the disk may hold if the power fails after any one of them: nothing of what was not synced, all of it, or some sectors
of it; names of files likewise. Each such disk is opened as a log, and must hold all that had been acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from disks import Disk, Record, parse, recovered
from faulting import compiled, folder_in_memory

from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import signer_of
from stationkeeper.engine.log.secrets import open_secrets

LIVES = 10 if os.environ.get("SOAK") else 2
"""How often the process opens its log, works on it, and closes it."""

SCRIPT = """
import os, sys
from stationkeeper.engine.log import Snapshot, opening, sqlite
from stationkeeper.engine.testing.logs import some_entry

sqlite.CHECKPOINT_PAGES = 40
opening.PRAGMAS["synchronous"] = int(sys.argv[2])
path = sys.argv[1]
acks = os.open(path + ".acks", os.O_RDWR | os.O_CREAT)
for life in range(int(sys.argv[3])):
    log = sqlite.open_log(path)
    for n in range(12):
        log.append([some_entry(f"{log.position + k}", private=b"x" * 300 * n) for k in range(1, n % 3 + 2)])
        os.pwrite(acks, b"%08d" % log.position, 0)
    log.keep_snapshots([Snapshot("presence", 1, log.position, b"leaf", b"s" * 9000)])
    log.recover()
    log.append([some_entry(f"{log.position + 1}")])
    os.pwrite(acks, b"%08d" % log.position, 0)
    log.close()
"""

BESIDE = """
import os, sys
from pathlib import Path
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import SigningKey
from stationkeeper.engine.log.secrets import open_secrets

path = Path(sys.argv[1])
acks = os.open(str(path) + ".acks", os.O_RDWR | os.O_CREAT)
key = SigningKey("origin", b"k" * 32)
for life in range(2):
    secrets = open_secrets(path, "log", create=True)
    outside.add_key(path, key.public)
    for n in range(1 + 3 * life, 4 + 3 * life):
        outside.write_note(path, Checkpoint("origin", n, b"r" * 32).signed(key))
        secrets.keep("newest", b"%d" % n)
        os.pwrite(acks, b"%08d" % n, 0)
    secrets.close()
"""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("recorder", tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def run(recorder: Path, folder: Path, script: str = SCRIPT, *, synchronous: int = 2) -> list[Record]:
    """Run a script and return all that it did to the files of its log."""
    work, trace = folder / "work", folder / "trace"
    work.mkdir()
    watched = {"LD_PRELOAD": str(recorder), "RECORDER_FOLDER": str(work), "RECORDER_TRACE": str(trace)}
    command = [sys.executable, "-c", script, str(work / "fleet.db"), str(synchronous), str(LIVES)]
    subprocess.run(command, check=True, env={**os.environ, **watched})
    return list(parse(trace.read_bytes()))


def outcomes(records: Iterable[Record], chance: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield every different disk that a power loss may leave, with the position acknowledged by then."""
    disk, seen = Disk(), set[int]()
    for record in records:
        disk.do(record)
        for fate in ("nothing", "all", "some"):
            files = disk.after_power_loss(fate, chance)
            state = hash((disk.acknowledged, *sorted(files.items())))
            if state not in seen:
                seen.add(state)
                yield disk.acknowledged, files


def test_what_was_acknowledged_survives_a_power_loss_at_any_moment(recorder: Path, folder: Path) -> None:
    records = run(recorder, folder, synchronous=2)
    acknowledged = number = 0

    for number, (acknowledged, files) in enumerate(outcomes(records, random.Random(20261122)), start=1):
        assert recovered(folder / str(number), files) >= acknowledged

    assert number > 250 * LIVES
    assert acknowledged == 25 * LIVES


def test_the_files_beside_a_log_survive_it_too(recorder: Path, folder: Path) -> None:
    states = list(outcomes(run(recorder, folder, BESIDE), random.Random(20261122)))

    assert len(states) > 100
    assert states[-1][0] == 6
    for n, (acknowledged, files) in enumerate(states):
        path = folder / str(n) / "fleet.db"
        path.parent.mkdir()
        for name, content in files.items():
            (path.parent / name).touch(mode=0o600)
            (path.parent / name).write_bytes(content)
        note = outside.read_note(path)
        protected = 0 if note is None else Checkpoint.parse(note).size
        assert note is None or signer_of(note, outside.read_keys(path)) is not None
        secrets = open_secrets(path, "log", create=True)
        assert secrets is not None
        with closing(secrets):
            newest = int(secrets.get("newest") or 0)
        assert acknowledged <= protected <= acknowledged + 1
        assert acknowledged <= newest <= protected
        shutil.rmtree(path.parent)


def test_the_same_without_syncs_is_found_out(recorder: Path, folder: Path) -> None:
    """The control: if this passed with syncs left out, the test above would prove nothing."""
    records = run(recorder, folder, synchronous=1)
    states = outcomes(records, random.Random(20261122))

    assert any(recovered(folder / str(n), files) < acknowledged for n, (acknowledged, files) in enumerate(states))

"""Power that fails at any moment: what was acknowledged is there, whatever the disk had not been told to keep.

A process works on a log while `recorder.c`, preloaded, writes down each write and sync. From the record we build what
the disk may hold if the power fails after any one of them: nothing of what was not synced, all of it, or some sectors
of it; names of files likewise. Each such disk is opened as a log, and must hold all that had been acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from disks import Disk, Record, parse, recovered
from faulting import compiled, folder_in_memory

from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import signer_of
from stationkeeper.engine.log.secrets import open_secrets, secrets_path
from stationkeeper.engine.log.secrets_file import head_of
from stationkeeper.engine.log.secrets_key import KeyFile, default_key_file

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


SEALING = """
import os, sys
from pathlib import Path
from stationkeeper.engine.log.sealing import SecretsKey
from stationkeeper.engine.log.secrets import open_secrets, rotate_key
from stationkeeper.engine.log.secrets_key import KeyFile, default_key_file

path = Path(sys.argv[1])
acks = os.open(str(path) + ".acks", os.O_RDWR | os.O_CREAT)
keys = default_key_file(path), KeyFile(path.with_name("elsewhere.key"))
def write_key_and_sync_nothing():
    file = os.open(keys[1].path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(file, SecretsKey.draw().text().encode())
    os.close(file)

steps = [
    lambda key: None,
    lambda key: secrets.keep("newest", b"canary-newest-2"),
    lambda key: secrets.keep("newest", b"canary-newest-3"),
    lambda key: rotate_key(path, "log", keys[0]),
    lambda key: secrets.keep("newest", b"canary-newest-5"),
    lambda key: secrets.forget("newest"),
    lambda key: rotate_key(path, "log", keys[0], keys[1]),
]
for number, step in enumerate(steps, start=1):
    rotation = number in (4, 7)
    if number == 7:
        write_key_and_sync_nothing()
    secrets = None if rotation else open_secrets(path, "log", create=False)
    step(keys)
    if secrets is not None:
        secrets.close()
    os.pwrite(acks, b"%08d" % number, 0)
"""
UNSEALED = """
CREATE TABLE secret (id TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('log', 'log');
INSERT INTO secret VALUES ('old', CAST('canary-from-before' AS BLOB));
PRAGMA application_id = 0x53544B53;
PRAGMA user_version = 1;
"""
"""The secrets file of an earlier release."""
NEWEST = [None, None, b"canary-newest-2", b"canary-newest-3", b"canary-newest-3", b"canary-newest-5", None, None]
"""What stands under `newest` after each step of `SEALING`."""


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
    work.mkdir(exist_ok=True)
    watched = {"LD_PRELOAD": str(recorder), "RECORDER_FOLDER": str(work), "RECORDER_TRACE": str(trace)}
    command = [sys.executable, "-c", script, str(work / "fleet.db"), str(synchronous), str(LIVES)]
    subprocess.run(command, check=True, env={**os.environ, **watched})
    return list(parse(trace.read_bytes()))


def outcomes(
    records: Iterable[Record], chance: random.Random, before: Mapping[str, bytes] | None = None
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield every different disk that a power loss may leave, with the position acknowledged by then."""
    disk, seen = Disk(files=before), set[int]()
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


def test_secrets_and_their_key_stay_together_while_they_are_sealed_and_keys_change(
    recorder: Path, folder: Path
) -> None:
    work = folder / "work"
    work.mkdir()
    with closing(sqlite3.connect(work / "fleet.db.secrets")) as file:
        file.executescript(UNSEALED)
    (work / "fleet.db.secrets").chmod(0o600)
    before = {"fleet.db.secrets": (work / "fleet.db.secrets").read_bytes()}
    records = run(recorder, folder, SEALING)
    states = list(outcomes(records, random.Random(20261123), before))

    assert len(states) > 100
    assert states[-1][0] == 7
    # Not in a journal either, of which nothing is left by now.
    assert not any(b"canary" in record.data for record in records)
    first_key = next(files["fleet.db.key"] for acknowledged, files in states if acknowledged == 3)
    for n, (acknowledged, files) in enumerate(states):
        path = folder / str(n) / "fleet.db"
        path.parent.mkdir()
        for name, content in files.items():
            (path.parent / name).touch(mode=0o600)
            (path.parent / name).write_bytes(content)
        id, here, elsewhere = head_of(secrets_path(path)).key, default_key_file(path), path.with_name("elsewhere.key")
        key = here if not id or here.fitting(id) else KeyFile(elsewhere)
        secrets = open_secrets(path, "log", create=False, key=key)
        assert secrets is not None
        with closing(secrets):
            assert secrets.get("old") == b"canary-from-before"
            assert secrets.get("newest") in NEWEST[acknowledged : acknowledged + 2]
        assert not acknowledged or b"canary" not in b"".join(files.values())
        assert acknowledged < 4 or not any(first_key.strip() in content for content in files.values())
        assert not list(path.parent.glob("*.new*"))
        shutil.rmtree(path.parent)


def test_the_same_without_syncs_is_found_out(recorder: Path, folder: Path) -> None:
    """The control: if this passed with syncs left out, the test above would prove nothing."""
    records = run(recorder, folder, synchronous=1)
    states = outcomes(records, random.Random(20261122))

    assert any(recovered(folder / str(n), files) < acknowledged for n, (acknowledged, files) in enumerate(states))

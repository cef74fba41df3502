"""Bad days in a process of their own: killed at any moment, and a disk that ends."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stationkeeper.engine.log.sqlite import open_log

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


@pytest.mark.parametrize("seed", range(6))
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

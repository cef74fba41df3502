"""Bad days in a process of their own: killed at any moment, and a disk that ends."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
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
import resource, signal, sys
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = open_log(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
n = 0
try:
    while True:
        positions = log.append([some_entry(f"{n + k}", private=b"x" * 500) for k in (1, 2, 3)])
        n += 3
        print("kept", positions[-1], flush=True)
except LogUnavailable as error:
    print("said", error, flush=True)
try:
    log.recover()
    log.append([some_entry(f"{n + k}", private=b"x" * 500) for k in (1, 2, 3)])
except LogUnavailable as error:
    print("said", error, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log.recover()
print("kept", log.append([some_entry(f"{n + k}") for k in (1, 2, 3)])[-1], flush=True)
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


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on files here")
def test_a_disk_that_ends_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_DISK_ENDS, str(path)], capture_output=True, text=True, check=True
    )

    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    kept = [int(rest) for word, rest in lines if word == "kept"]
    said = [rest for word, rest in lines if word == "said"]
    assert len(said) == 2
    assert all("free some space" in text for text in said)
    with closing(open_log(path)) as log:
        assert log.position >= kept[-1] > kept[0]
        assert len({event.id for event in log.read()}) == log.position

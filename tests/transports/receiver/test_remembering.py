"""A file of versions: what was kept is there for whoever looks next, whoever else writes, forks, closes or ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stationkeeper.transports.receiver import SQLiteVersions


def test_the_versions_are_on_the_disk_for_whoever_opens_the_file_next(tmp_path: Path) -> None:
    with SQLiteVersions(tmp_path / "v.db") as versions:
        assert versions.put("CP-7", 3)
        with SQLiteVersions(tmp_path / "v.db") as beside:
            assert (beside.get("CP-7"), beside.put("CP-7", 3), beside.put("CP-7", 4)) == (3, False, True)
        assert versions.get("CP-7") == 4
    assert versions.get("CP-7") == 4
    versions.close()


RACE = """
import sys
from stationkeeper.transports.receiver import SQLiteVersions
print("ready", flush=True)
sys.stdin.readline()
with SQLiteVersions("v.db") as versions:
    print(*[version for version in range(1, 40) if versions.put("CP-7", version)])
"""


def test_of_two_processes_each_version_is_news_to_one(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    with racers[0], racers[1]:
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"  # noqa: PT018
        told = [racer.communicate("go\n", timeout=60)[0].split() for racer in racers]

    assert not set(told[0]) & set(told[1])
    assert "39" in told[0] + told[1]
    with SQLiteVersions(tmp_path / "v.db") as versions:
        assert versions.get("CP-7") == 39


def run(script: str, folder: Path, *arguments: str) -> list[str]:
    """Return the lines that a script and its children print."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


FORK = """
import os
from stationkeeper.transports.receiver import SQLiteVersions
def opened():
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").endswith("/v.db") for fd in os.listdir("/proc/self/fd"))
with SQLiteVersions("v.db") as versions:
    versions.put("CP-7", 1)
    child = os.fork()
    if child == 0:
        versions.close()
        print(versions.put("CP-7", 2), versions.put("CP-7", 2), opened(), flush=True)
        versions.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(versions.get("CP-7"), versions.put("CP-7", 3))
"""
"""The child opens the file anew, and leaves the parent's connection alone (sqlite.org/howtocorrupt.html, 2.6)."""


def test_a_server_may_fork_after_the_file_was_opened(tmp_path: Path) -> None:
    assert run(FORK, tmp_path) == ["True False 2", "2 True"]


LEAVING = """
import os, subprocess, sys
from stationkeeper.transports.receiver import SQLiteVersions
versions = SQLiteVersions("v.db")
versions.put("CP-7", 1)
ready, left = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(left[1])
    versions.put("CP-8", 1)
    os.write(ready[1], b"x")
    os.read(left[0], 1)
    print(versions.put("CP-7", 2), flush=True)
    look = "from stationkeeper.transports.receiver import SQLiteVersions as S; print(S('v.db').get('CP-7'))"
    subprocess.run([sys.executable, "-c", look])
    os._exit(0)
os.read(ready[0], 1)
if sys.argv[1] == "closes":
    versions.close()
    os.write(left[1], b"x")
    os.wait()
"""


@pytest.mark.parametrize("parent", ["closes", "exits"])
def test_what_a_child_keeps_after_its_parent_left_is_seen_by_others(parent: str, tmp_path: Path) -> None:
    assert run(LEAVING, tmp_path, parent) == ["True", "2"]


RIVALS = """
import os
from stationkeeper.transports.receiver import SQLiteVersions
versions = SQLiteVersions("v.db")
versions.put("CP-7", 1)
child = os.fork()
print(*[version for version in range(2, 40) if versions.put("CP-7", version)], flush=True)
if child:
    os.wait()
"""


def test_of_a_parent_and_its_child_each_version_is_news_to_one(tmp_path: Path) -> None:
    told = " ".join(run(RIVALS, tmp_path)).split()

    assert len(told) == len(set(told))
    assert "39" in told


WITHIN = """
import os, signal, sqlite3, threading, time
from stationkeeper.transports.receiver import SQLiteVersions
opened, within = sqlite3.connect, threading.Event()
def linger():
    if os.path.exists("v.db-journal") and not within.is_set():
        within.set()
        time.sleep(0.1)
def connect(*arguments, **more):
    connection = opened(*arguments, **more)
    connection.set_progress_handler(linger, 1)
    return connection
versions = SQLiteVersions("v.db")
versions.get("CP-7")
versions.close()
sqlite3.connect = connect
threading.Thread(target=versions.put, args=("CP-7", 1)).start()
within.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)  # what hangs is ended
    print(versions.get("CP-7"), versions.put("CP-7", 1), versions.put("CP-7", 2), flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], versions.get("CP-7"))
"""
"""A thread is in the midst of writing, with SQLite's lock on the file, when another one forks."""


def test_a_child_that_was_forked_while_a_thread_wrote_reads_and_writes(tmp_path: Path) -> None:
    assert run(WITHIN, tmp_path) == ["1 False True", "0 2"]

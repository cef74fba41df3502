"""What is news: under any order of what comes, the newest version delivered is kept."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.transports.receiver import MemoryVersions, Message, Order, SQLiteVersions, Versions

STATIONS = ("CP-1", "CP-2", "Ütz/3\0")


def message(station: str | None, version: int | None, type: str = "") -> Message:
    online = None if version is None else bool(version % 2)
    return Message(
        id=f"msg_{station}_{version}",
        type=type or ("chargestation.online" if online else "chargestation.offline"),
        timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        data={},
        station=station,
        version=version,
        online=online,
    )


FLIPS = st.builds(message, st.sampled_from(STATIONS), st.integers(0, 6) | st.sampled_from((2**20 + 1, 2**63 - 1)))
SETTLED = st.builds(message, st.sampled_from(STATIONS), st.integers(0, 6), st.just("chargestation.offline.confirmed"))
STEPS = st.lists(st.tuples(FLIPS | SETTLED, st.sampled_from(("keep", "ask", "restart", "lose"))), max_size=40)


@pytest.mark.parametrize("kept", ["memory", "file"])
@settings(max_examples=examples(60))
@given(steps=STEPS)
def test_the_newest_version_delivered_is_kept_whatever_is_repeated_reordered_lost_or_restarted(
    kept: str, steps: list[tuple[Message, str]]
) -> None:
    newest: dict[str, int] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:

        def opened() -> Versions:
            return (
                stack.enter_context(SQLiteVersions(Path(folder, "versions.db"))) if kept == "file" else MemoryVersions()
            )

        versions = opened()
        for told, step in steps:
            assert told.station is not None and told.version is not None  # noqa: PT018
            if step == "lose":
                continue
            if step == "restart" and kept == "file":
                versions = opened()
            order, before = Order(versions), newest.get(told.station, 0)
            expected = told.version > before if told.flip else told.version >= before
            assert order.is_news(told) is expected
            if step != "ask":
                assert order.keep(told) is expected
                if told.flip:
                    newest[told.station] = max(before, told.version)
        assert {station: versions.get(station) for station in newest} == newest


def test_what_is_about_no_station_is_always_news() -> None:
    order = Order(MemoryVersions())

    assert [order.keep(message(None, None, "webhook.ping")) for _ in range(2)] == [True, True]


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


FORK = """
import os
from stationkeeper.transports.receiver import SQLiteVersions
def opened():
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").endswith("/v.db") for fd in os.listdir("/proc/self/fd"))
with SQLiteVersions("v.db") as versions:
    versions.put("CP-7", 1)
    child = os.fork()
    if child == 0:
        print(versions.put("CP-7", 2), versions.put("CP-7", 2), opened(), flush=True)
        versions.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(versions.get("CP-7"), versions.put("CP-7", 3))
"""
"""The child opens the file anew: a connection must not be carried over a fork (sqlite.org/howtocorrupt.html, 2.6)."""


def test_a_server_may_fork_after_the_file_was_opened(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (done.stdout.split(), done.stderr) == (["True", "False", "2", "2", "True"], "")

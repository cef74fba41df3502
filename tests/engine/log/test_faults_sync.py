"""A sync that fails, and a power loss later: pages that the kernel then believes clean are lost, unless written again.

A process meets a sync that fails, each in turn; it goes on, or ends and is started again, as an operator would. What
it did is recorded, and the disk built as it may be when the power fails later, with a page cache that forgets
(`disks.ForgetfulFile`). It is the rewriting of the `-wal` before SQLite opens a log that saves the day.
"""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from disks import Disk, Fate, ForgetfulFile, parse, recovered
from faulting import EVERYTHING, FAIL, SYNC, Fault, Victim, compiled, folder_in_memory, victim

from stationkeeper.engine.errors import LogDamaged

FATES: Sequence[Fate] = ("nothing", "all", "some") if EVERYTHING else ("nothing", "all")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("shims")
    # The recorder first: it sees what becomes of the calls that the other lets fail.
    shims = compiled("recorder", folder), compiled("faults", folder)
    with victim(Path(__file__).with_name("faulted_log.py"), *shims) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def disks(trace: bytes, chance: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield what the disk may hold around each sync, with the position acknowledged by then."""
    disk, seen = Disk(ForgetfulFile), set[int]()
    records = list(parse(trace))
    for record, following in zip(records, [*records[1:], None], strict=True):
        disk.do(record)
        if not EVERYTHING and following is not None and following.kind not in "sf" and record.kind not in "sf":
            continue
        if not EVERYTHING and not disk.acknowledged:
            continue
        for fate in FATES:
            files = disk.after_power_loss(fate, chance)
            state = hash((disk.acknowledged, *sorted(files.items())))
            if state not in seen:
                seen.add(state)
                yield disk.acknowledged, files


def syncs(process: Victim, folder: Path, history: str) -> int:
    folder.mkdir()
    return process.play(history, folder, Fault(SYNC, first=0, times=-1)).seen


def losses(process: Victim, folder: Path, history: str, then: str) -> tuple[list[str], int]:
    """Let each sync fail in turn; return what was lost by that, and how many disks were looked at."""
    lost: list[str] = []
    images = 0
    chance = random.Random(20261122)
    for number in range(1, syncs(process, folder / "count", history) + 1):
        here = folder / f"{number}"
        here.mkdir()
        assert process.play(history, here, Fault(SYNC, FAIL, number, 1, errno.EIO)).words("calls")[0][1] == 1
        assert process.play(then, here).status == 0
        for acknowledged, files in disks((here / "trace").read_bytes(), chance):
            images += 1
            try:
                found = recovered(folder / f"{number}-{images}", files)
                if found < acknowledged:
                    lost.append(f"after sync {number}: {found} events of {acknowledged}")
            except (AssertionError, LogDamaged) as error:
                lost.append(f"after sync {number}: {error}")
        shutil.rmtree(here)
    return lost, images


@pytest.mark.parametrize("history", ["losing_pages", "losing_pages_and_going_on"])
def test_nothing_acknowledged_is_lost_when_the_power_fails_after_a_sync_did(
    process: Victim, folder: Path, history: str
) -> None:
    lost, images = losses(process, folder, history, "losing_pages")

    assert lost == []
    assert images > 200


def test_without_the_rewriting_of_the_wal_it_would_be(process: Victim, folder: Path) -> None:
    """The control: if nothing were lost here, the test above would prove nothing."""
    lost, _ = losses(process, folder, "losing_pages_for_good", "losing_pages_for_good")

    assert lost

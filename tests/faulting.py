"""Faults at the level of system calls, from a test's side: what is to fail, and the process that meets it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tally import counted

HERE: Final = Path(__file__).parent
SOURCES: Final = HERE / "engine" / "log"

WRITE, SYNC, OPEN, TRUNCATE, READ, NAME = 1, 2, 4, 8, 16, 32
"""Sorts of calls; NAME is unlink and rename."""
CHANGE: Final = WRITE | SYNC | OPEN | TRUNCATE | NAME
FAIL, SHORT, SLOW, DIE, DIE_HALFWAY = range(5)
"""What becomes of a call that is struck."""
ERRNOS: Final = {
    WRITE: (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS),
    SYNC: (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    OPEN: (errno.EMFILE, errno.EROFS, errno.EACCES),
    TRUNCATE: (errno.EIO, errno.EROFS, errno.ENOSPC),
    READ: (errno.EIO,),
    NAME: (errno.EIO, errno.EROFS),
}
"""With what each sort of call may fail."""
HOURGLASS: Final = 60
"""Seconds, for what takes a fraction of one."""
EVERYTHING: Final = bool(os.environ.get("SOAK"))
"""Whether each fault point is tried with each error and each length, rather than with one of them in turn."""


class Fault(NamedTuple):
    """What is to happen to which calls."""

    sorts: int = 0
    how: int = FAIL
    first: int = 1
    times: int = 1
    """0: all from the first on."""
    amount: int = 0
    """FAIL: the errno. SLOW: microseconds."""
    like: str = "*"
    """Which files, as a pattern that follows the folder's path: `*` means the folder and all that is in it."""


NONE: Final = Fault()


class Outcome(NamedTuple):
    """How a case ended, and what its history said."""

    status: int
    """The exit code, or minus the signal."""
    said: list[list[Any]]

    def words(self, about: str) -> list[list[Any]]:
        """Return what was said about something, without its first word."""
        return [rest for word, *rest in self.said if word == about]

    @property
    def seen(self) -> int:
        """How many calls there were that could have been struck."""
        ((seen, _),) = self.words("calls")
        return int(seen)


class Victim:
    """A process under the faults, which plays the histories of a script."""

    def __init__(self, script: Path, *libraries: Path) -> None:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "LD_PRELOAD": " ".join(map(str, libraries))},
        )

    def play(self, history: str, folder: Path, fault: Fault = NONE) -> Outcome:
        """Play a history in a process of its own, under a fault."""
        counted("deaths" if fault.how in (DIE, DIE_HALFWAY) else "faults", 1)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"history": history, "folder": str(folder), "fault": fault}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process under test ended"
        return Outcome(**json.loads(answer))


@contextmanager
def victim(script: Path, *libraries: Path) -> Iterator[Victim]:
    """Keep a process for cases as long as the block lasts."""
    made = Victim(script, *libraries)
    try:
        yield made
    finally:
        with made.process:
            pass


def compiled(name: str, folder: Path) -> Path:
    """Compile a library to be preloaded, from the C source of that name; skip the test where that cannot be."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        if os.environ.get("CI"):
            pytest.fail("this test must run in CI: install gcc")
        pytest.skip("install gcc on Linux to try what failing system calls and power losses do")
    library = folder / f"{name}.so"
    flags = ("-shared", "-fPIC", "-O1", "-ldl", "-pthread")
    subprocess.run([compiler, "-o", str(library), str(SOURCES / f"{name}.c"), *flags], check=True)
    return library


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Yield a folder in memory, where there is one: thousands of logs are opened, and syncing them is not the point."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if memory.is_dir() else None)).resolve()
    try:
        yield made
    finally:
        shutil.rmtree(made)


def faults(sort: int, calls: int) -> Iterator[Fault]:
    """Yield a fault for each of so many calls: with each error, once, for three calls and from then on.

    Without `EVERYTHING` the errors and lengths take turns from call to call.
    """
    variants = [(amount, times) for times in (1, 0, 3) for amount in ERRNOS[sort]]
    for first in range(1, calls + 1):
        chosen = variants if EVERYTHING else [variants[first % len(variants)]]
        for amount, times in chosen:
            yield Fault(sort, FAIL, first, times, amount)


EVERYWHERE: Final = ((CHANGE, DIE), (WRITE, DIE_HALFWAY))
"""Ways to die: just before any step, and in the middle of any write."""


def deaths(
    process: Victim, folder: Path, history: str, *, ways: Sequence[tuple[int, int]] = EVERYWHERE
) -> Iterator[tuple[Outcome, Path]]:
    """Let a history die at each of its steps, and at last live; yield what it had said, and where its log is.

    The log's folder is named for the step.
    """
    for sorts, how in ways:
        status, step = -signal.SIGKILL, 0
        while status != 0:
            step += 1
            here = folder / f"{step}"
            here.mkdir()
            outcome = process.play(history, here, Fault(sorts, how, step))
            status = outcome.status
            assert status in (0, -signal.SIGKILL), f"at step {step}, {how}: {outcome.said}"
            yield outcome, here / "fleet.db"
            shutil.rmtree(here)
        assert step > 3

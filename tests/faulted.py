"""Inside a process that `faults.c` is preloaded into: cases, each in a fork, with their faults armed.

A script beside the tests gives `serve` its histories. The test reaches them through `faulting.Victim`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from faulting import HOURGLASS, Fault

Say: TypeAlias = Callable[..., None]
"""Tells the test something, at once: what was said before a death is heard."""
History: TypeAlias = Callable[[Path, Fault, Say], None]

_library = ctypes.CDLL(None)


def arm(folder: Path, fault: Fault) -> None:
    """Count the fault's calls from now on, and strike where it says."""
    _library.faults_arm(
        os.fsencode(f"{folder}{fault.like}"),
        ctypes.c_uint(fault.sorts),
        ctypes.c_int(fault.how),
        ctypes.c_long(fault.first),
        ctypes.c_long(fault.times),
        ctypes.c_long(fault.amount),
    )


def disarm() -> None:
    """Let every call pass again; the counts stay."""
    _library.faults_disarm()


def seen() -> int:
    """Return how many calls of the armed sorts there were."""
    return int(ctypes.c_long(_library.faults_seen()).value)


def struck() -> int:
    """Return how many calls were struck."""
    return int(ctypes.c_long(_library.faults_struck()).value)


def record(folder: Path, trace: Path) -> None:
    """Let `recorder.c` record what is done to the files of another folder."""
    _library.recorder_begin(os.fsencode(folder), os.fsencode(trace))


def kept(make: Callable[[Path], object]) -> Mapping[str, bytes]:
    """Return the files that something makes in a folder, to be laid down in each case instead of made again."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir() if not file.name.endswith("-shm")}


def lay_down(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder; nobody else may read them."""
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)


def serve(histories: Mapping[str, History]) -> None:
    """Play the cases that come in, one line each, and tell for each how it ended and what it said."""
    for line in sys.stdin:
        case = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _play(histories[case["history"]], Path(case["folder"]), Fault(*case["fault"]), writing)
        os.close(writing)
        with os.fdopen(reading) as told:
            said = [json.loads(each) for each in told]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "said": said}), flush=True)


def _play(history: History, folder: Path, fault: Fault, to: int) -> None:
    def say(*words: object) -> None:
        os.write(to, json.dumps(words).encode() + b"\n")

    signal.alarm(HOURGLASS)
    status = 1
    try:
        history(folder, fault, say)
        say("calls", seen(), struck())
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)

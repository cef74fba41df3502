"""Jobs in processes of their own, because hashing and folding keep a processor each busy.

A child reads its job from standard input, and writes lines: how many events it saw, and at last what it found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Final

import msgspec

from ...engine import errors
from ...engine.errors import LogError, LogUnavailable
from .findings import Found
from .passes import Job, Tell, run


class _Line(msgspec.Struct, omit_defaults=True):
    """What a child says."""

    seen: int = 0
    found: Found | None = None
    error: str = ""
    """The name of one of our errors."""
    message: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Line).decode
_decode_job: Final = msgspec.json.Decoder(Job).decode


def run_all(jobs: Sequence[Job], tell: Tell) -> Found:
    """Run jobs, each in a process of its own if there are several, and return what all of them found.

    Raises:
        LogError: the log cannot be read.
    """
    if len(jobs) == 1:
        return run(jobs[0], tell)
    children = [_start() for _ in jobs]
    try:
        with ThreadPoolExecutor(len(jobs)) as threads:
            try:
                results = list(threads.map(_attend, children, jobs, repeat(tell)))
            except BaseException:
                # Before the threads are waited for: they wait for the children.
                _kill(children)
                raise
    finally:
        _kill(children)
    found = Found()
    for one in results:
        found.add(one)
    return found


def _start() -> subprocess.Popen[bytes]:
    # Where we were found is where the child finds us. Ctrl-C is for us alone: we end the children.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _attend(child: subprocess.Popen[bytes], job: Job, tell: Tell) -> Found:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(_encode(job))
    child.stdin.close()
    for text in child.stdout:
        line = _decode(text)
        if line.found is not None:
            return line.found
        if line.error:
            raise _error(line)
        tell(line.seen)
    raise LogUnavailable(f"a process that read {job.log} ended early; see above, or try again")


def _error(line: _Line) -> LogError:
    known = {cls.__name__: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, LogError)}
    return known[line.error](line.message)


def _serve() -> None:
    """Do the job that stands on standard input."""

    def say(line: _Line) -> None:
        sys.stdout.buffer.write(_encode(line) + b"\n")
        sys.stdout.buffer.flush()

    try:
        found = run(_decode_job(sys.stdin.buffer.read()), lambda seen: say(_Line(seen=seen)))
    except LogError as error:
        say(_Line(error=type(error).__name__, message=str(error)))
    else:
        say(_Line(found=found))


if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:
        os._exit(1)  # whoever asked is gone; Python would complain once more at its end

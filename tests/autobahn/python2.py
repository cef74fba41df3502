"""Where the Autobahn test suite runs: a CPython 2.7, found, and an environment of its own for the suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HOME: Final = ROOT / ".venv" / "autobahn"
PINS: Final = Path(__file__).with_name("requirements.txt")
VIRTUALENV: Final = "virtualenv==20.15.1"
"""Newer releases make no environments for Python 2."""
FASTER: Final = "wsaccel==0.6.2"
"""Masks and checks UTF-8 in C. It needs a compiler and Python's headers, and the suite does without."""


class NoSuite(Exception):
    """The suite cannot run here; the message says why."""


_NO_PYTHON: Final = (
    "The Autobahn test suite needs CPython 2.7 with pip, and none was found in AUTOBAHN_PYTHON, on the PATH or among "
    "pyenv's (pyenv install 2.7.18). Where there is none, tests/transports/test_protocol_cases.py asks for the same."
)


def environment(**more: str) -> dict[str, str]:
    """Return an environment for the other Python: without a path to our modules, which are not for it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def fuzzing_client() -> Path:
    """Return the suite's command, having installed it if it was not, or not as it is pinned now.

    Raises:
        NoSuite: there is no CPython 2.7, or the suite cannot be installed for it.
    """
    command, pinned = HOME / "env" / "bin" / "wstest", HOME / "pinned.txt"
    if not (command.exists() and pinned.exists() and pinned.read_text() == PINS.read_text()):
        _install(find(), pinned)
    return command


def find() -> Path:
    """Return a CPython 2.7.

    Raises:
        NoSuite: there is none.
    """
    for candidate in _candidates():
        # A command of that name may be pyenv's, that says only that there is none: it has to show what it is.
        shown = _output(
            candidate, "-c", "import pip, platform, sys; print(platform.python_implementation(), sys.version_info[:2])"
        )
        if shown == "('CPython', (2, 7))":
            return Path(candidate)
    raise NoSuite(_NO_PYTHON)


def _candidates() -> Iterator[str]:
    asked = os.environ.get("AUTOBAHN_PYTHON")
    if asked:
        yield asked
    yield from filter(None, map(shutil.which, ("python2.7", "python2")))
    versions = _output("pyenv", "root")
    if versions:
        yield from map(str, sorted(Path(versions).glob("versions/2.7.*/bin/python2.7"), reverse=True))


def _output(*command: str) -> str | None:
    """Return what a command says; None if there is none or it fails."""
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _install(python: Path, pinned: Path) -> None:
    print(f"installing the Autobahn test suite for {python}", flush=True)
    shutil.rmtree(HOME, ignore_errors=True)
    tool = HOME / "virtualenv"
    _run(python, "-m", "pip", "install", "--target", tool, VIRTUALENV)
    _run(python, "-m", "virtualenv", HOME / "env", PYTHONPATH=str(tool))
    pip = HOME / "env" / "bin" / "pip"
    _run(pip, "install", "--no-deps", "--requirement", PINS)
    try:
        _run(pip, "install", "--no-deps", FASTER)
    except NoSuite:
        print(f"{FASTER} could not be built: the suite will be slower", flush=True)
    pinned.write_text(PINS.read_text())


def _run(*command: str | Path, **more: str) -> None:
    done = subprocess.run(
        command, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise NoSuite(
            f"{done.stdout}\nThe Autobahn test suite cannot be installed: {' '.join(map(str, command))} failed"
        )

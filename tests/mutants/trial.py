"""Trials: the tests of a module, run against one mutant of it.

A trial is a fork of a process that has everything loaded which does not depend on the module, so that it costs little
more than the tests themselves. The mutant is never a file: the fork imports its text in the module's place.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

MEMORY = 4 * 2**30
"""Bytes of address space for one trial: a mutant that fills a list for ever ends there, not the machine."""

# The same examples each time, so that a score can be repeated; few, as a mutant that only one history in a thousand
# shows is a test to be sharpened; and no search for a smaller counterexample, since nobody reads it.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class Sound(NamedTuple):
    """The trial of the module as it is."""

    seconds: float
    loaded: list[str]
    """The modules that a trial may find loaded: none of them depends on the module on trial."""


class Subject:
    """A module on trial, with the tests that judge it."""

    def __init__(self, root: Path, file: str, tests: Sequence[str]) -> None:
        self.path = root / file
        self.name = ".".join(("stationkeeper", *Path(file).with_suffix("").parts))
        self.source = self.path.read_text()
        self._root = root
        self._tests = tests

    def sound(self) -> Sound:
        """Try the module as it is, and load what every trial needs.

        Raises:
            RuntimeError: its tests fail.
        """
        reading, writing = os.pipe()
        began = time.monotonic()
        passed = self._fork(self.source, 600.0, report=writing)
        os.close(writing)
        with open(reading, encoding="utf-8") as told:
            loaded = told.read()
        if not passed:
            raise RuntimeError(f"{self.name} fails its own tests: {' '.join(self._tests)}")
        sound = Sound(time.monotonic() - began, json.loads(loaded))
        for name in sound.loaded:
            import_module(name)
        return sound

    def survives(self, mutant: str, timeout: float) -> bool:
        """Do all tests pass with this text in the module's place, within *timeout* seconds?"""
        return self._fork(mutant, timeout)

    def _fork(self, text: str, timeout: float, report: int | None = None) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                self._try(text, report)
            finally:
                os._exit(1)
        return _passed(pid, timeout)

    def _try(self, text: str, report: int | None) -> NoReturn:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2) if report is None else (0, 1):
            os.dup2(nowhere, stream)
        place = _InPlace(self.name, self.path, text)
        sys.meta_path.insert(0, place)
        code = pytest.main(
            [
                "-x",
                "-q",
                "--no-header",
                "-p",
                "no:cacheprovider",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
                "--hypothesis-profile=mutants",
                f"--rootdir={self._root}",
                *self._tests,
            ]
        )
        if report is not None:
            os.write(report, json.dumps(self._loaded(place.before)).encode())
        os._exit(int(code))

    def _loaded(self, before: Sequence[str]) -> list[str]:
        ours = str(self._root)
        foreign = [
            name
            for name, module in list(sys.modules.items())
            if (spec := getattr(module, "__spec__", None)) is not None
            and spec.name == name
            and not (spec.origin or ours).startswith(ours)
        ]
        return [*foreign, *before]


class _InPlace:
    """An importer that gives one module another text."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        self._name, self._path, self._text = name, path, text
        self.before: list[str] = []
        """Those of ours that were wholly loaded before the module was begun: they cannot depend on it."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        self.before = [
            one
            for one, module in sys.modules.items()
            if one.startswith("stationkeeper.") and not getattr(module.__spec__, "_initializing", False)
        ]
        return spec_from_file_location(name, self._path, loader=_Mutant(name, str(self._path), self._text))


class _Mutant(SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec", dont_inherit=True)


def _passed(pid: int, timeout: float) -> bool:
    waiting = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(waiting, select.POLLIN)
        if not poll.poll(timeout * 1000):
            # The group is the fork's own, from `setsid` on.
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(waiting)
    return status == 0

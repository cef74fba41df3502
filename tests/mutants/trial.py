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
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

MEMORY: Final = 4 * 2**30
"""Bytes of address space for one trial: a mutant that fills a list for ever ends there, not the machine."""

OPTIONS: Final = (
    *("-x", "-q", "--no-header", "--tb=short", "--hypothesis-profile=mutants"),
    *("-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)

# The same examples each time, so that a score can be repeated; few, as a mutant that only one history in a thousand
# shows is a test to be sharpened; and no search for a smaller counterexample, since nobody reads it.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    stateful_step_count=25,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class Subject:
    """A module on trial, with the tests that judge it."""

    def __init__(self, root: Path, file: str, tests: Sequence[str]) -> None:
        self.path = root / file
        self.name = ".".join(("stationkeeper", *Path(file).with_suffix("").parts))
        self.source = self.path.read_text()
        self._root = root
        self._tests = tests
        self._seconds: dict[str, float] = {}
        self._killers: dict[str, int] = {}

    def sound(self) -> float:
        """Try the module as it is, load what every trial needs, and return how long the tests took (seconds).

        Raises:
            RuntimeError: its tests fail, or do not touch it.
        """
        began = time.monotonic()
        trial = self._fork(self.source)
        told = trial.told()
        if not trial.passed(timeout=60.0):
            raise RuntimeError(f"{self.name} fails its own tests: {' '.join(self._tests)}")
        self._seconds = told["seconds"]
        for name in told["loaded"]:
            import_module(name)
        if self.name in sys.modules or self.survives("raise SystemError", timeout=60.0):
            raise RuntimeError(f"{self.name} was not tried: its tests do not notice that it is not there")
        return time.monotonic() - began

    def survives(self, mutant: str, timeout: float) -> bool:
        """Do all tests pass with this text in the module's place, within *timeout* seconds?"""
        trial = self._fork(mutant)
        passed = trial.passed(timeout)
        for test in trial.told().get("failed", ()):
            self._killers[test] = self._killers.get(test, 0) + 1
        return passed

    def _fork(self, text: str) -> _Trial:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self._try(text, writing)
            finally:
                os._exit(1)
        os.close(writing)
        return _Trial(pid, reading)

    def _try(self, text: str, report: int) -> NoReturn:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        # The sound module may say what is wrong; of a mutant nobody wants to know.
        for stream in (0, 1, 2) if self._seconds else (0,):
            os.dup2(nowhere, stream)
        place = _InPlace(self.name, self.path, text)
        sys.meta_path.insert(0, place)
        watch = _Watch(lambda test: (-self._killers.get(test, 0), self._seconds.get(test, 0.0)))
        code = pytest.main([*OPTIONS, f"--rootdir={self._root}", *self._tests], plugins=[watch])
        told: dict[str, Any] = {"failed": watch.failed}
        if not self._seconds:
            told |= {"seconds": watch.seconds, "loaded": self._loaded(place.before or ())}
        with open(report, "w", encoding="utf-8") as pipe:
            json.dump(told, pipe)
        os._exit(int(code))

    def _loaded(self, before: Sequence[str]) -> list[str]:
        """Return what a trial may find loaded: nothing of it depends on the module on trial."""
        ours = str(self._root)
        foreign = [
            name
            for name, module in list(sys.modules.items())
            if (spec := getattr(module, "__spec__", None)) is not None
            and spec.name == name
            and not (spec.origin or ours).startswith(ours)
        ]
        # To load a module is to load the packages that it is in.
        whole = {*before, "stationkeeper"}
        return [*foreign, *(name for name in before if all(parent in whole for parent in _packages(name)))]


class _Trial(NamedTuple):
    """A fork at work."""

    pid: int
    pipe: int

    def told(self) -> dict[str, Any]:
        """Wait for what it has to tell, and return that; nothing if it came to a sudden end."""
        with open(self.pipe, encoding="utf-8") as pipe:
            told: dict[str, Any] = json.loads(pipe.read() or "{}")
        return told

    def passed(self, timeout: float) -> bool:
        """Wait for its end, and bring that about after *timeout* seconds."""
        waiting = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(waiting, select.POLLIN)
            if not poll.poll(timeout * 1000):
                # The group is the fork's own, from `setsid` on.
                os.killpg(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(waiting)
        return status == 0


class _Watch:
    """A plug-in of pytest: what noticed most mutants so far comes first, then what is quickest."""

    def __init__(self, rank: Callable[[str], tuple[int, float]]) -> None:
        self._rank = rank
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._rank(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


class _InPlace:
    """An importer that gives one module another text."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        self._name, self._path, self._text = name, path, text
        self.before: list[str] | None = None
        """Those of ours that were wholly loaded before the module was begun: they cannot depend on it."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        if self.before is None:  # a test may ask for it again, when everything is loaded
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

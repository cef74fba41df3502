"""Commands of ours, called in this process, for tests; the fixture `call` of tests/daemon makes a caller."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from stationkeeper.daemon.cli import cli, run


@frozen
class Outcome:
    """What came of a command."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


def caller(monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[bytes]) -> Call:
    """Return a function that runs a command, with what stands on its standard input."""

    def call(*words: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(lambda: cli.main([*words], prog_name="stationkeeper", standalone_mode=False))
        said = captured.readouterr()
        return Outcome(code, said.out.decode(), said.err.decode())

    return call


def on_log(call: Call, *words: str, **more: Any) -> Outcome:
    """Run a command on the log `x.db` in the working folder."""
    return call(*words, "--log", "x.db", **more)

"""The harness around the Autobahn test suite: what it makes of a report, and of a machine without CPython 2.7."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from autobahn.__main__ import main, table
from autobahn.python2 import NoSuite, find
from autobahn.verdicts import Verdict, read_verdicts

GOOD = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1000}


def report(folder: Path, case: str, told: Mapping[str, Any], **detail: Any) -> Verdict:
    """Return the verdict on a case of which the suite tells this."""
    (folder / "index.json").write_text(json.dumps({"dense": {case: {**GOOD, **told, "reportfile": "case.json"}}}))
    (folder / "case.json").write_text(json.dumps({"received": [], "result": "", "wasClean": True, **told, **detail}))
    (verdict,) = read_verdicts(folder).values()
    return verdict


@pytest.mark.parametrize(
    ("behaviour", "close", "outcome"),
    [
        ("OK", "OK", "OK"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("INFORMATIONAL", "INFORMATIONAL", "INFORMATIONAL"),
        ("FAILED", "OK", "FAILED"),
        ("UNIMPLEMENTED", "OK", "UNIMPLEMENTED"),
        ("OK", "WRONG CODE", "WRONG CODE"),
        ("OK", "UNCLEAN", "UNCLEAN"),
        ("NON-STRICT", "FAILED", "FAILED"),
        ("OK", "FAILED BY CLIENT", "FAILED BY CLIENT"),
    ],
)
def test_a_case_is_as_good_as_its_worse_half(tmp_path: Path, behaviour: str, close: str, outcome: str) -> None:
    assert report(tmp_path, "1.1.1", {"behavior": behaviour, "behaviorClose": close}).outcome == outcome


@pytest.mark.parametrize(
    ("code", "detail", "outcome"),
    [
        (1003, {}, "BINARY"),
        (1003, {"wasClean": False}, "FAILED"),
        (1002, {}, "FAILED"),
        (1001, {"received": [["message", "", False]]}, "BINARY"),
        (1001, {"received": [["message", "", True]]}, "FAILED"),
        (1000, {"result": "Expected binary message with payload, but got binary."}, "BINARY"),
        (1000, {"result": "Expected binary message with payload of length 2, but got 1."}, "FAILED"),
    ],
)
def test_a_binary_case_is_judged_by_our_promise(
    tmp_path: Path, code: int, detail: Mapping[str, Any], outcome: str
) -> None:
    told = {"behavior": "FAILED", "behaviorClose": "FAILED", "remoteCloseCode": code}

    assert report(tmp_path, "1.2.2", told, **detail).outcome == outcome
    assert report(tmp_path, "1.1.2", told, **detail).outcome == "FAILED"


def test_nothing_was_judged_where_there_is_no_report(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path) == {}


def test_the_table_counts_each_group_and_names_what_is_not_simply_passed() -> None:
    shown = table("dense", {"10.1.1": Verdict("OK", "OK", 1000), "2.5": Verdict("UNCLEAN", "UNCLEAN", None)})
    head, _, pings, fragmentation, everything, named = shown.splitlines()

    assert head.split() == ["dense", "cases", "OK", "NON-STRICT", "INFORMATIONAL", "BINARY", "failed"]
    assert pings.split() == ["2", "pings,", "pongs", "1", "-", "-", "-", "-", "1"]
    assert fragmentation.split() == ["10", "auto-fragmentation", "1", "1", "-", "-", "-", "-"]
    assert everything.split() == ["all", "2", "1", "-", "-", "-", "1"]
    assert named.split() == ["2.5", "UNCLEAN;", "close", "UNCLEAN,", "code", "None"]


def test_only_a_cpython_2_7_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretender = tmp_path / "python2.7"
    pretender.write_text("#!/bin/sh\necho \"('CPython', (3, 11))\"\n")
    pretender.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AUTOBAHN_PYTHON", sys.executable)
    with pytest.raises(NoSuite, match=r"needs CPython 2\.7"):
        find()

    pretender.write_text("#!/bin/sh\necho \"('CPython', (2, 7))\"\n")
    assert find() == pretender


def test_without_the_suite_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none() -> Path:
        raise NoSuite("nothing to run it")

    monkeypatch.setattr("autobahn.__main__.fuzzing_client", none)

    assert main([]) == 3
    assert main(["--if-possible"]) == 0
    assert "nothing to run it" in capsys.readouterr().err


def test_an_unknown_transport_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autobahn", "--transport", "smoke"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "invalid choice: 'smoke'" in done.stderr

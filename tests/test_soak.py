"""The soak's runner: it counts what was done, and says of what failed how to do it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soak
from soak import Order, Regime, main

WORKS = "import os; from tally import counted; counted('kills', 1000); counted('kills', int(os.environ['MORE']))"
FAILS = "from tally import counted; counted('kills', 3); print('a truth broke'); raise SystemExit(1)"
SPEAKS = """print('  - during generate phase (1.2 seconds):')
print('    - Typical runtimes: ~ 1 ms, of which ~ 1 ms in data generation')
print('    - 200 passing, 1 failing, and 7 invalid test cases')
print('    - 50 passing, 0 failing, and 0 invalid test cases')
print('{"worlds": 3, "station_hours": 120.5, "events": 9, "messages": 8, "lives": 4}')
print('{"not": "ours"}')
print('====== 12 passed, 1 skipped in 3.45s ======')"""


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "KEPT", tmp_path / "kept")


def regime(name: str, code: str, *, unasked: bool = True) -> Regime:
    return Regime(
        name=name,
        does="what a test asks for",
        command=lambda order: [sys.executable, "-c", code],
        environment=lambda order: {"MORE": str(order.times(200)), "PYTHONPATH": str(Path(__file__).parent)},
        unasked=unasked,
    )


def test_it_adds_up_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scale", "2"], [regime("kills", WORKS), regime("long", FAILS, unasked=False)]) == 0

    table = capsys.readouterr().out
    assert "1,400 kills" in table
    assert "long" not in table


def test_a_failure_says_how_to_repeat_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kills", "--seed", "7"], [regime("kills", FAILS), regime("other", WORKS)]) == 1

    said = capsys.readouterr().out
    assert "a truth broke" in said
    assert "3 kills" in said
    assert "YES" in said
    assert "kills ended with code 1; to repeat it:\n    SOAK=1 MORE=200 " in said
    assert "other" not in said


def test_a_regime_that_tried_nothing_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [regime("idle", "pass")]) == 1

    assert "idle tried nothing" in capsys.readouterr().out


def test_it_reads_what_hypothesis_the_simulator_and_pytest_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [regime("speaks", SPEAKS)]) == 0

    row = next(
        line for line in capsys.readouterr().out.splitlines() if "examples," in line and line.startswith("speaks ")
    )
    for count in ("251 examples", "120 station-hours", "3 worlds", "12 tests", "9 events", "8 messages", "4 lives"):
        assert count in row


def test_examples_are_counted_as_the_hypothesis_that_is_installed_tells_of_them(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "from hypothesis import given, settings, strategies as st\n"
        "@settings(max_examples=7, database=None)\n@given(st.integers())\ndef test_it(n: int) -> None: pass\n"
    )
    command = soak.pytest("-m", "hypothesis", "--hypothesis-show-statistics", "-c", "/dev/null", "test_some.py")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert dict(soak.spoken(done.stdout.splitlines())) == {"examples": 7, "tests": 1}


def test_each_regime_does_what_there_is(tmp_path: Path) -> None:
    order = Order(seed=7, scale=0.001)
    for one in soak.REGIMES:
        words = one.command(order)
        assert all((soak.ROOT / word).exists() for word in words if word.startswith("tests/"))
        assert all(value for value in one.environment(order).values())
    assert [one.name for one in soak.REGIMES if not one.unasked] == ["mutants"]


def test_an_unknown_regime_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kils"], soak.REGIMES)

    assert ended.value.code == 2
    assert "no such regime: kils; there are properties, simulator, kills" in capsys.readouterr().err

"""Every regime that tries what is promised, one after the other, and one table in the end: `make soak`.

    make soak                            # all of it, some hours
    make soak ARGS='kills power'         # some regimes
    make soak ARGS='--scale 0.01'        # a hundredth of all that is counted, to see that it works
    make soak ARGS='kills --seed 7'      # with the misfortunes of a soak that failed

Each regime is a process of its own, so none spoils another. What it says is kept in `.venv/soak`. It stands beside the
tests because they are what it runs; pytest does not collect it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import randrange

from attrs import field, frozen
from tally import TALLY

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".venv" / "soak"
"""Where all that the regimes say is kept."""
NEWS = 60.0
"""Seconds between lines of progress."""
EXAMPLES = re.compile(r"- (\d+) passing, (\d+) failing, and \d+ invalid test cases")
"""In the statistics of Hypothesis, a line for each phase of each property."""


@frozen(kw_only=True)
class Order:
    """What a regime is to do."""

    seed: int
    scale: float

    def times(self, number: int) -> int:
        """Scale a number; at least 1."""
        return max(1, round(number * self.scale))


@frozen(kw_only=True)
class Regime:
    """One way of trying what is promised."""

    name: str
    does: str
    command: Callable[[Order], Sequence[str]]
    environment: Callable[[Order], Mapping[str, str]] = lambda order: {}
    unasked: bool = True
    """Whether it belongs to a soak that names no regimes."""


@frozen(kw_only=True)
class Result:
    """What came of one."""

    regime: Regime
    code: int
    seconds: float
    repeat: str
    """The command that does the same again."""
    counts: Counter[str] = field(factory=Counter[str])

    @property
    def failed(self) -> bool:
        """Whether something was found, or nothing was tried: a regime that counts nothing has tried nothing."""
        return self.code != 0 or not self.counts


def pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]


REGIMES = (
    Regime(
        name="properties",
        does="Hypothesis: every property and state machine, with many more examples",
        command=lambda order: pytest(
            "-m",
            "hypothesis",
            "--hypothesis-profile=soak",
            "--hypothesis-show-statistics",
            f"--hypothesis-seed={order.seed}",
        ),
        environment=lambda order: {"EXAMPLES": str(order.times(2000))},
    ),
    Regime(
        name="simulator",
        does="the whole engine in drawn worlds under virtual time, judged by an independent model",
        command=lambda order: [
            sys.executable,
            "-m",
            "stationkeeper.daemon.proving",
            "--json",
            f"--seed={order.seed}",
            f"--station-hours={order.times(1_000_000)}",
            f"--jobs={os.cpu_count()}",
        ],
    ),
    Regime(
        name="kills",
        does="SIGKILL of the real daemon at random moments under churn",
        command=lambda order: pytest("-s", "tests/system/test_kill.py"),
        environment=lambda order: {"KILLS": str(order.times(1000)), "SEED": str(order.seed)},
    ),
    Regime(
        name="power",
        does="power loss after every write and every sync, also after a sync that failed",
        command=lambda order: pytest("tests/engine/log/test_power_loss.py", "tests/engine/log/test_faults_sync.py"),
    ),
    Regime(
        name="deaths",
        does="process death at every step of every write path, and in the middle of each write",
        command=lambda order: pytest(
            "tests/engine/log/test_crash.py",
            "tests/engine/log/test_crash_copies.py",
            "tests/engine/copies/test_dying.py",
        ),
    ),
    Regime(
        name="faults",
        does="every system call of a log, and of a whole gateway, fails in turn, with every error",
        command=lambda order: pytest("tests/engine/log/test_faults.py", "tests/system/test_faults.py"),
    ),
    Regime(
        name="peers",
        does="peers that say anything at all, to each station transport",
        command=lambda order: pytest("tests/transports/test_fuzzed_peers.py", "-k", "siege"),
        environment=lambda order: {"SIEGE": str(order.times(10_000)), "SEED": str(order.seed)},
    ),
    Regime(
        name="mutants",
        does="every small change of the code that decides: does a test notice?",
        command=lambda order: [sys.executable, "-m", "mutants"],
        environment=lambda order: {"PYTHONPATH": "tests"},
        unasked=False,
    ),
)


def run(regime: Regime, order: Order) -> Result:
    """Let a regime do its work, and say from time to time how far it is."""
    KEPT.mkdir(parents=True, exist_ok=True)
    said, tally = KEPT / f"{regime.name}.log", KEPT / f"{regime.name}.counts"
    tally.unlink(missing_ok=True)
    command, asked = regime.command(order), {"SOAK": "1", **regime.environment(order)}
    began = time.monotonic()
    print(f"{regime.name}: {regime.does}", flush=True)
    with said.open("w") as file:
        environment = os.environ | asked | {TALLY: str(tally), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
            while True:
                try:
                    process.wait(NEWS)
                    break
                except subprocess.TimeoutExpired:
                    newest = said.read_text(errors="replace").rstrip().rpartition("\n")[2]
                    print(f"    {(time.monotonic() - began) / 60:5.0f} min  {newest[-100:]}", flush=True)
    lines = said.read_text(errors="replace").splitlines()
    counts = Counter[str]()
    for what, number in (*tallied(tally), *spoken(lines)):
        counts[what] += number
    repeat = " ".join([*(f"{name}={value}" for name, value in asked.items()), shlex.join(map(short, command))])
    done = Result(
        regime=regime, code=process.returncode, seconds=time.monotonic() - began, repeat=repeat, counts=counts
    )
    if done.failed:
        print(*lines[-40:], "", sep="\n")
    return done


def tallied(tally: Path) -> Iterator[tuple[str, int]]:
    """Yield what tests counted (`tally.py`)."""
    for line in tally.read_text().splitlines() if tally.exists() else ():
        what, number = json.loads(line)
        yield what, number


def spoken(lines: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the counts that stand in what a regime printed: statistics of Hypothesis, the simulator's JSON, a score."""
    for line in lines:
        if examples := EXAMPLES.search(line):
            yield "examples", sum(map(int, examples.groups()))
        elif score := re.search(r"(\d+) mutants +(\d+) killed", line):
            yield from (("mutants", int(score[1])), ("killed", int(score[2])))
        elif line.startswith("{") and '"station_hours"' in line:
            found = json.loads(line)
            for what in ("station_hours", "worlds", "events", "messages", "lives"):
                yield what.replace("_", "-"), int(found[what])
        elif tests := re.search(r"(\d+) passed.* in [\d.]+s", line):
            yield "tests", int(tests[1])


def short(word: str) -> str:
    """Name what lies in this folder as it is seen from there."""
    path = Path(word)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else word


def summary(results: Sequence[Result], order: Order) -> str:
    """Return the table, and for each failure how to repeat it."""
    rows = [("regime", "what was done", "failed", "minutes")]
    for result in results:
        done = ", ".join(f"{number:,} {what}" for what, number in sorted(result.counts.items(), key=lambda c: -c[1]))
        rows.append(
            (result.regime.name, done or "nothing", "YES" if result.failed else "-", f"{result.seconds / 60:.1f}")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", f"Seed {order.seed}. All that was said is in {short(str(KEPT))}."]
    for result in results:
        if result.failed:
            why = f"ended with code {result.code}" if result.code else "tried nothing"
            lines += ["", f"{result.regime.name} {why}; to repeat it:", f"    {result.repeat}"]
    return "\n".join(lines)


def main(arguments: Sequence[str], regimes: Sequence[Regime] = REGIMES) -> int:
    """Run the regimes that were asked for. Exit codes: 0 nothing was found, 1 something was, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [regime.name for regime in regimes]
    parser.add_argument("regime", nargs="*", help=f"{', '.join(names)}; all but mutants without one")
    parser.add_argument("--seed", type=int, default=randrange(10**6), help="default: drawn, and printed")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of all that is counted; default 1")
    options = parser.parse_args(arguments)
    if unknown := set(options.regime) - set(names):
        parser.error(f"no such regime: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    order = Order(seed=options.seed, scale=options.scale)
    chosen = [one for one in regimes if (one.name in options.regime if options.regime else one.unasked)]
    results = [run(regime, order) for regime in chosen]
    print("", summary(results, order), sep="\n")
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

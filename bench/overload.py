"""Overload: stations arrive at up to three times the rate that a server can take. How many get in, and how fairly?

First the best rate is found: as many visits a second as there can be, a bounded number of calls under way. Then
stations arrive at set multiples of it, whether or not those before them are in (an open loop), and try again as
`Retry-After` says. A visit is a handshake and an end, both durable. What others lose while everybody is refused is
seen in the waits, from a station's arrival to the attempt that succeeded.

Clients written in Python cannot overload the dense transport from one core. So the server is made slow: it shares its
core with processes that do nothing but work, and has a quarter of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from machine import cpu_seconds, keep_to_core, percentile
from result import Curve, Result, report
from sides import DENSE, HARDENED, OCPP, SERVER_CORE, Grounds, Server, Side, grounds, present
from visiting import Task

PART = "overload"
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent
PROCESSES = 2
LOADS = (0.5, 1.0, 2.0)
SECONDS = 5.0
"""Of arrivals, at these."""
WORST = 3.0
WORST_SECONDS = 5.0 if QUICK else 16.0
"""Of arrivals at the worst load: well beyond the 10 s after which stations give up, so that work for those counts."""
SETTLED = 1.0
"""Seconds that do not count at their begin."""
DRAIN = 15.0
"""Seconds in which those who are still out then may come in when no one arrives any more."""
AT_ONCE = 100
RIVALS = 3


@frozen
class Visits:
    """What came of a task, in all client processes."""

    goodput: float
    """Visits a second while stations arrived."""
    offered: float
    """Arrivals a second, as they were, retries not counted."""
    attempts: int
    waits: list[float]
    """Seconds from arrival to being in, of all that came in at last."""
    out: int
    """Stations that were still out in the end."""
    failures: Counter[str]
    share: float
    """Of a core that the server had: it must be about the same at each load, or the machine was not quiet."""


class Clients:
    """Processes that visit a server."""

    def __init__(self, server: int, processes: list[subprocess.Popen[str]]) -> None:
        self._server = server
        self._processes = processes
        self._tasks = 0

    def visit(self, *, rate: float = 0.0, seconds: float = SECONDS, drain: float = 0.0) -> Visits:
        """Have stations arrive at a rate, or, without one, as quickly as they are let in."""
        share = len(self._processes)
        answers: list[dict[str, Any]] = []
        self._tasks += 1
        for number, process in enumerate(self._processes):
            prefix = f"CP-{self._tasks}-{number}"
            at_once = 0 if rate else AT_ONCE // share
            task = Task(prefix=prefix, seconds=seconds, rate=rate / share, at_once=at_once, drain=drain)
            assert process.stdin is not None
            print(json.dumps(asdict(task)), file=process.stdin, flush=True)
        spent = cpu_seconds(self._server)
        time.sleep(seconds)
        spent = cpu_seconds(self._server) - spent
        for process in self._processes:
            assert process.stdout is not None
            answers.append(json.loads(process.stdout.readline()))
        visits = [visit for answer in answers for visit in answer["visits"]]
        return Visits(
            goodput=sum(SETTLED < opened < seconds for _, opened in visits) / (seconds - SETTLED),
            offered=sum(answer["arrived"] for answer in answers) / seconds,
            attempts=sum(answer["attempts"] for answer in answers),
            waits=[opened - arrived for arrived, opened in visits],
            out=sum(answer["out"] for answer in answers),
            failures=sum((Counter(answer["failures"]) for answer in answers), Counter()),
            share=spent / seconds,
        )


@contextmanager
def clients(server: Server) -> Iterator[Clients]:
    # They keep to the core of this process, which the server does not use.
    command = [sys.executable, str(HERE / "visiting.py"), str(server.port)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    try:
        yield Clients(server.pid, processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def rivals() -> Iterator[None]:
    """Have the server share its core."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(RIVALS)]
    for process in processes:
        keep_to_core(SERVER_CORE, process.pid)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def overload(ground: Grounds, side: Side) -> tuple[float, dict[float, Visits]]:
    """Return the best rate of a server, and what it makes of multiples of that."""
    more = ("--open",) if side.ours else ()
    with ground.serving(side, more=more) as server, rivals(), clients(server) as visitors:
        visitors.visit()  # to warm it
        best = visitors.visit().goodput
        seen = {} if QUICK else {load: visitors.visit(rate=load * best) for load in LOADS}
        seen[WORST] = visitors.visit(rate=WORST * best, seconds=WORST_SECONDS, drain=DRAIN)
        return best, seen


def results_of(side: Side, best: float, seen: dict[float, Visits]) -> list[Result]:
    def result(name: str, value: float, unit: str, **more: Any) -> Result:
        return Result(part=PART, name=f"{side.name}: {name}", value=value, unit=unit, **more)

    most = max(best, *(visits.goodput for visits in seen.values()))
    results = [result("the best rate", best, "visits/s", note=f"{AT_ONCE} calls at any time; a quarter of a core")]
    for load, visits in seen.items():
        refused = ", ".join(f"{count} {what}" for what, count in visits.failures.most_common(3)) or "no failures"
        note = (
            f"{visits.offered:,.0f} arrivals/s, {visits.attempts:,} attempts, {visits.share:.0%} of a core; {refused}"
        )
        least = 0.8 if load == WORST and side is not OCPP else None
        share = visits.goodput / most
        results.append(result(f"goodput at {load:g} times that", share, "of the best", at_least=least, note=note))
    worst = seen[WORST]
    half, most_of, longest = statistics.median(worst.waits), percentile(worst.waits, 0.99), max(worst.waits)
    note = (
        f"s: half {half:.2f}, 99 of 100 {most_of:.2f}, longest {longest:.2f}; {worst.out:,} of "
        f"{worst.offered * WORST_SECONDS:,.0f} still out {DRAIN:g} s after the last arrival"
    )
    return [*results, result(f"wait at {WORST:g} times, 99 % over half", most_of / max(half, 1e-3), "x", note=note)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--side", choices=[DENSE.name, HARDENED.name, OCPP.name], default=DENSE.name)
    wanted = options.parse_args().side
    results: list[Result] = []
    curves: list[Curve] = []
    with grounds(0) as ground:
        for side in present(*(side for side in (DENSE, HARDENED, OCPP) if side.name == wanted)):
            best, seen = overload(ground, side)
            results += results_of(side, best, seen)
            points = [(visits.offered, visits.goodput) for visits in seen.values()]
            curves.append(Curve(part=PART, name=side.name, points=[(0.0, 0.0), *points]))
    report(results, curves)


if __name__ == "__main__":
    main()

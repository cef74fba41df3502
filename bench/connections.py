"""What a connection costs beside a plain `serve_websocket` echo server: handshake, memory, ping.

Ours checks credentials, writes a durable `connection.opened` and watches for silence; the plain one does none of that
(for pings it has the heartbeat task that trio-websocket's documentation shows). Server and stations are different
processes. Plain and ours take turns within one run, so that a busy minute hits both, and what counts is their ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from crowd import Crowd
from machine import cpu_seconds, resident_bytes, slope, spread
from our_server import PASSWORD
from result import Result, report

HERE = Path(__file__).parent
ROUNDS = 4
HANDSHAKES = 3_000
SIZES = (500, 1_500, 2_500, 4_000)
PINGED = 1_000
PING_INTERVAL = 1.0
PING_SECONDS = 10.0


@frozen
class Server:
    """A server in a process of its own."""

    pid: int
    port: int

    def crowd(self) -> Crowd:
        return Crowd(("127.0.0.1", self.port))


@contextmanager
def serving(script: str, *arguments: str) -> Iterator[Server]:
    """Run a server until the block ends. It prints its port, and ends with its standard input."""
    command = [sys.executable, str(HERE / script), *arguments]
    with (
        tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(process.pid, int(process.stdout.readline()))
        process.stdin.close()
        process.wait(timeout=60)


def stations(count: int, first: int = 0) -> list[str]:
    return [f"CP-{number}" for number in range(first, first + count)]


def handshake(script: str, *arguments: str) -> float:
    """Return the CPU seconds that the server spends on one handshake."""
    with serving(script, *arguments) as server, server.crowd() as crowd:
        crowd.connect(stations(200), password=PASSWORD)  # imports, caches, first pages
        before = cpu_seconds(server.pid)
        crowd.connect(stations(HANDSHAKES, 200), password=PASSWORD)
        return (cpu_seconds(server.pid) - before) / HANDSHAKES


def memory(script: str, *arguments: str) -> float:
    """Return the bytes of resident memory that one more idle connection takes."""
    with serving(script, *arguments) as server, server.crowd() as crowd:
        points: list[tuple[float, float]] = []
        for before, size in zip((0, *SIZES), SIZES, strict=False):
            crowd.connect(stations(size - before, before), password=PASSWORD)
            crowd.stay(1.0)
            points.append((size, resident_bytes(server.pid)))
        return slope(points)


def ping(script: str, *arguments: str) -> float:
    """Return the CPU seconds that the server spends on one ping and its pong."""
    with serving(script, *arguments, "--ping", str(PING_INTERVAL)) as server, server.crowd() as crowd:
        crowd.connect(stations(PINGED), password=PASSWORD)
        crowd.stay(2 * PING_INTERVAL)
        spent, pings = cpu_seconds(server.pid), crowd.pings
        crowd.stay(PING_SECONDS)
        return (cpu_seconds(server.pid) - spent) / (crowd.pings - pings)


PLAIN = ("plain_server.py",)
OURS = ("our_server.py",)
UNTUNED = ("our_server.py", "--gc", "default")


def compare(cost: Callable[..., float], *sides: tuple[str, ...]) -> list[list[float]]:
    """Measure each side in turn, round after round, and return each side's values."""
    rounds = [[cost(*side) for side in sides] for _ in range(ROUNDS)]
    return [list(values) for values in zip(*rounds, strict=True)]


def ratio(part: str, ours: list[float], plain: list[float], *, at_most: float | None, unit: float, sign: str) -> Result:
    """Put the ratio of the medians beside its target; each side's own figure goes into the note."""
    each = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    own, other = statistics.median(ours) * unit, statistics.median(plain) * unit
    note = f"{own:.1f} against {other:.1f} {sign}; rounds {spread(each)}"
    return Result(part="connections", name=part, value=own / other, unit="x plain", at_most=at_most, note=note)


def main() -> None:
    began = time.monotonic()
    plain, ours, untuned = compare(handshake, PLAIN, OURS, UNTUNED)
    results = [
        ratio("CPU per handshake", ours, plain, at_most=1.3, unit=1e6, sign="us"),
        ratio("the same, garbage collector untuned", untuned, plain, at_most=None, unit=1e6, sign="us"),
    ]
    plain, ours = compare(memory, PLAIN, OURS)
    results += [ratio("RSS per idle connection", ours, plain, at_most=1.15, unit=1e-3, sign="kB")]
    plain, ours = compare(ping, PLAIN, OURS)
    results += [ratio("CPU per ping and pong", ours, plain, at_most=0.7, unit=1e6, sign="us")]
    report(results)
    print(f"load average {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

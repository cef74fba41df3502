"""What the kernel says of a process: CPU spent, memory held; and on which core it runs."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of all of a process's threads, ended ones included.

    It is the sum of which /proc/PID/stat shows the ticks, in nanoseconds: the kernel's CPU clock of that process
    (clock_getcpuclockid(3), whose number is made like this).
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def keep_to_core(number: int, pid: int = 0) -> None:
    """Keep a process (this one, if none is named) to one core, where there are several."""
    os.sched_setaffinity(pid, {CORES[number % len(CORES)]})


def many_sockets() -> None:
    """Let this process, and those that it starts, hold as many sockets as the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y grows with x, by least squares."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of them lies (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def spread(values: Sequence[float]) -> str:
    """Say between which values the rounds lay."""
    return f"{min(values):.2f} to {max(values):.2f} in {len(values)} rounds"

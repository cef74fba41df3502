"""What the kernel says of a process: CPU spent, memory held."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of all of a process's threads, ended ones included.

    It advances in ticks (10 ms on most kernels): measure over a second of CPU at least.
    """
    # The name of the program stands in brackets and may hold anything; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y grows with x, by least squares."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def spread(values: Sequence[float]) -> str:
    """Say between which values the rounds lay."""
    return f"{min(values):.2f} to {max(values):.2f} in {len(values)} rounds"

"""Ids: computed ones, which must not be drawn twice, and time-ordered random ones for everything else."""

from __future__ import annotations

from base64 import b32hexencode
from collections.abc import Callable
from secrets import token_bytes
from typing import TypeAlias

from .events import Micros

Entropy: TypeAlias = Callable[[int], bytes]
"""Where so many random bytes come from: the machine, or a seed where a run is to be played again to the byte."""


def new_id(at: Micros, entropy: Entropy = token_bytes) -> str:
    """Draw an id that sorts by time: 26 characters of base32hex, milliseconds first (as in UUIDv7, RFC 9562, 5.7)."""
    return b32hexencode((at // 1000).to_bytes(6, "big") + entropy(10)).decode().rstrip("=").lower()


def connection_name(run: str, n: int) -> str:
    """Name the *n*-th admission of a run."""
    return f"{run}-{n}"


def run_of(connection: str) -> str:
    """Return the run of a connection."""
    return connection.rpartition("-")[0]


def run_and_number(connection: str) -> tuple[str, int]:
    """Return run and n of a connection `<run>-<n>`; 0, which no admission bears, where there is no n."""
    run, _, tail = connection.rpartition("-")
    # No run admits 10^18 stations; what is longer is no number of ours, and int() itself refuses very long ones.
    return run, int(tail) if tail.isascii() and tail.isdigit() and len(tail) <= 18 else 0


def opened_id(connection: str) -> str:
    return f"{connection}:opened"


def timed_out_id(connection: str) -> str:
    return f"{connection}:timed_out"


def closed_id(connection: str) -> str:
    return f"{connection}:closed"


def lost_id(run: str) -> str:
    return f"{run}:lost"


def lapsed_id(run: str) -> str:
    return f"{run}:lapsed"


def settled_id(station: str, version: int) -> str:
    return f"{station}:{version}:settled"

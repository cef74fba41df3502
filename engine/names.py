"""Ids: computed ones, which must not be drawn twice, and time-ordered random ones for everything else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from secrets import token_bytes
from typing import Final, TypeAlias

from .events import Micros

Entropy: TypeAlias = Callable[[int], bytes]
"""Where so many random bytes come from: the machine, or a seed where a run is to be played again to the byte."""


_PAIRS: Final = [one + other for one, other in product("0123456789abcdefghijklmnopqrstuv", repeat=2)]
"""Of base32hex (RFC 4648, 7)."""


def new_id(at: Micros, entropy: Entropy = token_bytes) -> str:
    """Draw an id that sorts by time: 26 characters of base32hex, milliseconds first (as in UUIDv7, RFC 9562, 5.7)."""
    # 26 characters are 13 pairs of 10 bits, the last two of them nought. `base64` takes three times as long.
    n, pairs = int.from_bytes((at // 1000).to_bytes(6, "big") + entropy(10), "big") << 2, _PAIRS
    return (
        f"{pairs[n >> 120]}{pairs[n >> 110 & 1023]}{pairs[n >> 100 & 1023]}{pairs[n >> 90 & 1023]}"
        f"{pairs[n >> 80 & 1023]}{pairs[n >> 70 & 1023]}{pairs[n >> 60 & 1023]}{pairs[n >> 50 & 1023]}"
        f"{pairs[n >> 40 & 1023]}{pairs[n >> 30 & 1023]}{pairs[n >> 20 & 1023]}{pairs[n >> 10 & 1023]}{pairs[n & 1023]}"
    )


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

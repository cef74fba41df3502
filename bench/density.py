"""Resident memory an idle, authenticated station takes: ours beside what one would use instead.

The slope of the server's resident set over the number of stations that it holds, so that what the program takes by
itself does not count; ours has written so much before that SQLite's page cache, 16 MB at most, is full. Nor does
kernel memory count: some 4 kB a socket, whoever holds it.
"""

from __future__ import annotations

import sys

from attrs import frozen
from fleet import stations
from machine import resident_bytes, slope
from result import Result, report
from sides import ALL, DENSE, HARDENED, OCPP, Grounds, Side, grounds, present

PART = "density"
QUICK = "--quick" in sys.argv
DENSE_SIZES = (3_000, 6_000, 9_000, 12_000, 15_000)
"""From where the caches of SQLite are full, which take 4 MB whoever comes and would count as 0.2 kB a station."""
SIZES = (500, 1_000, 2_000, 3_000, 4_000)
SETTLE = 1.0
"""Seconds from the last handshake until memory is read."""


@frozen
class Density:
    """What stations take in one server."""

    station: float
    """Bytes of one more station."""
    program: float
    """Bytes of the program without any."""
    all_told: float
    """Bytes by which it has grown in the end, whatever for, by station."""


def memory(ground: Grounds, side: Side) -> Density:
    """Fill a server step by step, and return what a station takes."""
    sizes = (DENSE_SIZES if side is DENSE else SIZES)[: 4 if QUICK else None]
    with ground.serving(side, more=("--settled",) if side.ours else ()) as server, server.crowd() as crowd:
        points: list[tuple[float, float]] = []
        program = resident_bytes(server.pid)
        for before, size in zip((0, *sizes), sizes, strict=False):
            crowd.connect(stations(size - before, before))
            crowd.stay(SETTLE)
            points.append((size, resident_bytes(server.pid)))
    held, resident = points[-1]
    return Density(slope(points), program, (resident - program) / held)


def main() -> None:
    sides = present(*ALL)
    with grounds(DENSE_SIZES[-1]) as ground:
        found = {side: memory(ground, side) for side in sides}
    results = [
        Result(
            part=PART,
            name=side.name,
            value=density.station / 1e3,
            unit="kB/station",
            at_most=2.0 if side is DENSE else None,
            note=f"{(DENSE_SIZES if side is DENSE else SIZES)[-1]} stations; "
            f"the program itself {density.program / 1e6:.0f} MB; all growth since its start over them, caches too, "
            f"{density.all_told / 1e3:.2f} kB",
        )
        for side, density in found.items()
    ]
    for side in (DENSE, HARDENED):
        if side in found:
            value = found[OCPP].station / found[side].station
            least = 8.0 if side is DENSE else None
            results.append(Result(part=PART, name=f"{OCPP.name} / {side.name}", value=value, unit="x", at_least=least))
    report(results)


if __name__ == "__main__":
    main()

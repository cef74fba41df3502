"""CPU that a server spends on letting one authenticated station in: ours, with a durable event, beside peers.

The peers record nothing. All take turns, round after round, so that a busy minute hits everybody; what counts are the
ratios within a round.
"""

from __future__ import annotations

import sys

from fleet import stations
from machine import cpu_seconds
from result import Result, ratio, report
from sides import ALL, DENSE, HARDENED, OCPP, PLAIN, Grounds, Side, grounds, present

PART = "handshake"
ROUNDS = 1 if "--quick" in sys.argv else 3
AT_ONCE = 250
"""Handshakes under way at a time: that they come by themselves is nobody's worry."""
WARM = 300
"""Stations before it counts: imports, caches, first pages."""
AT_ONCE = 200
"""Handshakes under way: as many as in a storm, of which those that come together are committed together."""
SLOW, QUICK = 2_000, 6_000
"""Handshakes that are measured: half a second of CPU and more."""
UNTUNED = Side("dense, garbage collector untuned", (*DENSE.command, "--gc", "default"), ours=True, needs=DENSE.needs)


def cost(ground: Grounds, side: Side) -> float:
    """Return the CPU seconds that a server spends on one handshake."""
    count = QUICK if side.ours else SLOW
    with ground.serving(side) as server, server.crowd() as crowd:
        crowd.connect(stations(WARM))
        before = cpu_seconds(server.pid)
        crowd.connect(stations(count, WARM), at_once=AT_ONCE)
        return (cpu_seconds(server.pid) - before) / count


def main() -> None:
    sides = present(*ALL, UNTUNED)
    found: dict[Side, list[float]] = {side: [] for side in sides}
    with grounds(WARM + QUICK) as ground:
        for _ in range(ROUNDS):
            for side in sides:
                found[side].append(cost(ground, side))
    results = [Result.of(PART, side.name, found[side], unit="us CPU", scale=1e6) for side in sides]
    if DENSE in found:
        results.append(ratio(PART, OCPP.name, found[OCPP], DENSE.name, found[DENSE], at_least=2.5))
    results.append(ratio(PART, OCPP.name, found[OCPP], HARDENED.name, found[HARDENED]))
    results.append(ratio(PART, PLAIN.name, found[PLAIN], HARDENED.name, found[HARDENED]))
    report(results)


if __name__ == "__main__":
    main()

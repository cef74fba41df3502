"""CPU of a ping and its pong in a server that watches many idle stations: ours beside what libraries do.

Each is told to ping every two seconds, which is far more often than anybody would, so that there is enough to measure.
"""

from __future__ import annotations

import sys

from fleet import stations
from machine import cpu_seconds
from result import Result, ratio, report
from sides import ALL, DENSE, HARDENED, OCPP, PLAIN, Grounds, Side, grounds, present

PART = "ping"
ROUNDS = 1 if "--quick" in sys.argv else 2
PINGED = 2_000
INTERVAL = 2.0
SECONDS = 8.0


def cost(ground: Grounds, side: Side) -> float:
    """Return the CPU seconds that a server spends on one ping and its pong."""
    with ground.serving(side, ping=INTERVAL) as server, server.crowd() as crowd:
        crowd.connect(stations(PINGED))
        crowd.stay(1.5 * INTERVAL)
        spent, pings = cpu_seconds(server.pid), crowd.pings
        crowd.stay(SECONDS)
        return (cpu_seconds(server.pid) - spent) / (crowd.pings - pings)


def main() -> None:
    sides = present(*ALL)
    found: dict[Side, list[float]] = {side: [] for side in sides}
    with grounds(PINGED) as ground:
        for _ in range(ROUNDS):
            for side in sides:
                found[side].append(cost(ground, side))
    results = [
        Result.of(PART, side.name, found[side], unit="us CPU", scale=1e6, at_most=25 if side is DENSE else None)
        for side in sides
    ]
    for side in (DENSE, HARDENED):
        if side in found:
            results += [ratio(PART, other.name, found[other], side.name, found[side]) for other in (PLAIN, OCPP)]
    report(results)


if __name__ == "__main__":
    main()

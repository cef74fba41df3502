"""How long the hint for an unknown station takes: the nearest of 100 000 registered ids, in the loop's own thread."""

from __future__ import annotations

import time

from result import Result, report

from stationkeeper.daemon.registry.nearest import hint

STATIONS = 100_000
ROUNDS = 9
CLAIMED = {
    "leading zeros are missing": "CP-77",
    "a letter for a digit": "CP-0000O7",
    "like none": "EVB-P1234567",
    "as long as an id may be": "x" * 48,
}


def main() -> None:
    ids = dict.fromkeys(f"CP-{number:06d}" for number in range(STATIONS))
    hint("to have it imported", ids)
    results: list[Result] = []
    for name, claimed in CLAIMED.items():
        spent: list[float] = []
        for _ in range(ROUNDS):
            began = time.process_time()
            hint(claimed, ids)
            spent.append(time.process_time() - began)
        results.append(Result.of("nearest", f"100 000 ids, {name}", spent, unit="ms", scale=1e3, at_most=20.0))
    report(results)


if __name__ == "__main__":
    main()

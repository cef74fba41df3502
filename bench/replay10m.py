"""How long `replay --at` takes for one station of a log of ten million events, as a library call and as a command.

Only run when it is named: the log takes some minutes to write, and about 4 GB in the folder for temporary files.
Stations and moments are drawn; a station has some thousand events of its own in the whole of it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from mixed import BEGAN, STATIONS, STEP, station
from replay import write
from result import Result, report

from stationkeeper.engine.clock import rfc3339
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.stations import life_of
from stationkeeper.projections import presence, registry
from stationkeeper.projections.chargestation import chargestation

EVENTS = 10_000_000
CALLS = 200
PROCESSES = 20


def as_of(path: Path, id: str, at: int) -> None:
    """Open a log, and tell the state of one station as of a time."""
    with closing(open_reader(path)) as log:
        fold = Fold([presence, registry])
        for recorded in life_of(log, id, until=log.position_at(at)):
            fold.advance(recorded)
        assert chargestation(fold.state(presence), fold.state(registry), id) is not None


def command(path: Path, id: str, at: int) -> None:
    """The same from a shell."""
    words = [sys.executable, "-m", "stationkeeper", "replay", str(path), "--station", id, "--at", rfc3339(at)]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def milliseconds(ask: Callable[[Path, str, int], None], path: Path, times: int) -> list[float]:
    """Return how long each of some questions took, by the clock on the wall."""
    random, took = Random(1), list[float]()
    for _ in range(times):
        # From where every station has been registered, to the end.
        at = BEGAN + random.randrange(STATIONS + 1, EVENTS) * STEP
        id = station(random.randrange(STATIONS))
        began = time.perf_counter()
        ask(path, id, at)
        took.append(1000 * (time.perf_counter() - began))
    return sorted(took)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder:
        path = Path(folder) / "bench.db"
        began = time.monotonic()
        write(path, EVENTS)
        writing, gigabytes = time.monotonic() - began, path.stat().st_size / 1e9
        calls = milliseconds(as_of, path, CALLS)
        commands = milliseconds(command, path, PROCESSES)
    report(
        [
            Result(
                part="replay10m",
                name="one station as of a time, library call",
                value=statistics.median(calls),
                unit="ms",
                at_most=100.0,
                note=f"99 of 100 within {calls[int(0.99 * CALLS)]:.1f} ms; {CALLS} calls, opening included",
            ),
            Result(
                part="replay10m",
                name="the same by `replay --at --station`, the whole process",
                value=statistics.median(commands),
                unit="ms",
                note=f"{commands[0]:.0f} to {commands[-1]:.0f} ms; {PROCESSES} processes",
            ),
            Result(
                part="replay10m",
                name="writing that log",
                value=EVENTS / writing,
                unit="events/s",
                note=f"{writing:.0f} s, {gigabytes:.1f} GB",
            ),
        ]
    )


if __name__ == "__main__":
    main()

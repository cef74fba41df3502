"""How fast a log is replayed from its file, beside a raw scan of the same file and the `eventsourcing` library.

The log is of a mixed history (`mixed`): registrations, connections, deliveries with their outcomes, restarts. A full
replay reads it and folds presence, sessions, registry, webhooks and the outbox. Rates are events per second of CPU
time, rounds of all sides alternate, and the file is in the page cache. `eventsourcing` is given what happened to
connections within the first part of the same history, and rebuilds every station's flag, which is compared with ours.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import eventsourced
from mixed import mixed_history
from result import Result, report

from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.queries import COLUMNS
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections import outbox, presence, sessions

EVENTS = 1_000_000
TENTH = EVENTS // 10
BATCH = 10_000
ROUNDS = 3


def write(path: Path, length: int) -> None:
    """Write a log of the first events of the mixed history."""
    log, history = open_log(path), mixed_history(length)
    while batch := list(islice(history, BATCH)):
        log.append(batch)
    log.close()


def scan(path: Path) -> None:
    """Read every column of every row with SQLite alone."""
    connection = connect(path, mode="ro")
    rows = connection.execute(f"SELECT {COLUMNS} FROM event ORDER BY position")
    while rows.fetchmany(1_000):
        pass
    connection.close()


def read(path: Path) -> None:
    for _ in read_log(path):
        pass


def replay(path: Path, until: int | None = None) -> Fold:
    """Fold a log, from its file, into everything that an operator asks about."""
    fold = Fold([presence, sessions, outbox])
    for recorded in read_log(path, until=until):
        fold.advance(recorded)
    return fold


def flags(path: Path, until: int) -> dict[str, bool]:
    """Rebuild every station's flag, and nothing else: the work that `eventsourcing` is given."""
    fold = Fold([presence])
    for recorded in read_log(path, until=until, kinds=presence.kinds):
        fold.advance(recorded)
    return {id: station.online for id, station in fold.state(presence).items()}


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of some work."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def resident_megabytes(path: Path, until: int) -> float:
    """Return the most memory that a process held which replayed so many events."""
    command = [sys.executable, __file__, str(path), str(until)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024


def replay_and_tell(path: Path, until: int) -> None:
    """In a process of its own: replay, and print the peak of the resident set, in kibibytes."""
    replay(path, until)
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    print(peak)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder:
        ours, theirs = Path(folder) / "ours.db", Path(folder) / "theirs.db"
        write(ours, EVENTS)
        given, stations = eventsourced.write(theirs, mixed_history(TENTH))
        library = eventsourced.stations_in(theirs)
        known = flags(ours, TENTH)
        assert known == eventsourced.by_repository(library, stations) == eventsourced.by_following(library)
        connections = sum(entry.kind in presence.kinds for entry in mixed_history(TENTH))

        sides: dict[str, tuple[int, Callable[[], object]]] = {
            "raw": (EVENTS, lambda: scan(ours)),
            "read": (EVENTS, lambda: read(ours)),
            "replay": (EVENTS, lambda: replay(ours)),
            "flags": (connections, lambda: flags(ours, TENTH)),
            "repository": (given, lambda: eventsourced.by_repository(library, stations)),
            "following": (given, lambda: eventsourced.by_following(library)),
        }
        rounds = [{side: events / seconds(work) for side, (events, work) in sides.items()} for _ in range(ROUNDS)]
        memory = [resident_megabytes(ours, until) for until in (TENTH, EVENTS)]
    told(rounds, memory)


def told(rounds: list[dict[str, float]], memory: list[float]) -> None:
    """Report what was found."""

    def rate(side: str, name: str, *, at_least: float | None = None, note: str = "") -> Result:
        rates = [one[side] for one in rounds]
        spread = f"{min(rates):,.0f} to {max(rates):,.0f} in {ROUNDS} rounds{'; ' if note else ''}{note}"
        return Result(
            part="replay", name=name, value=statistics.median(rates), unit="events/s", at_least=at_least, note=spread
        )

    def ratio(ours: str, side: str, name: str) -> Result:
        ratios = [one[ours] / one[side] for one in rounds]
        spread = f"{min(ratios):.3g} to {max(ratios):.3g}"
        return Result(part="replay", name=name, value=statistics.median(ratios), unit="x", note=spread)

    faster = max(("repository", "following"), key=lambda side: statistics.median(one[side] for one in rounds))
    report(
        [
            rate("raw", "a raw scan of the file", note="every column, nothing made of it"),
            rate("read", "`read_log` alone"),
            rate(
                "replay", "full replay from the file: presence, sessions, outbox", at_least=100_000, note="goal 200 000"
            ),
            ratio("replay", "raw", "its rate over the raw scan's"),
            rate("flags", "flags alone from the file, with us"),
            rate("repository", "flags with `eventsourcing`: each station by its repository"),
            rate("following", "flags with `eventsourcing`: all by following its notification log"),
            ratio("flags", faster, "our flags over the faster of these"),
            ratio("replay", faster, "our full replay over it"),
            Result(
                part="replay",
                name="memory of a full replay of ten times the events",
                value=memory[1] / memory[0],
                unit="x",
                at_most=1.15,
                note=f"peak {memory[0]:.1f} MB at {TENTH:,} events, {memory[1]:.1f} MB at {EVENTS:,}",
            ),
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        replay_and_tell(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()

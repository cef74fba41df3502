"""Run the benchmarks one after the other and print one table: `make bench`, or `make bench ARGS='append fold'`.

Each part is a script of its own beside this one, in a process of its own, so that no part warms another's caches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result import COLLECT, Result, table

HERE = Path(__file__).parent
PARTS = ("append", "fold", "replay", "verify", "deliver", "start", "density", "handshake", "ping", "nearest")
LONG = ("replay10m",)
"""Run only when they are named: they take many minutes, and gigabytes."""


def run(part: str) -> list[Result]:
    """Run one part and return what it found.

    Raises:
        CalledProcessError: the part failed.
    """
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as found:
        began = time.monotonic()
        environment = os.environ | {COLLECT: found.name}
        subprocess.run([sys.executable, str(HERE / f"{part}.py")], env=environment, check=True)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        return [Result(**json.loads(line)) for line in found]


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - {*PARTS, *LONG}
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join((*PARTS, *LONG))}", file=sys.stderr)
        return 2
    results = [one for part in wanted or PARTS for one in run(part)]
    print(table(results))
    return 0 if all(one.reached for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

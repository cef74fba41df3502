"""Run the benchmarks one after the other and print one table: `make bench`, or `make bench ARGS='append fold'`.

Each part is a script of its own beside this one, in a process of its own, so that no part warms another's caches. With
`--quick` those that can be are shorter, and say less. A picture shows what
stations cost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from picture import draw
from result import COLLECT, Curve, Result, table

HERE = Path(__file__).parent
PICTURE = HERE / "stations.svg"
PARTS: dict[str, tuple[str, ...]] = {
    "append": ("append.py",),
    "fold": ("fold.py",),
    "replay": ("replay.py",),
    "verify": ("verify.py",),
    "deliver": ("deliver.py",),
    "deliver-latency": ("deliver_latency.py",),
    "deliver-dead": ("deliver_dead.py",),
    "backlog": ("backlog.py",),
    "start": ("start.py",),
    "secrets": ("secrets_start.py",),
    "density": ("density.py",),
    "handshake": ("handshake.py",),
    "ping": ("ping.py",),
    "tls": ("tls.py",),
    "proxied": ("proxied.py",),
    "storm": ("storm.py",),
    "storm-trio": ("storm.py", "--transport", "trio-websocket"),
    "overload": ("overload.py",),
    "overload-trio": ("overload.py", "--side", "trio-websocket"),
}
LONG: dict[str, tuple[str, ...]] = {"replay10m": ("replay10m.py",)}
"""Run only when they are named: they take many minutes, and gigabytes."""
HURRIED = (
    "deliver",
    "deliver-latency",
    "deliver-dead",
    "backlog",
    "density",
    "handshake",
    "ping",
    "tls",
    "storm",
    "storm-trio",
    "overload",
    "overload-trio",
)
"""Those that `--quick` makes shorter."""


def run(part: str, *, quick: bool) -> tuple[list[Result], list[Curve]]:
    """Run one part and return what it found.

    Raises:
        CalledProcessError: the part failed.
    """
    script, *arguments = (PARTS | LONG)[part]
    if quick and part in HURRIED:
        arguments.append("--quick")
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as found:
        began = time.monotonic()
        environment = os.environ | {COLLECT: found.name}
        subprocess.run([sys.executable, str(HERE / script), *arguments], env=environment, check=True)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        lines = [json.loads(line) for line in found]
    curves = [Curve(**line) for line in lines if "points" in line]
    return [Result(**line) for line in lines if "points" not in line], curves


def main(words: list[str]) -> int:
    wanted = [word for word in words if word != "--quick"]
    unknown = set(wanted) - {*PARTS, *LONG}
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join((*PARTS, *LONG))}", file=sys.stderr)
        return 2
    results: list[Result] = []
    curves: list[Curve] = []
    failed: list[str] = []
    for part in wanted or PARTS:
        try:
            found, drawn = run(part, quick="--quick" in words)
        except subprocess.CalledProcessError:
            failed.append(part)
            continue
        results += found
        curves += drawn
    print(table(results))
    if failed:
        print(f"\nThese failed, and say above why: {', '.join(failed)}.")
    if draw(results, curves, PICTURE):
        print(f"\nThe picture is in {PICTURE.relative_to(HERE.parent)}.")
    return 0 if all(one.reached for one in results) and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

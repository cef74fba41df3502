"""`python -m stationkeeper.daemon.proving`: let drawn worlds happen, judge them, and say what came of it.

Exit codes: 0 every truth held, 1 one did not, 2 wrong usage. It needs nothing but the library's own dependencies.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from multiprocessing import get_context

from .proof import Proof, add_up, in_words, prove_drawn, sum_in_words

DESCRIPTION = """\
Let a drawn fleet live with the whole engine under virtual time, let networks, receivers, the log and the process fail,
and judge whether every truth held. The same seed, stations and hours are the same run, to the byte."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    asked = _parser().parse_args(arguments)
    began = time.perf_counter()
    proofs: list[Proof] = []
    enough = 0.0
    for proof in _worlds(asked):
        proofs.append(proof)
        enough += proof.station_hours
        if asked.station_hours is None or proof.findings:
            _say(asked, *in_words(proof))
        elif sys.stderr.isatty():
            print(f"\r{enough:,.0f} station-hours, {len(proofs)} worlds", end="", file=sys.stderr, flush=True)
        if asked.station_hours is not None and enough >= asked.station_hours:
            break
    total = add_up(proofs, time.perf_counter() - began)
    if asked.json:
        print(json.dumps(total.as_json()))
    else:
        _say(asked, *sum_in_words(total))
        if len(proofs) == 1:
            _say(asked, f"Digest {proofs[0].digest}.")
    return 1 if total.failed else 0


def _worlds(asked: argparse.Namespace) -> Iterator[Proof]:
    """Yield what comes of one world after the other, until nobody asks for more."""
    last = None if asked.station_hours is not None else asked.worlds
    seeds = islice(((seed, asked.stations, asked.hours) for seed in count(asked.seed)), last)
    if asked.jobs == 1:
        yield from map(prove_drawn, seeds)
        return
    with get_context("spawn").Pool(asked.jobs) as pool:
        # Handed out as they are taken: `imap` would take the whole of an endless row at once.
        while handed := list(islice(seeds, 4 * asked.jobs)):
            yield from pool.imap(prove_drawn, handed)


def _say(asked: argparse.Namespace, *lines: str) -> None:
    if not asked.json:
        print(*lines, sep="\n", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stationkeeper.daemon.proving",
        description=DESCRIPTION,
        epilog="example: python -m stationkeeper.daemon.proving --seed 7 --stations 20 --hours 4",
    )
    parser.add_argument("--seed", type=int, default=1, help="what the (first) world is drawn from; default 1")
    parser.add_argument("--stations", type=int, help="how many stations; default: drawn")
    parser.add_argument("--hours", type=float, help="how long; default: drawn")
    parser.add_argument("--worlds", type=int, default=1, help="how many worlds, each with the next seed; default 1")
    parser.add_argument(
        "--station-hours", type=float, metavar="N", help="go on with the next seed until N are simulated"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worlds at once, a process each; default 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object in the end, and nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())

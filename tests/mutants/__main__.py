"""Change the modules that matter in every small way, one at a time, and see whether a test notices: `make mutants`.

What is tried is a copy of the checkout as it is now, so that one may go on editing. Why not one of the tools that
there are: docs/adr/0015-our-own-mutants.md.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from .modules import row, try_module
from .targets import GOAL, TARGETS

HERE = Path(__file__).resolve().parent.parent.parent
STAGED = "STATIONKEEPER_MUTANTS"
"""Set in the environment of the run within the copy: the folder of its state."""


def stage() -> None:
    """Copy the checkout and go on in the copy; does not return."""
    state = HERE / ".venv" / "mutants"
    state.mkdir(parents=True, exist_ok=True)
    lock = os.open(state / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("mutants are being tried already, and there is one copy: wait for that to end") from None
    os.set_inheritable(lock, True)  # held until the last of what follows has ended
    copy = state / "names" / "stationkeeper"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(".*", "node_modules", "build", "dist", "*.egg-info"))
    paths = os.pathsep.join(map(str, (copy.parent, copy / "tests", copy / "docs")))
    os.chdir(copy)
    # One seed for every hash, so that a score can be repeated.
    environment = os.environ | {STAGED: str(state), "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
    os.execve(sys.executable, [sys.executable, "-m", "mutants", *sys.argv[1:]], environment)


def wanted(words: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the groups and modules that the words name; all of them without a word."""
    asked = set(words)
    chosen = {
        group: {file: tests for file, tests in modules.items() if not asked or asked & {group, file}}
        for group, modules in TARGETS.items()
    }
    unknown = asked - TARGETS.keys() - {file for modules in TARGETS.values() for file in modules}
    if unknown:
        raise SystemExit(f"no such group or module: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    return {group: modules for group, modules in chosen.items() if modules}


def main(asked: Namespace) -> int:
    state = Path(os.environ[STAGED])
    short = False
    totals: list[str] = []
    for group, modules in wanted(asked.what).items():
        mutants = survivors = 0
        for file, tests in modules.items():
            kept = state / f"{file.replace('/', '.')}.killed.json"
            # In a process of its own, where nothing is loaded yet: not this module either, for one tried before.
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
                trying = process.submit(try_module, file, tests, kept, again=asked.again, every=asked.every)
                tried, survived = trying.result()
            mutants, survivors = mutants + tried, survivors + len(survived)
        totals.append(f"{group:<32}{row(mutants, survivors)}")
        short = short or survivors > (1 - GOAL) * mutants
    print("\n".join(totals))
    return 1 if short else 0


if __name__ == "__main__":
    parser = ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("what", nargs="*", help="groups or modules; all of them without one")
    parser.add_argument(
        "--again", action="store_true", help="try only those that no test noticed the last time, and new ones"
    )
    parser.add_argument("--every", type=int, default=1, help="try one in so many, for a first look")
    arguments = parser.parse_args()
    if STAGED not in os.environ:
        wanted(arguments.what)
        stage()
    sys.exit(main(arguments))

"""Change the modules that matter in every small way, one at a time, and see whether a test notices: `make mutants`.

What is tried is a copy of the checkout as it is now, so that one may go on editing. Why not one of the tools that
there are: docs/adr/0016-our-own-mutants.md.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from .mutations import Mutation, mutations_of
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


def difference(file: str, source: str, mutation: Mutation) -> str:
    """Return a mutation as a diff without context."""
    before, after = source.splitlines(), mutation.of(source).splitlines()
    return "\n".join(difflib.unified_diff(before, after, file, file, n=0, lineterm=""))


def body(diff: str) -> str:
    """Return what a diff says wherever it stands: its lines without the place."""
    return "\n".join(line for line in diff.splitlines()[2:] if not line.startswith("@@"))


def try_module(file: str, tests: tuple[str, ...], kept: Path, *, again: bool, every: int) -> tuple[int, list[str]]:
    """Try a module's mutants; return how many there are and the diffs of those that survived."""
    from .trial import Subject  # Loads pytest and Hypothesis, which staging need not wait for.

    subject = Subject(Path.cwd(), file, tests)
    mutations = mutations_of(subject.source)[::every]
    noticed = set(json.loads(kept.read_text())) if again and kept.exists() else set[str]()
    began = time.monotonic()
    timeout = 5 + 4 * subject.sound()
    survived: list[str] = []
    killed: list[str] = []
    for number, mutation in enumerate(mutations, start=1):
        diff = difference(file, subject.source, mutation)
        if body(diff) not in noticed and subject.survives(mutation.of(subject.source), timeout):
            survived.append(diff)
            print(diff, flush=True)
        else:
            killed.append(body(diff))
        if sys.stderr.isatty():
            print(f"\r{file}: {number}/{len(mutations)}, {len(survived)} survived", end="\r", file=sys.stderr)
    # Two mutants may look alike: what is noticed in one place alone is tried again.
    kept.write_text(json.dumps(sorted(set(killed) - set(map(body, survived))), indent=1))
    print(f"{file:<32}{row(len(mutations), len(survived))}  {time.monotonic() - began:5.0f} s\n", flush=True)
    return len(mutations), survived


def row(mutants: int, survived: int) -> str:
    score = 1.0 if mutants == 0 else 1 - survived / mutants
    return f"{mutants:6} mutants {mutants - survived:5} killed {survived:4} survived  {score:6.1%}"


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
            tried, survived = try_module(
                file, tests, state / f"{file.replace('/', '.')}.killed.json", again=asked.again, every=asked.every
            )
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

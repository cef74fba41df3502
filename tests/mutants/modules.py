"""The mutants of one module, tried one after the other."""

from __future__ import annotations

import difflib
import json
import sys
import time
from pathlib import Path

from .mutations import Mutation, mutations_of


def difference(file: str, source: str, mutation: Mutation) -> str:
    """Return a mutation as a diff without context."""
    before, after = source.splitlines(), mutation.of(source).splitlines()
    return "\n".join(difflib.unified_diff(before, after, file, file, n=0, lineterm=""))


def body(diff: str) -> str:
    """Return what a diff says wherever it stands: its lines without the place."""
    return "\n".join(line for line in diff.splitlines()[2:] if not line.startswith("@@"))


def try_module(file: str, tests: tuple[str, ...], kept: Path, *, again: bool, every: int) -> tuple[int, list[str]]:
    """Try a module's mutants; return how many there are and the diffs of those that survived."""
    from .trial import Subject  # loads pytest and Hypothesis, in the process that needs them alone

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
    """Return a score as it is printed."""
    score = 1.0 if mutants == 0 else 1 - survived / mutants
    return f"{mutants:6} mutants {mutants - survived:5} killed {survived:4} survived  {score:6.1%}"

"""Judge any projection: totality, determinism, and that a snapshot with its tail is as good as the whole log.

Give these checks histories that are legal and histories that are not: well-formed events in any order. Hypothesis
draws good ones; `check_projection` takes one history at a time, so it sits under a `@given`.

    @given(histories())
    def test_mine_is_a_projection(history):
        check_projection(mine, history)

Nothing here needs a loop, a log or a file. A failed check raises `AssertionError` and says what differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ..entry import Recorded
from ..fold import Fold, Projection

AnyProjection: TypeAlias = Projection[Any, Any]

IMPURE: Final = frozenset(
    {"trio", "asyncio", "sqlite3", "pysqlite3", "sqlite_utils", "socket", "ssl", "select", "logging", "structlog"}
    | {"subprocess", "tempfile", "http", "urllib.request", "h11", "wsproto", "trio_websocket"}
)
"""Modules that a projection has no business to bring in, not even through others."""

ELSEWHERE: Final = (
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Apia", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "4294967295", "TZ": "America/St_Johns", "LC_ALL": "C"},
)
"""Surroundings in which the same events have to give the same bytes."""


class _Step(NamedTuple):
    """What was there after an event."""

    dumps: dict[str, bytes]
    """Projection -> its state, written down."""
    changes: dict[str, Sequence[Any]]
    """Projection -> what the event changed."""


def check_projection(
    projection: AnyProjection, history: Sequence[Recorded], *, cuts: Iterable[int] | None = None
) -> None:
    """Check a projection, and those that it stands on, against one history.

    * Totality: no event raises, whatever came before it.
    * Determinism: two folds from nothing agree on every state and every change; neither has a hand in the other's.
    * The state at a position depends on nothing after it.
    * A snapshot at k and the events after it give the same states, byte for byte, and the same changes, as all events;
      and writing down what was read gives the same bytes again.

    Args:
        cuts: the values of k; all of them, if none are given.
    """
    steps = _fold(projection, history, at=0, dumps=None)
    again = _fold(projection, history, at=0, dumps=None)
    _compare(steps, again, "a second fold from nothing")
    for k in range(len(history) + 1) if cuts is None else cuts:
        tail = _fold(projection, history, at=k, dumps=steps[k].dumps)
        _compare(steps[k:], tail, f"a snapshot after {k} events, and the rest,")


def check_elsewhere(name: str, history: Sequence[Recorded]) -> None:
    """Check that other processes, with other hash seeds, zones and locales, come to the same states and changes.

    Args:
        name: where the projection is found, as `package.module:attribute`.
    """
    projection = _find(name)
    here = _fold(projection, history, at=0, dumps=None)
    written, changed = here[-1].dumps, _written_changes(here)
    for surroundings in ELSEWHERE:
        told = _run(["-m", __name__, name], msgspec.msgpack.encode(list(history)), surroundings)
        there, changed_there = msgspec.msgpack.decode(told, type=tuple[dict[str, bytes], list[str]])
        for part, dump in written.items():
            assert dump == there[part], f"the state of {part} differs under {surroundings}"
        assert changed == changed_there, f"changes differ under {surroundings}"


def check_pure(module: str) -> None:
    """Check that importing a module brings in nothing that is impure."""
    program = f"import sys, {module}; print(*sorted(sys.modules))"
    found = IMPURE & set(_run(["-c", program], b"", {}).decode().split())
    assert not found, f"importing {module} brings in {', '.join(sorted(found))}"


def _fold(
    projection: AnyProjection, history: Sequence[Recorded], *, at: int, dumps: dict[str, bytes] | None
) -> list[_Step]:
    """Fold what follows the first *at* events, onto the states in *dumps*; return each step, the start included."""
    folding = Fold([projection])
    if dumps is not None:
        states = {part.name: part.load(dumps[part.name]) for part in folding.projections}
        folding.resume(states, history[at - 1].position if at else 0, history[at - 1].leaf if at else b"")
    steps = [_Step(_dump(folding), {})]
    for recorded in history[at:]:
        below = folding.advance(recorded)
        changes: dict[str, Sequence[Any]] = {part.name: list(below.changes(part)) for part in folding.projections}
        steps.append(_Step(_dump(folding), changes))
    return steps


def _dump(folding: Fold) -> dict[str, bytes]:
    return {part.name: part.dump(folding.state(part)) for part in folding.projections}


def _written_changes(steps: Sequence[_Step]) -> list[str]:
    return [repr(step.changes) for step in steps]


def _compare(steps: Sequence[_Step], others: Sequence[_Step], what: str) -> None:
    for back, (step, other) in enumerate(zip(steps, others, strict=True)):
        for part, dump in step.dumps.items():
            assert dump == other.dumps[part], (
                f"{what} gave another state of {part}, {back} events on:\n{dump!r}\n{other.dumps[part]!r}"
            )
        if back:
            # The first step is the start, which changed nothing in a tail.
            assert step.changes == other.changes, f"{what} gave other changes, {back} events on"


def _find(name: str) -> AnyProjection:
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, Projection), f"{name} is no projection"
    return found  # pyright: ignore[reportUnknownVariableType]  -- what it folds is not known here


def _run(arguments: list[str], given: bytes, surroundings: dict[str, str]) -> bytes:
    ran = subprocess.run(
        [sys.executable, *arguments],
        input=given,
        env={**os.environ, **surroundings},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, f"another process failed:\n{ran.stderr.decode(errors='replace')}"
    return ran.stdout


def _main() -> None:
    """In a process of its own: fold what comes in, and write the states out."""
    history = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[Recorded])
    steps = _fold(_find(sys.argv[1]), history, at=0, dumps=None)
    sys.stdout.buffer.write(msgspec.msgpack.encode((steps[-1].dumps, _written_changes(steps))))


if __name__ == "__main__":
    _main()

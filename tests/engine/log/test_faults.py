"""System calls that fail, each of them in turn: nothing acknowledged is lost, nothing is doubled, no lie is told."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faulting import (
    EVERYTHING,
    FAIL,
    NAME,
    OPEN,
    READ,
    SHORT,
    SYNC,
    TRUNCATE,
    WRITE,
    Fault,
    Outcome,
    Victim,
    compiled,
    faults,
    folder_in_memory,
    victim,
)

from stationkeeper.engine.entry import leaf
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import signer_of
from stationkeeper.engine.log.sqlite import open_log

SORTS = {"write": WRITE, "sync": SYNC, "open": OPEN, "truncate": TRUNCATE, "read": READ}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("faulted_log.py"), library) as process:
        yield process


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("dying_log.py"), library) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def tried(process: Victim, folder: Path, history: str, fault: Fault) -> Outcome:
    """Play a history under a fault, judge what it left, and say on a failure what had happened."""
    folder.mkdir()
    outcome = process.play(history, folder, fault)
    try:
        judge(outcome, folder / "fleet.db")
    except AssertionError as error:
        error.add_note("\n".join(map(str, [fault, *outcome.said])))
        raise
    shutil.rmtree(folder)
    return outcome


def judge(outcome: Outcome, path: Path) -> None:
    """Compare the log that was left with what was said of it."""
    assert outcome.status == 0
    with closing(open_log(path)) as log:
        assert log.fetch("PRAGMA integrity_check", ()) == [("ok",)]
        events = list(log.read())
    stored = [[event.position, event.id] for event in events]
    ids = [event.id for event in events]
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert all(event.leaf == leaf(event) for event in events)
    assert len(set(ids)) == len(ids)
    for entries, positions in outcome.words("kept"):
        assert [[position, id] for id, position in zip(entries, positions, strict=True)] == [
            stored[position - 1] for position in positions
        ]
    assert not {id for id, _ in outcome.words("dropped")} & set(ids), "what was refused for sure is there"
    told: list[list[object]] = []
    for word, *rest in outcome.said:
        if word == "begun":
            assert told == stored[: len(told)]
            told = stored[: rest[0]]
        elif word == "told":
            told += rest[0]
    assert told == stored[: len(told)]
    if told and not outcome.words("stopped"):
        assert len(told) == len(stored)


@pytest.mark.parametrize("sort", SORTS)
def test_whichever_call_fails_what_was_acknowledged_is_there_and_was_told_once(
    process: Victim, folder: Path, sort: str
) -> None:
    calls = tried(process, folder / "count", "committing", Fault(SORTS[sort], first=0, times=-1)).seen
    outcomes = [
        tried(process, folder / str(n), "committing", fault) for n, fault in enumerate(faults(SORTS[sort], calls))
    ]

    assert calls >= 10
    assert all(writable for outcome in outcomes for _, writable in outcome.words("failures")), "it did not recover"
    said = [text for outcome in outcomes for _, text in outcome.words("refused")]
    said += [text for outcome in outcomes for word in ("dropped", "unknown") for _, text in outcome.words(word)]
    assert all("; " in text or ": " in text for text in said)
    if sort != "read":
        assert not any(outcome.words("stopped") for outcome in outcomes)
        assert {name for outcome in outcomes for name, _ in outcome.words("refused")} == {"LogUnavailable"}


def test_writes_that_fall_short_are_carried_on(process: Victim, folder: Path) -> None:
    calls = tried(process, folder / "count", "committing", Fault(WRITE, first=0, times=-1)).seen
    each = [Fault(WRITE, SHORT, first) for first in range(1, calls + 1)] if EVERYTHING else []
    for n, fault in enumerate([Fault(WRITE, SHORT, times=0), *each]):
        outcome = tried(process, folder / str(n), "committing", fault)
        assert outcome.words("failures") == [[0, True], [0, True]]


@pytest.mark.parametrize("sort", ["write", "sync", "open", "name"])
def test_whichever_call_fails_the_checkpoint_beside_a_log_is_whole(dying: Victim, folder: Path, sort: str) -> None:
    sorts = SORTS.get(sort, NAME)
    (folder / "count").mkdir()
    calls = dying.play("writing_checkpoints", folder / "count", Fault(sorts, first=0, times=-1)).seen
    assert calls >= 5
    short = [Fault(WRITE, SHORT, first) for first in range(1, calls + 1)] if sorts == WRITE else []
    for n, fault in enumerate([*faults(sorts, calls), *short]):
        path = folder / f"{n}" / "fleet.db"
        path.parent.mkdir()
        outcome = dying.play("writing_checkpoints", path.parent, fault)
        said = max((size for (size,) in outcome.words("size")), default=0)
        assert outcome.status == 0
        assert len(outcome.words("refused")) + len(outcome.words("size")) == 5
        assert fault.times != 1 or said >= 4, "it goes on when the fault is over"
        note = outside.read_note(path)
        assert note is not None or said == 0
        if note is not None:
            assert Checkpoint.parse(note).size >= said
            assert signer_of(note, outside.read_keys(path)) is not None


def test_a_reader_without_descriptors_does_not_take_the_writers_locks_with_it(process: Victim, folder: Path) -> None:
    """POSIX locks are the process's: whoever closes any descriptor of the file, drops them all."""
    calls = tried(process, folder / "count", "reading_beside", Fault(OPEN, first=0, times=-1)).words("calls")[0][0]
    for n in range(1, calls + 1):
        fault = Fault(OPEN, FAIL, n, 1, errno.EMFILE)
        tried(process, folder / str(n), "reading_beside", fault)

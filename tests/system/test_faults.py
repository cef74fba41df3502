"""The whole gateway while system calls fail beneath its log: nothing is lost, and no lie is told (truth 4).

The script beside this (`faulted_engine.py`) serves a few stations and a receiver under `faults.c`, is started again
where it stopped, and tells what could be seen of it. Here that is held against the log that was left.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faulting import (
    DIE,
    EVERYTHING,
    NAME,
    OPEN,
    SYNC,
    TRUNCATE,
    WRITE,
    Fault,
    Outcome,
    Victim,
    compiled,
    deaths,
    faults,
    folder_in_memory,
    victim,
)

from stationkeeper.engine.entry import Recorded, leaf
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections import presence

SORTS = {"write": WRITE, "sync": SYNC, "open": OPEN, "truncate": TRUNCATE, "name": NAME}
STEP = {WRITE: 1 if EVERYTHING else 11}
"""Of the writes only so many are tried here in CI: `tests/engine/log/test_faults.py` tries each beneath a log alone."""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    library = compiled("faults", tmp_path_factory.mktemp("faults"))
    with victim(Path(__file__).with_name("faulted_engine.py"), library) as process:
        yield process


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def count(process: Victim, folder: Path, history: str, sorts: int) -> int:
    (folder / "count").mkdir()
    return process.play(history, folder / "count", Fault(sorts, first=0, times=-1)).seen


@pytest.mark.parametrize("sort", SORTS)
def test_whichever_call_fails_nothing_is_lost_and_no_lie_is_told(process: Victim, folder: Path, sort: str) -> None:
    calls = count(process, folder, "once", SORTS[sort])
    assert calls >= 3
    unready = 0
    for n, fault in enumerate(faults(SORTS[sort], calls)):
        if fault.first % STEP.get(SORTS[sort], 1):
            continue
        (folder / f"{n}").mkdir()
        outcome = process.play("serving", folder / f"{n}", fault)
        try:
            assert outcome.status == 0
            judge(outcome, folder / f"{n}" / "fleet.db")
        except AssertionError as error:
            error.add_note("\n".join(map(str, [fault, *outcome.said])))
            raise
        unready += any(not writable for _, _, _, writable, _ in outcome.words("seen"))
        shutil.rmtree(folder / f"{n}")
    assert unready or sort not in ("write", "sync"), "no fault was ever met while it served"


def test_whichever_sync_or_name_is_the_last_the_next_start_goes_on(process: Victim, folder: Path) -> None:
    for died, log in deaths(process, folder, "once", ways=((SYNC | NAME, DIE),)):
        again = process.play("once_later", log.parent)
        try:
            assert again.status == 0
            assert not again.words("stopped")
            judge(Outcome(0, died.said + again.said), log)
        except AssertionError as error:
            error.add_note("\n".join(map(str, [log.parent.name, *died.said, "again", *again.said])))
            raise


def judge(outcome: Outcome, path: Path) -> None:
    """Hold what was seen of a gateway against the log that it left."""
    with closing(open_log(path)) as log:
        events = list(log.read())
    ids = [event.id for event in events]
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert all(event.leaf == leaf(event) for event in events)
    assert len(set(ids)) == len(ids)
    check_what_was_said(outcome, ids)
    check_flags(outcome, events)
    check_stories(events)


def check_what_was_said(outcome: Outcome, ids: list[str]) -> None:
    """Who was let in is in the log, nobody was welcome while it could not be written, and what waited was bounded."""
    for run in outcome.words("begun"):
        assert run[0] in ids
    for _, connection in outcome.words("let in"):
        assert f"{connection}:opened" in ids
    assert all(status == 503 for _, status in outcome.words("turned away"))
    failing = False
    for word, *rest in outcome.said:
        if word == "seen":
            _, _, ready, writable, welcome = rest
            assert writable or not (ready or welcome)
            failing = not writable
        elif word == "sent":
            # One that began before the failure may leave in the same moment.
            assert rest[1] or not failing, "a delivery began while the log could not be written"
    for queued, connections in outcome.words("queued"):
        assert queued <= 2 * connections + 4
    assert [ready for (ready,) in outcome.words("ready")][-1], "it did not recover"
    for held, flags in outcome.words("rest"):
        assert {station for station, online in flags.items() if online} == {name for name in held if held[name]}


def check_flags(outcome: Outcome, events: list[Recorded]) -> None:
    """Each flag that was shown is the one of the events committed by then."""
    fold = Fold([presence])
    shown: dict[int, dict[str, bool]] = {0: {}}
    for recorded in events:
        fold.advance(recorded)
        shown[recorded.position] = {name: known.online for name, known in fold.state(presence).items()}
    for position, flags, *_ in outcome.words("seen"):
        assert flags == shown[position]


def check_stories(events: list[Recorded]) -> None:
    """Each connection has one story, and whoever answered was not timed out."""
    stories: dict[str, list[str]] = defaultdict(list)
    whose: dict[str, tuple[str, str]] = {}
    lost: set[str] = set()
    for recorded in events:
        name, _, what = recorded.id.partition(":")
        if recorded.kind.startswith("connection."):
            stories[name].append(what)
            whose[name] = recorded.subject, recorded.run
        elif recorded.kind == "gateway.lost":
            lost.add(name)
    for name, story in stories.items():
        station, run = whose[name]
        whole = [["opened", "closed"], ["opened", "timed_out", "closed"]]
        assert story in whole or (run in lost and [*story, "closed"] in whole) or (run in lost and len(story) == 1)
        assert "timed_out" not in story or station == "silent", f"{station} answered in time"

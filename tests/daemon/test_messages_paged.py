"""Pages of any size, from memory, from the log, or across both: no message is missed, and none comes twice."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any

import pytest
import trio
from effort import examples
from histories import History
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import PATTERNS, legal_histories

from stationkeeper.daemon.api import replays
from stationkeeper.daemon.api.messages import Messages
from stationkeeper.daemon.api.replays import Replays
from stationkeeper.daemon.simulation.waiting import until
from stationkeeper.engine import open_engine
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import feed
from stationkeeper.projections.feed import TYPES, Cursor, Telling, asking_for
from stationkeeper.transports import MemoryStations

EVERYTHING = asking_for(TYPES)


class CountingLog(MemoryLog):
    """A log in memory that counts what is read of it."""

    read_of_it = 0
    cancelled_at: tuple[int, trio.CancelScope] | None = None
    """After so many, whoever reads is told that nobody waits any more."""

    def read(
        self,
        after: int = 0,
        *,
        until: int | None = None,
        subject: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> Iterator[Recorded]:
        for recorded in super().read(after, until=until, subject=subject, kinds=kinds):
            self.read_of_it += 1
            if self.cancelled_at is not None and self.read_of_it == self.cancelled_at[0]:
                trio.from_thread.run_sync(self.cancelled_at[1].cancel)
            yield recorded


def written(history: list[Recorded] | History) -> CountingLog:
    log = CountingLog()
    for recorded in history:
        log.append([recorded])
    return log


def told_by(log: MemoryLog) -> list[Telling]:
    folding = Fold([feed])
    return [telling for recorded in log.read() for telling in folding.advance(recorded).changes(feed)]


def flapping(flips: int) -> History:
    history = History()
    history.started()
    for number in range(1, flips // 2 + 1):
        history.opened("CP-1", f"r1-{number}")
        history.closed("CP-1", f"r1-{number}")
    return history


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory hold next to nothing."""
    monkeypatch.setattr(sys.modules["stationkeeper.projections.feed"], "KEPT", 3)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(
    history=legal_histories(25),
    kept=st.integers(0, 12),
    bounds=st.tuples(st.integers(2, 12), st.integers(5, 20)),
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2),
    steps=st.lists(st.integers(1, 5) | st.sampled_from(("flip", "stranger")), max_size=12),
)
def test_pages_are_one_fold_over_the_whole_log(
    history: list[Recorded],
    kept: int,
    bounds: tuple[int, int],
    patterns: list[str],
    steps: list[Any],
) -> None:
    log, asking = written(history), asking_for(TYPES, patterns)
    found: list[Telling] = []

    async def scenario() -> int:
        stations, going_on = MemoryStations(), iter(steps)
        async with open_engine(log, transports=[stations], projections=[feed], accept_clock=True, mute=True) as engine:
            messages, cursor = Messages(engine), Cursor(0)
            while (step := next(going_on, None)) or cursor < Cursor(engine.position):
                if step == "flip":
                    await (await stations.connect("CP-2")).close()
                elif step == "stranger":
                    await messages.read(EVERYTHING, Cursor(engine.position // 2, 1), 3)
                else:
                    before, limit = cursor, step or 7
                    some, cursor = await messages.read(asking, before, limit)
                    assert len(some) <= limit
                    assert before < cursor or cursor == Cursor(engine.position)
                    found.extend(some)
            return engine.position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["stationkeeper.projections.feed"], "KEPT", kept)
        patch.setattr(replays, "SLICE", bounds[0])
        patch.setattr(replays, "PAGE", bounds[1])
        end = trio.run(scenario)

    assert found == [one for one in told_by(log) if one.wanted_by(asking) and one.position <= end]


async def test_paging_through_a_long_history_reads_it_once(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        messages, cursor, pages, log.read_of_it = Messages(engine), Cursor(0), 0, 0
        while cursor < Cursor(engine.position):
            _, cursor = await messages.read(EVERYTHING, cursor, 10)
            pages += 1

    assert pages >= 40
    assert log.read_of_it <= 400 + 2 * pages


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
async def test_readers_who_meet_at_the_replays_tell_each_other_nothing_wrong(small: None, ahead: int) -> None:
    history = flapping(4)
    for number in range(7):
        history.opened(f"CP-{number}", f"r1-{number + 10}")
    history.lost()
    history.lapsed()
    history.started("r2", gateway="h")
    history.opened("CP-1", "r2-1")
    log = written(history)
    every = told_by(log)
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        kept, end = Replays(engine), len(history.events)
        for limit in (1, 2, 3, 5):
            cursor, found = Cursor(0), list[Telling]()
            while cursor < Cursor(end):
                # Somebody else is a little further, also within what the lapse tells of all of them.
                further = every[min(len(found) + ahead, len(every) - 1)].cursor
                await kept.read(EVERYTHING, further, end, 2)
                some, cursor = await kept.read(EVERYTHING, cursor, end, limit)
                found += some
            assert found == every


async def test_a_reader_goes_on_where_its_replay_stands_whatever_others_ask(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        kept = Replays(engine)
        await kept.read(EVERYTHING, Cursor(300), 401, 10)
        for begin in (10, 60, 110):
            await kept.read(EVERYTHING, Cursor(begin), 401, 10)
        log.read_of_it = 0
        await kept.read(EVERYTHING, Cursor(310), 401, 10)
        assert log.read_of_it <= 12
        # Backwards, so that none can be gone on with.
        for begin in range(200, 0, -10):
            await kept.read(EVERYTHING, Cursor(begin), 401, 1)
            assert kept.standing <= replays.STANDING


async def test_a_replay_that_nobody_goes_on_with_is_let_go(small: None) -> None:
    async with open_engine(written(flapping(40)), projections=[feed], accept_clock=True, mute=True) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replays, "PATIENCE", 0.01)
            kept = Replays(engine)
            await kept.read(EVERYTHING, Cursor(5), 41, 3)
            await kept.read(EVERYTHING, Cursor(8), 41, 3)
            assert kept.standing == 1
            await until(lambda: not kept.standing, within=30, what="it is let go")


async def test_who_gave_up_waiting_finds_the_work_done_when_it_asks_again(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replays, "SLICE", 100)
            kept = Replays(engine)
            with trio.CancelScope() as impatient:
                log.read_of_it, log.cancelled_at = 0, (150, impatient)
                await kept.read(EVERYTHING, Cursor(350), 401, 3)
            assert impatient.cancelled_caught
            assert log.read_of_it == 200
            found, _ = await kept.read(EVERYTHING, Cursor(350), 401, 3)

    assert [telling.position for telling in found] == [351, 352, 353]
    assert log.read_of_it <= 360


async def test_a_page_that_takes_too_long_is_gone_on_with_by_the_next_request(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replays, "SLICE", 100)
            patch.setattr(replays, "LONGEST", 0.0)
            messages = Messages(engine)
            tries: list[tuple[list[Telling], Cursor]] = [([], Cursor(350))]
            log.read_of_it = 0
            while tries[-1] == ([], Cursor(350)):
                tries.append(await messages.read(EVERYTHING, Cursor(350), 3))

    assert len(tries) == 5
    assert [telling.position for telling in tries[-1][0]] == [351, 352, 353]
    assert log.read_of_it == 353


async def test_a_filter_that_finds_nothing_looks_through_so_much_and_no_more(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replays, "SLICE", 10)
            patch.setattr(replays, "PAGE", 50)
            found, cursor = await Messages(engine).read(asking_for(TYPES, ["nobody"]), Cursor(20), 3)

    assert (found, cursor) == ([], Cursor(70))


async def test_a_snapshot_saves_the_way_from_the_begin(small: None) -> None:
    log = written(flapping(400))
    async with open_engine(log, projections=[feed], accept_clock=True, mute=True):
        pass
    assert log.snapshot("feed") is not None
    stations = MemoryStations()
    async with open_engine(log, transports=[stations], projections=[feed], mute=True) as engine:
        begin = engine.position
        for _ in range(4):
            await (await stations.connect("CP-2")).close()
        log.read_of_it = 0
        found, _ = await Replays(engine).read(EVERYTHING, Cursor(begin), engine.position, 3)

    assert len(found) == 3
    assert log.read_of_it < 20

"""The committer on a log that fails: nothing is lost, nothing is told twice, and nobody waits who need not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from committing import Told, faults, running
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine.entry import Entry
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.memory import Fault, MemoryLog
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry


@pytest.fixture
def told() -> Told:
    return Told()


async def test_a_failed_commit_is_appended_again(told: Told, autojump_clock: MockClock) -> None:
    log = MemoryLog(fault=faults("lost", "lost", None))
    async with running(log, told) as committer:
        ticket = committer.submit([some_entry("a")], required=True)

        assert await ticket.wait() == [1]
        assert trio.current_time() == pytest.approx(1 + 2)
        assert (told.ids, committer.writable, committer.failures) == (["a"], True, 2)


async def test_a_failed_commit_that_was_there_all_the_same_is_told_once(told: Told, autojump_clock: MockClock) -> None:
    async with running(MemoryLog(fault=faults(None, "written", "written")), told) as committer:
        await committer.append([some_entry("a")])
        tickets = [committer.submit([some_entry(id)], required=True) for id in ("b", "c")]

        assert [await ticket.wait() for ticket in tickets] == [[2], [3]]
        assert told.ids == ["a", "b", "c"]


async def test_while_it_fails_only_facts_of_connections_are_taken(told: Told, autojump_clock: MockClock) -> None:
    async with running(MemoryLog(fault=faults("lost")), told) as committer:
        flying = committer.submit([some_entry("flying")])
        await wait_all_tasks_blocked()
        assert not committer.writable
        with pytest.raises(LogUnavailable, match="not known yet"):
            await flying.wait()
        with pytest.raises(LogUnavailable, match="told to fail"):
            committer.submit([some_entry("asked for")])

        assert await committer.append([some_entry("fact")], required=True) == [2]
        assert told.ids == ["flying", "fact"]


async def test_what_had_not_been_tried_is_dropped_for_sure(told: Told) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail_slowly(_: Sequence[Entry]) -> Fault | None:
        first = not begun.is_set()
        begun.set()
        go_on.wait(10)
        return "lost" if first else None

    async with running(MemoryLog(fault=fail_slowly), told, inline=False) as committer:
        flying = committer.submit([some_entry("flying")], required=True)
        await trio.to_thread.run_sync(begun.wait)
        queued = committer.submit([some_entry("queued")])
        fact = committer.submit([some_entry("fact")], required=True)
        go_on.set()
        with pytest.raises(LogUnavailable):
            await queued.wait()

        assert (queued.dropped, flying.dropped) == (True, False)
        assert (await flying.wait(), await fact.wait()) == ([1], [2])


async def test_a_full_queue_refuses_what_is_not_required(told: Told) -> None:
    async with running(MemoryLog(), told, capacity=3) as committer:
        first = committer.submit([some_entry("a"), some_entry("b"), some_entry("c")])
        with pytest.raises(LogUnavailable, match="3 events wait"):
            committer.submit([some_entry("d")])
        fact = committer.submit([some_entry("e")], required=True)

        assert (await first.wait(), await fact.wait()) == ([1, 2, 3], [4])
        assert await committer.append([some_entry(str(n)) for n in range(9)]) == list(range(5, 14))


async def test_attempts_to_recover_grow_rarer(told: Told, autojump_clock: MockClock) -> None:
    seven: list[Fault | None] = ["lost"] * 7
    async with running(MemoryLog(fault=faults(*seven)), told) as committer:
        await committer.append([some_entry("a")], required=True)

    assert trio.current_time() == pytest.approx(1 + 2 + 3 + 4 + 5 + 5 + 5)


@given(
    script=st.lists(st.sampled_from([None, None, "lost", "written"]), max_size=30),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_whatever_fails_each_fact_is_told_once_and_in_order(
    script: list[Fault | None], sizes: list[int], pauses: list[bool]
) -> None:
    told = Told()
    log = MemoryLog(fault=faults(*script))

    async def main() -> None:
        async with running(log, told) as committer:
            for n, (size, pause) in enumerate(zip(sizes, pauses, strict=False)):
                batch = [some_entry(f"{n}-{k}") for k in range(size)]
                committer.submit(batch, required=True)
                committer.submit(batch[:1], required=True)
                if pause:
                    await trio.sleep(0.5)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert told.ids == [f"{n}-{k}" for n, size in enumerate(sizes) for k in range(size)]
    assert told.events == list(log.read())


async def test_a_file_that_is_locked_for_a_while_loses_nothing(
    tmp_path: Path, told: Told, autojump_clock: MockClock
) -> None:
    log = open_log(tmp_path / "fleet.db")
    log.fetch("PRAGMA busy_timeout = 1", ())
    tool = connect(tmp_path / "fleet.db", mode="rw")
    tool.execute("BEGIN IMMEDIATE")
    async with running(log, told) as committer:
        ticket = committer.submit([some_entry("a")], required=True)
        await trio.sleep(0.5)
        assert not committer.writable
        assert "another program holds a lock" in committer.reason
        tool.close()

        assert await ticket.wait() == [1]
    assert told.events == list(log.read())
    log.close()

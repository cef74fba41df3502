"""The committer: groups form, neighbours are spared, and a failing log loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from committing import Told, faults, running
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine.committer import GROUP, Committer
from stationkeeper.engine.entry import Beat, Entry, Recorded
from stationkeeper.engine.errors import Conflict, Fenced, LogDamaged, LogUnavailable
from stationkeeper.engine.events import GatewayStopped
from stationkeeper.engine.log import Snapshot
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_attempt, some_entry


@pytest.fixture
def told() -> Told:
    return Told()


# --- groups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [True, False])
async def test_an_append_returns_once_it_is_durable_and_told(tmp_path: Path, told: Told, inline: bool) -> None:
    log = open_log(tmp_path / "fleet.db")
    async with running(log, told, inline=inline) as committer:
        assert await committer.append([some_entry("a"), some_entry("b")]) == [1, 2]
        assert told.ids == ["a", "b"]
        assert await committer.append([some_entry("c")]) == [3]
    assert [event.id for event in log.read()] == told.ids == ["a", "b", "c"]
    assert told.events == list(log.read())
    log.close()


async def test_what_is_queued_together_is_committed_together(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        tickets = [committer.submit([some_entry(str(n))]) for n in range(50)]
        assert [await ticket.wait() for ticket in tickets] == [[n] for n in range(1, 51)]

        assert (committer.commits, committer.events, told.groups) == (1, 50, [50])


async def test_a_group_is_bounded_but_no_submission_is_split(told: Told) -> None:
    async with running(MemoryLog(), told, capacity=10 * GROUP) as committer:
        sizes = [GROUP - 1, 1, 1, 3 * GROUP, 1]
        for n, size in enumerate(sizes):
            committer.submit([some_entry(f"{n}-{k}") for k in range(size)])
        await committer.append([])

        assert told.groups == [GROUP, 1, 3 * GROUP, 1]


async def test_the_next_group_gathers_while_one_commits(told: Told) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Sequence[Entry]) -> None:
        begun.set()
        go_on.wait(10)

    async with running(MemoryLog(fault=slowly), told, inline=False) as committer:
        first = committer.submit([some_entry("first")])
        await trio.to_thread.run_sync(begun.wait)
        others = [committer.submit([some_entry(str(n))]) for n in range(20)]
        assert committer.queued == 21
        go_on.set()
        for ticket in (first, *others):
            await ticket.wait()

        assert told.groups == [1, 20]
        assert committer.queued == 0


async def test_events_are_told_before_anybody_wakes() -> None:
    order: list[str] = []
    async with running(MemoryLog(), lambda events: order.append(f"told {len(events)}")) as committer:
        await committer.append([some_entry("a")])
        order.append("woken")

    assert order == ["told 1", "woken"]


async def test_what_is_already_there_is_not_told_again(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        await committer.append([some_entry("a"), some_entry("b")])
        mixed = committer.submit([some_entry("c"), some_entry("a")])
        again = committer.submit([some_entry("c"), some_entry("b")])

        assert (await mixed.wait(), await again.wait()) == ([3, 1], [3, 2])
        assert told.ids == ["a", "b", "c"]


async def test_a_cancelled_waiter_takes_nothing_back(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        with trio.CancelScope() as scope:
            scope.cancel()
            await committer.append([some_entry("a"), some_entry("b")])
        await committer.append([some_entry("c")])

    assert told.ids == ["a", "b", "c"]


async def test_a_cancelled_run_ends_a_commit_first_and_wakes_everybody(told: Told) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Sequence[Entry]) -> None:
        begun.set()
        go_on.wait(10)

    committer = Committer(MemoryLog(fault=slowly), inline=False, committed=told)
    async with trio.open_nursery() as nursery:
        await nursery.start(committer.run)
        flying = committer.submit([some_entry("a")])
        await trio.to_thread.run_sync(begun.wait)
        waiting = committer.submit([some_entry("b")], required=True)
        nursery.cancel_scope.cancel()
        go_on.set()

    assert (await flying.wait(), told.ids) == ([1], ["a"])
    with pytest.raises(LogUnavailable):
        await waiting.wait()
    with pytest.raises(LogUnavailable):
        committer.submit([some_entry("c")], required=True)


async def test_a_queue_that_never_empties_shuts_nobody_out() -> None:
    groups = 0

    def submit_another(_: list[Recorded]) -> None:
        nonlocal groups
        groups += 1
        if groups == 10:
            scope.cancel()
        assert groups < 100
        committer.submit([some_entry(str(groups))])

    committer = Committer(MemoryLog(), inline=True, committed=submit_another)
    committer.submit([some_entry("0")])
    with trio.CancelScope() as scope:
        await committer.run()

    assert groups == 10


# --- who fails, and who does not -----------------------------------------------------------------------------------


async def test_a_conflict_fails_only_the_submission_that_met_it(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        await committer.append([some_entry("a")])
        before = committer.submit([some_entry("b")])
        clash = committer.submit([some_entry("c"), some_entry("a", subject="other")])
        after = committer.submit([some_entry("d")])

        assert (await before.wait(), await after.wait()) == ([2], [3])
        with pytest.raises(Conflict):
            await clash.wait()
        assert told.ids == ["a", "b", "d"]


async def test_a_fence_of_another_run_fails_only_its_submission(told: Told) -> None:
    async with running(MemoryLog(), told, beat=lambda: Beat("run-a", 1, 0.0)) as committer:
        await committer.append([some_entry("end", GatewayStopped(listened=0.0), run="run-b")])
        fenced = committer.submit([some_entry("b", run="run-b")])
        ours = committer.submit([some_entry("a", run="run-a")])

        assert await ours.wait() == [2]
        with pytest.raises(Fenced):
            await fenced.wait()


async def test_a_fence_of_our_own_run_ends_it_all(told: Told) -> None:
    log = MemoryLog()
    log.append([some_entry("end", GatewayStopped(listened=0.0), run="run-a")])
    committer = Committer(log, inline=True, committed=told, beat=lambda: Beat("run-a", 1, 0.0))
    ticket = committer.submit([some_entry("a", run="run-a")])
    later = committer.submit([some_entry("b", run="")])

    with pytest.raises(Fenced), trio.fail_after(60):
        await committer.run()
    with pytest.raises(Fenced):
        await ticket.wait()
    with pytest.raises(LogUnavailable):
        await later.wait()


async def test_a_damaged_log_ends_it_all(told: Told) -> None:
    def damaged(_: Sequence[Entry]) -> None:
        raise LogDamaged("the log is damaged")

    committer = Committer(MemoryLog(fault=damaged), inline=True, committed=told)
    ticket = committer.submit([some_entry("a")])

    with pytest.raises(LogDamaged), trio.fail_after(60):
        await committer.run()
    with pytest.raises(LogUnavailable):
        await ticket.wait()


# --- beside the events ---------------------------------------------------------------------------------------------


async def test_each_commit_carries_the_runs_last_word(told: Told) -> None:
    log = MemoryLog()
    beats = iter([Beat("run-a", 1, 1.0), Beat("run-a", 2, 2.0)])
    async with running(log, told, beat=lambda: next(beats, None)) as committer:
        await committer.append([some_entry("a")])
        assert log.beats() == {"run-a": Beat("run-a", 1, 1.0)}
        await committer.beat_alone()
        assert log.beats() == {"run-a": Beat("run-a", 2, 2.0)}


async def test_a_note_goes_with_the_next_commit(told: Told) -> None:
    log = MemoryLog()
    async with running(log, told) as committer:
        committer.note(some_attempt("m", number=1))
        committer.note(some_attempt("m", number=2))
        await committer.append([some_entry("a")])

        assert (log.attempts(), committer.commits) == ({"m": some_attempt("m", number=2)}, 1)


async def test_a_note_alone_is_kept_within_a_second(told: Told, autojump_clock: MockClock) -> None:
    log = MemoryLog()
    async with running(log, told) as committer:
        await wait_all_tasks_blocked()
        committer.note(some_attempt("m"))
        await trio.sleep(0.5)
        committer.note(some_attempt("n"))
        await trio.sleep(0.6)

        assert set(log.attempts()) == {"m", "n"}


async def test_notes_survive_a_failure_and_a_conflict(told: Told, autojump_clock: MockClock) -> None:
    log = MemoryLog(fault=faults(None, "lost"))
    async with running(log, told) as committer:
        await committer.append([some_entry("a")])
        committer.note(some_attempt("m"))
        with pytest.raises(LogUnavailable):
            await committer.append([some_entry("a", subject="other")])
    assert set(log.attempts()) == {"m"}


async def test_a_newer_note_is_not_lost_to_a_commit_that_carries_the_older_one(told: Told) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Sequence[Entry]) -> None:
        begun.set()
        go_on.wait(10)

    log = MemoryLog(fault=slowly)
    async with running(log, told, inline=False) as committer:
        committer.note(some_attempt("m", number=1))
        ticket = committer.submit([some_entry("a")])
        await trio.to_thread.run_sync(begun.wait)
        committer.note(some_attempt("m", number=2))
        go_on.set()
        await ticket.wait()

    assert log.attempts() == {"m": some_attempt("m", number=2)}


async def test_work_is_done_between_two_commits(told: Told) -> None:
    log = MemoryLog()
    snapshot = Snapshot("presence", 1, 1, b"leaf", b"state")
    async with running(log, told, inline=False) as committer:
        await committer.append([some_entry("a")])
        await committer.between(lambda log: log.keep_snapshots([snapshot]))

        assert await committer.between(lambda log: log.position) == 1
    assert log.snapshot("presence") == snapshot


async def test_what_work_between_commits_raises_touches_nobody_else(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        with pytest.raises(ZeroDivisionError):
            await committer.between(lambda _: 1 // 0)
        assert await committer.append([some_entry("a")]) == [1]


async def test_what_work_between_commits_appends_is_told(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        await committer.between(lambda log: log.append([some_entry("a"), some_entry("b")]))
        await committer.append([some_entry("c")])

    assert told.ids == ["a", "b", "c"]


# --- the end -------------------------------------------------------------------------------------------------------


async def test_closing_commits_what_is_queued(told: Told) -> None:
    log = MemoryLog()
    async with running(log, told) as committer:
        committer.submit([some_entry("a")])
        committer.note(some_attempt("m"))
    assert (told.ids, set(log.attempts())) == (["a"], {"m"})


async def test_a_closed_committer_takes_nothing(told: Told) -> None:
    async with running(MemoryLog(), told) as committer:
        pass
    with pytest.raises(LogUnavailable, match="closing"):
        committer.submit([some_entry("a")], required=True)
    with pytest.raises(LogUnavailable, match="closing"):
        await committer.between(lambda log: log.position)

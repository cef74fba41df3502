"""A log that cannot be written loses nothing and tells no lie (truth 4), whichever append fails and however."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import StationRegistered
from stationkeeper.engine.log.memory import Fault, MemoryLog
from stationkeeper.engine.loops import keep_checkpoint
from stationkeeper.engine.stations import Arrival, Ending
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import presence, registry


class Outage:
    """A disk that is full from some append on, until it is not."""

    def __init__(self, kind: Fault = "lost") -> None:
        self.kind = kind
        self.on = False

    def __call__(self, entries: Sequence[Entry]) -> Fault | None:
        return self.kind if self.on else None


class Silent:
    """A link to a station that answers nothing and is told what it is told."""

    def __init__(self) -> None:
        self.dropped: list[int] = []

    def ping(self) -> None: ...

    def look(self) -> bool:
        return False

    def path(self, waited: float) -> None:
        return None

    def rtt(self) -> None:
        return None

    def drop(self, code: int, reason: str, *, abort: bool) -> None:
        self.dropped.append(code)

    async def send(self, text: str) -> None: ...


def arrival(station: str) -> Arrival:
    return Arrival(station=station, subprotocol="ocpp1.6")


@pytest.mark.parametrize("kind", ["lost", "written"])
async def test_nobody_is_let_in_and_no_flag_moves_while_the_log_cannot_be_written(
    kind: Fault, autojump_clock: MockClock
) -> None:
    outage = Outage(kind)
    log = MemoryLog(fault=outage)
    async with open_engine(log, projections=[presence], clock=VirtualClock(), inline=True) as engine:
        connection = await engine.doorway.admit(arrival("CP-1"), Silent())
        outage.on = True
        connection.ended(Ending(side="network", cause="network_lost"))
        await trio.sleep(100)

        assert engine.state(presence)["CP-1"].online
        ready_without_log = engine.ready
        assert (busy := engine.busy("CP-2")) is not None
        assert busy.reason == "log_unavailable"
        with pytest.raises(LogUnavailable):
            await engine.doorway.admit(arrival("CP-2"), Silent())
        with pytest.raises(LogUnavailable):
            await engine.record(StationRegistered(), subject="CP-2")

        lost_at = engine.now()
        outage.on = False
        await trio.sleep(10)
        station = engine.state(presence)["CP-1"]
        assert (ready_without_log, engine.ready) == (False, True)
        assert not station.online
        assert station.disconnect is not None
        assert station.disconnect.detected_at < lost_at, "the fact bears the time at which it became one"


async def test_an_admission_that_the_outage_catches_ends_as_one_story(autojump_clock: MockClock) -> None:
    outage = Outage("written")
    log = MemoryLog(fault=outage)
    async with open_engine(log, projections=[presence], clock=VirtualClock(), inline=True) as engine:
        outage.on = True
        with pytest.raises(LogUnavailable):
            await engine.doorway.admit(arrival("CP-1"), Silent())
        outage.on = False
        await trio.sleep(10)

        assert engine.doorway.all_closed
        assert not engine.state(presence)["CP-1"].online
    kinds = [recorded.kind for recorded in log.read() if recorded.subject == "CP-1"]
    assert kinds == ["connection.opened", "connection.closed"]


async def test_a_handshake_given_up_behind_a_failing_commit_leaves_no_close_without_an_open() -> None:
    """Its `opened` waits behind a commit that hangs and then fails; the handshake's deadline comes first."""
    stalled, go_on = threading.Event(), threading.Event()

    def stall_once(entries: Sequence[Entry]) -> Fault | None:
        if not entries or entries[0].subject != "first" or stalled.is_set():
            return None
        stalled.set()
        go_on.wait(10)
        return "lost"

    log = MemoryLog(fault=stall_once)
    async with open_engine(log, projections=[presence]) as engine, trio.open_nursery() as nursery:

        async def first() -> None:
            with suppress(LogUnavailable):
                await engine.doorway.admit(arrival("first"), Silent())

        nursery.start_soon(first)
        assert await trio.to_thread.run_sync(stalled.wait, 10)
        with trio.move_on_after(0) as handshake:
            await engine.doorway.admit(arrival("second"), Silent())
        assert handshake.cancelled_caught
        go_on.set()
    for station in ("first", "second"):
        kinds = [recorded.kind for recorded in log.read(subject=station)]
        assert kinds in ([], ["connection.opened", "connection.closed"]), (station, kinds)


async def test_commits_go_on_while_all_threads_of_the_pool_are_at_other_work(tmp_path: Path) -> None:
    """Others may fill trio's pool of threads; the committer and the checkpoints beside the log have their own."""
    go_on = threading.Event()
    pool = trio.to_thread.current_default_thread_limiter()

    async def work_at_something() -> None:
        await trio.to_thread.run_sync(go_on.wait, 60)  # an end, too, should the test fail in between

    async with trio.open_nursery() as nursery, open_engine(tmp_path / "fleet.db", projections=[presence]) as engine:
        for _ in range(int(pool.total_tokens)):
            nursery.start_soon(work_at_something)
        await wait_all_tasks_blocked()
        full = pool.available_tokens == 0
        with trio.move_on_after(10) as patience:
            connection = await engine.doorway.admit(arrival("CP-1"), Silent())
            connection.ended(Ending(side="network", cause="network_lost"))
            await engine.beyond(engine.position)
            await keep_checkpoint(engine)
        protected = engine.ledger is not None and engine.ledger.protected == engine.position
        go_on.set()

    assert full
    assert not patience.cancelled_caught
    assert protected


@settings(max_examples=examples(60), deadline=None)
@given(
    plan=st.lists(st.tuples(st.sampled_from(["lost", "written", None]), st.integers(0, 8)), max_size=12),
    writes=st.integers(1, 30),
)
def test_whatever_fails_each_acknowledged_event_is_there_once_and_folded_once(
    plan: list[tuple[Fault | None, int]], writes: int
) -> None:
    """*plan*: how the log behaves, and for how many appends."""
    behaviour = iter([kind for kind, times in plan for _ in range(times)])
    log = MemoryLog(fault=lambda entries: next(behaviour, None) if log.position else None)
    acknowledged: list[str] = []

    async def write(engine: Engine, name: str) -> None:
        entry = engine.seal(StationRegistered(name=name), id=f"{name}:registered", subject=name)
        while True:
            try:
                await engine.committer.append([entry])
                acknowledged.append(name)
                return
            except LogUnavailable:
                await trio.sleep(1)

    async def main() -> None:
        async with (
            open_engine(log, projections=[registry], clock=VirtualClock(), inline=True) as engine,
            trio.open_nursery() as nursery,
        ):
            for n in range(writes):
                nursery.start_soon(write, engine, f"CP-{n}")

    trio.run(main, clock=MockClock(autojump_threshold=0))

    stored = [recorded.subject for recorded in log.read(kinds={"station.registered"})]
    assert sorted(stored) == sorted(acknowledged)
    assert len(set(stored)) == writes
    assert [recorded.position for recorded in log.read()] == list(range(1, log.position + 1))

"""The committer: many writers, one commit.

One task takes what is queued, commits it once in a worker thread, then wakes every waiter; while one batch commits
the next gathers, so nobody waits by a clock. Under virtual time the same task calls the log directly, because
autojump clocks and worker threads do not mix.

1. What was submitted together is committed together, in the order of submission, whatever becomes of its waiter.
2. A conflict or a fence fails only the submission that met it.
3. Newly written events are told to `committed`, each once, in position order, before any waiter wakes.
4. While the log is unavailable nothing is lost: the batch whose outcome is unknown is kept and appended again after
   `recover`. Facts of connections (`required`) go on queueing; all else fails at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

import trio

from .entry import Beat, Entry, Recorded, recorded
from .errors import Conflict, Fenced, LogError, LogUnavailable
from .log import Attempted, Log

T = TypeVar("T")

GROUP: Final = 1_000
"""Events in one commit, unless one submission has more: some milliseconds of work while the next gathers."""
CAPACITY: Final = 20_000
"""Events that may be queued before submissions that are not required are refused: about a second's work."""
NOTE_DELAY: Final = 1.0
"""Seconds that a note of an attempt may wait for a commit to go along with."""
RETRY_FIRST: Final = 1.0
RETRY_LAST: Final = 5.0
"""Seconds between attempts to recover a log; they grow from the first to the last."""

_TOO_LATE: Final = "the log is closing; nothing more is written"


class Ticket:
    """A submission's place in the queue."""

    __slots__ = ("_done", "_error", "_event", "_positions", "_then", "dropped", "entries", "required")

    def __init__(self, entries: Sequence[Entry], *, required: bool) -> None:
        self.entries = entries
        self.required = required
        self.dropped = False
        """Whether it was taken from the queue before any attempt: what it holds is not in the log for sure."""
        self._done = False
        self._positions: list[int] = []
        self._error: LogError | None = None
        self._event: trio.Event | None = None
        self._then: Callable[[LogError | None], None] | None = None

    @property
    def done(self) -> bool:
        """Whether `wait` returns, or raises, at once."""
        return self._done

    async def wait(self) -> list[int]:
        """Wait until the submission is durable and folded, and return its positions.

        Cancelling this takes nothing back.

        Raises:
            Conflict: the log holds one of its ids with other bytes; nothing of it was written.
            Fenced: one of its entries belongs to a run that has ended; nothing of it was written.
            LogUnavailable: whether it is, or will yet be, written is unknown, unless it was `dropped`.
        """
        if not self._done:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        else:
            await trio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error
        return self._positions

    def then(self, callback: Callable[[LogError | None], None]) -> None:
        """Have *callback* called once `wait` would return (None), or with what it would raise; for whoever has no task
        to wait in. It must not raise, and there is one at most."""
        if self._done:
            callback(self._error)
        else:
            self._then = callback

    def resolve(self, positions: list[int]) -> None:
        """Wake the waiter with the positions; for the committer."""
        if not self._done:
            self._positions = positions
            self._wake()

    def fail(self, error: LogError) -> None:
        """Wake the waiter with an error; for the committer."""
        if not self._done:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        self._done = True
        if self._event is not None:
            self._event.set()
        if self._then is not None:
            self._then(self._error)
            self._then = None


class Committer:
    """Group commit to one log. `submit` and `note` never block; `run` does the work."""

    def __init__(
        self,
        log: Log,
        *,
        inline: bool,
        committed: Callable[[list[Recorded]], None],
        beat: Callable[[], Beat | None] = lambda: None,
        capacity: int = CAPACITY,
    ) -> None:
        """Prepare to commit; `run` begins.

        *committed* is told what was newly written, on the loop's thread. *beat* is asked at each commit for the run's
        last word; its run is our own, whose fence ends `run`: somebody has declared us dead. *inline* calls the log on
        the loop's thread, as virtual time needs it.
        """
        self.position = log.position
        """Up to which events were told to `committed`."""
        self.writable = True
        """False from a failed commit until one succeeds again."""
        self.reason = ""
        """Why it is not writable, in words."""
        self.queued = 0
        """Events queued or being committed."""
        self.commits = 0
        self.events = 0
        """Newly written ones."""
        self.failures = 0
        """Commits and recoveries that found the log unavailable."""
        self.last_seconds = 0.0
        """How long the last commit took."""
        self.total_seconds = 0.0
        self._log = log
        self._inline = inline
        self._committed = committed
        self._beat = beat
        self._capacity = capacity
        self._queue: deque[Ticket] = deque()
        self._flying: list[Ticket] = []
        self._jobs: deque[_Job[Any]] = deque()
        self._notes: dict[str, Attempted] = {}
        self._bell = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self._closing = False
        self._ended = trio.Event()

    @property
    def mean_seconds(self) -> float:
        """How long a commit took on average."""
        return self.total_seconds / self.commits if self.commits else 0.0

    # --- what others call ----------------------------------------------------------------------------------------

    def submit(self, entries: Sequence[Entry], *, required: bool = False) -> Ticket:
        """Queue entries as one atomic batch and return the ticket to wait with.

        *required* ones, the facts of connections, are always taken; whoever submits them bounds their number.

        Raises:
            LogUnavailable: the log is not writable, or too much is queued; nothing was taken.
        """
        if self._ended.is_set() or (self._closing and not required):
            raise LogUnavailable(_TOO_LATE)
        if not required:
            if not self.writable:
                raise LogUnavailable(self.reason)
            if self.queued + len(entries) > self._capacity and self.queued:
                raise LogUnavailable(f"{self.queued} events wait to be written, which is as many as may; try again")
        ticket = Ticket(entries, required=required)
        self._queue.append(ticket)
        self.queued += len(entries)
        self._bell.set()
        return ticket

    async def append(self, entries: Sequence[Entry], *, required: bool = False) -> list[int]:
        """Submit entries and wait until they are durable and folded; see `submit` and `Ticket.wait`."""
        return await self.submit(entries, required=required).wait()

    def note(self, attempted: Attempted) -> None:
        """Keep a word about a failed attempt, with the next commit or within a second."""
        self._notes[attempted.message] = attempted
        if len(self._notes) == 1:
            self._bell.set()

    async def beat_alone(self) -> None:
        """Write the run's last word, though there is no event to go with it."""
        await self.append(())

    async def between(self, work: Callable[[Log], T]) -> T:
        """Do some work on the log between two commits, and return its result or raise its error.

        What *work* raises touches nobody else. Cancelling this does not stop work that has begun.

        Raises:
            LogUnavailable: the log was closed before the work could begin.
        """
        if self._ended.is_set():
            raise LogUnavailable(_TOO_LATE)
        job = _Job(work)
        self._jobs.append(job)
        self._bell.set()
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.results[0]

    async def close(self) -> None:
        """Commit what is queued, take no more, and return when `run` has returned."""
        self._closing = True
        self._bell.set()
        await self._ended.wait()

    # --- the task ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit what is submitted until `close`.

        Raises:
            Fenced: somebody has declared our own run dead.
            LogDamaged: what was acknowledged is gone, or the log contradicts itself.
        """
        task_status.started()
        try:
            while await self._await_work():
                if self._inline:
                    # Without a thread to wait for: a queue that never empties must not shut the others out.
                    await trio.lowlevel.checkpoint()
                while self._jobs:
                    job = self._jobs.popleft()
                    await self._call(job.attempt, self._log)
                    job.done.set()
                self._take()
                if self._flying or self._notes:
                    await self._commit_group()
        finally:
            self._end()

    async def _await_work(self) -> bool:
        while not (self._queue or self._jobs):
            if self._closing:
                return bool(self._notes)
            self._bell = trio.Event()
            with trio.move_on_after(NOTE_DELAY if self._notes else math.inf) as patience:
                await self._bell.wait()
            if patience.cancelled_caught:
                return True
        return True

    def _take(self) -> None:
        size = 0
        while self._queue and (not self._flying or size + len(self._queue[0].entries) <= GROUP):
            ticket = self._queue.popleft()
            self._flying.append(ticket)
            size += len(ticket.entries)

    async def _commit_group(self) -> None:
        try:
            await self._commit(self._flying)
        except (Conflict, Fenced):
            # Nothing was written. One by one, only the submission that met it fails.
            for ticket in tuple(self._flying):
                await self._commit_one(ticket)
        for ticket in self._flying:
            self.queued -= len(ticket.entries)
        self._flying.clear()

    async def _commit_one(self, ticket: Ticket) -> None:
        try:
            await self._commit([ticket])
        except Conflict as error:
            ticket.fail(error)
        except Fenced as error:
            ticket.fail(error)
            beat = self._beat()
            if beat is not None and beat.run == error.run:
                raise

    async def _commit(self, group: Sequence[Ticket]) -> None:
        """Commit a group, however long the log is unavailable, then tell of it and wake its waiters."""
        entries = [entry for ticket in group for entry in ticket.entries]
        pause = RETRY_FIRST
        while True:
            try:
                positions = await self._append(entries)
                break
            except LogUnavailable as error:
                self._became_unavailable(error)
            pause = await self._recover(pause)
        self.writable = True
        self.reason = ""
        start = 0
        for ticket in group:
            end = start + len(ticket.entries)
            ticket.resolve(positions[start:end])
            start = end

    async def _append(self, entries: Sequence[Entry]) -> list[int]:
        notes = tuple(self._notes.values())
        started = trio.current_time()
        positions = await self._call(partial(self._log.append, entries, beat=self._beat(), attempts=notes))
        self.last_seconds = trio.current_time() - started
        self.total_seconds += self.last_seconds
        self.commits += 1
        self._forget_notes(notes)
        self._tell(entries, positions)
        return positions

    def _tell(self, entries: Sequence[Entry], positions: Sequence[int]) -> None:
        fresh: list[Recorded] = []
        newest = self.position
        for entry, position in zip(entries, positions, strict=True):
            if position == newest + 1:
                fresh.append(recorded(entry, position))
                newest = position
        if newest != self._log.position:
            # More is in the log than this batch: a commit of unknown outcome had succeeded, or another wrote it.
            fresh = list(self._log.read(self.position))
        if fresh:
            self.position = fresh[-1].position
            self.events += len(fresh)
            self._committed(fresh)

    def _forget_notes(self, written: Sequence[Attempted]) -> None:
        for note in written:
            # A newer word about the same message may have come meanwhile.
            if self._notes.get(note.message) is note:
                del self._notes[note.message]

    async def _recover(self, pause: float) -> float:
        """Wait until the log could be opened anew; return how long to wait the next time."""
        while True:
            await trio.sleep(pause)
            pause = min(pause + RETRY_FIRST, RETRY_LAST)
            try:
                await self._call(self._log.recover)
            except LogUnavailable as error:
                self._became_unavailable(error)
            else:
                return pause

    def _became_unavailable(self, error: LogUnavailable) -> None:
        self.writable = False
        self.reason = str(error)
        self.failures += 1
        for ticket in self._flying:
            if not ticket.required:
                ticket.fail(LogUnavailable(f"{error} (whether this was written is not known yet)"))
        kept: deque[Ticket] = deque()
        for ticket in self._queue:
            if ticket.required:
                kept.append(ticket)
            else:
                self._drop(ticket, error)
        self._queue = kept

    def _drop(self, ticket: Ticket, error: LogError) -> None:
        ticket.dropped = True
        self.queued -= len(ticket.entries)
        ticket.fail(error)

    def _end(self) -> None:
        self._ended.set()
        for ticket in self._flying:
            ticket.fail(LogUnavailable("the log was closed; whether this was written is not known"))
        while self._queue:
            self._drop(self._queue.popleft(), LogUnavailable(_TOO_LATE))
        while self._jobs:
            job = self._jobs.popleft()
            job.error = LogUnavailable(_TOO_LATE)
            job.done.set()

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        if self._inline:
            return function(*arguments)
        # It cannot be abandoned: a commit is never split, and nobody else may use the log meanwhile.
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


class _Job(Generic[T]):
    """Work on the log between two commits."""

    def __init__(self, work: Callable[[Log], T]) -> None:
        self._work = work
        self.results: list[T] = []
        self.error: Exception | None = None
        self.done = trio.Event()

    def attempt(self, log: Log) -> None:
        try:
            self.results.append(self._work(log))
        except Exception as error:
            self.error = error

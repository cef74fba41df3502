"""The engine: what a running gateway knows, and what can be asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .changes import Changes, Publisher
from .clock import Clock, EventClock
from .codec import seal
from .committer import Committer, Ticket
from .delivery.loop import Deliveries
from .entry import Beat, Entry, Recorded
from .errors import LogUnavailable
from .events import Cause, Event, Micros
from .fold import Fold, Projection
from .ledger.keeper import Ledger
from .log import Log
from .log.reading import open_reader
from .log.secrets import MemorySecrets, Secrets
from .names import Entropy, new_id
from .recalling import Recalling
from .sending import Owing
from .settings import EngineSettings
from .stations import Busy
from .watch.doorway import Doorway, LiveConnection
from .watch.grace import Grace

S = TypeVar("S")
C = TypeVar("C")


class Engine:
    """A running gateway: what it knows, and what can be asked of it. `open_engine` makes one."""

    def __init__(
        self,
        log: Log,
        fold: Fold,
        *,
        gateway: str,
        settings: EngineSettings,
        clock: Clock,
        secrets: Secrets,
        mute: bool,
        inline: bool,
        log_path: Path | None,
        ledger: Ledger | None,
        entropy: Entropy,
    ) -> None:
        self.gateway = gateway
        self.settings = settings
        self.clock = clock
        self.entropy = entropy
        """Where what is random in ids comes from."""
        self.secrets = secrets
        """Signing secrets and credentials by id; never in the log."""
        self.log_path = log_path
        """Where the log's file is; none for a log in memory."""
        self.ledger = ledger
        """The tree of the log and its checkpoints; none for a log in memory."""
        self.mute = mute or self.unadopted
        """Whether webhooks are held back: asked for, or the log is a copy that nobody adopted."""
        self.run = ""
        """The id of this run's `gateway.started`; empty until that is durable, and nobody is admitted before."""
        self.urls: tuple[str, ...] = ()
        """Where stations dial in."""
        self.tally: Counter[str] = Counter()
        """Plain numbers, for metrics."""
        self.lag = 0.0
        """Seconds by which our loop was late at worst, of late."""
        self.deliveries: Deliveries | None = None
        """What is being sent; none without a sender or a projection that owes messages."""
        self.recalling: Recalling | None = None
        """What recalls the bodies that the outbox has no room for; none where nothing is sent."""
        self.over = False
        """Whether the run has had its last word: nothing is recorded any more."""
        self.hurried = False
        """Whether the shutdown is to be cut short."""
        self.cut_short: Callable[[], None] = lambda: None
        """How that is done; the run loop puts it here."""
        self.log = log
        """The log that this gateway writes: the committer's alone while it runs."""
        self.fold = fold
        self.times = EventClock(clock)
        self.inline = inline
        """Whether the disk is used in the loop's own thread, as virtual time needs it."""
        self.publisher = Publisher()
        self.committer = Committer(log, inline=inline, committed=self._committed, beat=self._beat)
        self.doorway = Doorway(self, settings, clock, self.times, self.tally)
        self.grace = Grace(settings.reconnect_grace, self.doorway.handshakes)

    # --- for everybody -----------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The position of the newest event that is folded, and so visible."""
        return self.fold.position

    @property
    def copied(self) -> bool:
        """Whether the log came without its secrets file, and nobody adopted it: no secret can be kept or looked up."""
        return self.log_path is not None and isinstance(self.secrets, MemorySecrets)

    @property
    def unadopted(self) -> bool:
        """Whether the log is a copy, or was restored from one, and nobody adopted it: nothing is sent in its name."""
        return self.copied or self.secrets.held

    @property
    def ready(self) -> bool:
        """Whether stations are let in: started, the log can be written, not stopping."""
        return not self.doorway.draining and self.unavailable() is None

    @property
    def connections(self) -> Mapping[str, LiveConnection]:
        """By station: the connections that this gateway holds."""
        return self.doorway.connections

    def now(self) -> Micros:
        """Return the time that an event of this moment bears."""
        return self.times.now()

    def state(self, projection: Projection[S, Any]) -> S:
        """Return a projection's state as of `position`. It moves on with each commit; it is for reading alone."""
        return self.fold.state(projection)

    def connection(self, station: str) -> LiveConnection | None:
        """Return the connection of a station that this gateway holds."""
        return self.doorway.connections.get(station)

    def drop(self, station: str, cause: Cause = "kicked") -> None:
        """Drop a station's connection, if it has one. It may come back."""
        connection = self.connection(station)
        if connection is not None:
            self.doorway.drop(connection, cause)

    def busy(self, station: str = "") -> Busy | None:
        """Return why a station could not be let in now; none if it could."""
        return self.doorway.why_busy(station)

    async def record(
        self, event: Event, *, subject: str = "", actor: str = "", id: str | None = None, private: bytes = b""
    ) -> int:
        """Append an event and return its position, once it is durable and every projection has folded it.

        Raises:
            LogUnavailable: the log cannot be written now. Whether the event was recorded is unknown: record it again
                under the same *id*, or look.
            Conflict: *id* is taken by another event.
        """
        entry = self.seal(event, id=id or "", subject=subject, private=private, actor=actor)
        return (await self.submit([entry]).wait())[0]

    @asynccontextmanager
    async def changes(self, projection: Projection[Any, C], *, capacity: int = 1024) -> AsyncGenerator[Changes[C]]:
        """Subscribe to a projection's changes from now on (see `Changes`).

        Raises:
            FellBehind: from the iteration, if the subscriber was too slow.
        """
        changes: Changes[C] = Changes(capacity)
        self.publisher.subscribe(projection, changes)
        try:
            yield changes
        finally:
            self.publisher.unsubscribe(projection, changes)

    async def beyond(self, position: int) -> None:
        """Return as soon as something after *position* is folded."""
        while self.position <= position:
            await self.publisher.news()

    @contextmanager
    def reader(self) -> Generator[Log]:
        """Open the log for reading alone, to be used in a worker thread; it sees everything that is durable."""
        if self.log_path is None:
            yield self.log
            return
        reader = open_reader(self.log_path)
        try:
            yield reader
        finally:
            reader.close()

    def hurry(self) -> None:
        """Cut the shutdown short: nothing acknowledged is lost, and the next start finds the run lost."""
        self.hurried = True
        self.cut_short()

    # --- for the doorway (watch.desk.Desk) ----------------------------------------------------------------------------

    def seal(
        self,
        event: Event,
        *,
        id: str,
        subject: str = "",
        private: bytes = b"",
        actor: str = "",
        at: Micros | None = None,
    ) -> Entry:
        """Put an event into the envelope of this run; an empty *id* is drawn."""
        at = self.times.now() if at is None else at
        return seal(
            event,
            id=id or new_id(at, self.entropy),
            at=at,
            subject=subject,
            gateway=self.gateway,
            run=self.run,
            actor=actor,
            private=private,
            entropy=self.entropy,
        )

    def submit(self, entries: Sequence[Entry], *, required: bool = False) -> Ticket:
        """Queue a batch for the next commit. What is *required*, the facts of connections, is taken in any case.

        Raises:
            LogUnavailable: the log cannot be written, too much is queued, or the run has had its last word.
        """
        if self.over:
            raise LogUnavailable("this gateway has stopped")
        return self.committer.submit(entries, required=required)

    def unavailable(self) -> Busy | None:
        """Return why nobody can be admitted now, as far as it is not the doorway's affair."""
        if not self.run:
            return Busy(reason="starting", retry_after=5)
        if not self.committer.writable:
            return Busy(reason="log_unavailable", retry_after=10)
        return None

    # --- commit -> fold -> publish -> wake ---------------------------------------------------------------------------

    def _committed(self, events: Sequence[Recorded]) -> None:
        outbox = self.outbox
        if self.ledger is not None:
            self.ledger.extend(events)
        for recorded in events:
            below = self.fold.advance(recorded)
            self.doorway.committed(recorded)
            if self.deliveries is not None and outbox is not None:
                self.deliveries.committed(recorded, below.changes(outbox))
            self.publisher.publish(recorded.position, below)
        if self.recalling is not None:
            self.recalling.put_by()
        self.tally["events"] += len(events)
        self.publisher.moved()

    @cached_property
    def outbox(self) -> Projection[Any, Any] | None:
        """The projection that says what webhooks are owed, if there is one."""
        return next((projection for projection in self.fold.projections if projection.owing), None)

    def owing(self) -> Owing:
        """Return what webhooks are owed, as of `position`. Only for an engine that has an `outbox`."""
        assert self.outbox is not None
        assert self.outbox.owing is not None
        return self.outbox.owing(self.state(self.outbox))

    def holding(self) -> Mapping[str, float]:
        """Return the ended runs that still hold stations -> seconds that other ended runs listened since their end."""
        for projection in self.fold.projections:
            if projection.holding is not None:
                return projection.holding(self.fold.state(projection))
        return {}

    def _beat(self) -> Beat | None:
        return Beat(run=self.run, at=self.now(), listened=self.grace.listened) if self.run else None

"""A log that no daemon serves, opened to change stations and webhooks: no run, no gateway, nobody watching.

It holds the writer's lock while it is open, so a running daemon refuses it, and it refuses a second daemon.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from ...engine.clock import rfc3339
from ...engine.codec import seal
from ...engine.errors import ClockBehind, LogMissing
from ...engine.events import Event, Micros
from ...engine.fold import Fold, Projection
from ...engine.ledger.keeper import Ledger, open_ledger
from ...engine.log import Log
from ...engine.log.driver import log_path
from ...engine.log.reading import open_reader
from ...engine.log.secrets import MemorySecrets, Secrets
from ...engine.log.secrets_key import KeySource
from ...engine.log.sqlite import SqliteLog
from ...engine.names import new_id
from ...engine.settings import EngineSettings
from ...engine.snapshots import fold_of
from ...engine.with_secrets import open_with_secrets
from ...projections import conflicts, deliveries, outbox, presence, refusals, registry, webhooks
from .errors import Refused

S = TypeVar("S")

_CLOCK_TOLERANCE: Final = 60 * 1_000_000
"""Microseconds; as at the start of a run (semantics 1)."""


class OfflineBook:
    """A log with its states, and nothing that runs. It answers what `Engine` does, as far as that makes sense."""

    run: Final = ""
    urls: Final[tuple[str, ...]] = ()
    mute: Final = True
    ready: Final = False
    deliveries: Final = None
    lag: Final = 0.0

    def __init__(self, log: SqliteLog, fold: Fold, secrets: Secrets, ledger: Ledger) -> None:
        """Made by `open_book`."""
        self._log = log
        self._ledger = ledger
        self._fold = fold
        self.secrets = secrets
        self.log_path = log.path
        self.settings = EngineSettings()
        self.tally: Counter[str] = Counter()
        self.connections: Mapping[str, Any] = {}

    @property
    def copied(self) -> bool:
        """Never: a copy without its secrets is refused when it is opened."""
        return False

    @property
    def position(self) -> int:
        return self._fold.position

    def now(self) -> Micros:
        return max(time.time_ns() // 1000, self._log.latest_at)

    def state(self, projection: Projection[S, Any]) -> S:
        return self._fold.state(projection)

    def connection(self, station: str) -> None:
        """Return nothing: nobody is connected to a log that nobody serves."""

    async def record(
        self, event: Event, *, subject: str = "", actor: str = "", id: str | None = None, private: bytes = b""
    ) -> int:
        """Append an event, and fold it.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        at = self.now()
        entry = seal(event, id=id or new_id(at), at=at, subject=subject, actor=actor, private=private)
        (position,) = self._log.append([entry])
        if fresh := list(self._log.read(self._ledger.size)):
            self._ledger.extend(fresh)
        self.catch_up()
        return position

    @contextmanager
    def reader(self) -> Generator[Log]:
        """Open the log for reading alone, to be used in a worker thread."""
        reader = open_reader(self.log_path)
        try:
            yield reader
        finally:
            reader.close()

    def catch_up(self) -> None:
        """Fold what the log holds beyond `position`."""
        for recorded in self._log.read(self._fold.position):
            self._fold.advance(recorded)


@contextmanager
def open_book(log: str | Path, *, make: bool = False, key: KeySource | None = None) -> Generator[OfflineBook]:
    """Open a log to change it, for as long as the block lasts. With *make* a log that is not there is made.

    Raises:
        LogLocked: a daemon serves it; the message says which.
        LogError: it cannot be used; see `engine.errors`.
        ClockBehind: the wall clock stands more than a minute behind the log.
        Refused: it is a copy without its secrets, which nobody adopted.
    """
    with open_offline(log, make=make, key=key) as (kept, secrets, ledger):
        _check_clock(kept)
        if secrets is None:
            raise Refused(
                f"{kept.path} stands without its secrets file, so it is a copy; serve it with --adopt once to speak "
                "for it"
            )
        fold = fold_of(kept, [presence, registry, webhooks, outbox, conflicts, refusals, deliveries])
        book = OfflineBook(kept, fold, secrets, ledger)
        book.catch_up()
        yield book


@contextmanager
def open_offline(
    log: str | Path, *, make: bool = False, key: KeySource | None = None
) -> Generator[tuple[SqliteLog, Secrets | None, Ledger]]:
    """Open a log with its secrets, if it has them, and its ledger, once that agrees with the checkpoint outside.

    *key* opens the secrets, by default the one in `<log>.key`.

    Whoever appends extends the ledger, too. At the end a fresh checkpoint of it is left outside, as after a daemon.

    Raises:
        LogContradicted: the log does not agree with the checkpoint outside.
        LogMissing: there is none; or it would be a new one where another has left its secrets or its checkpoint.
        LogError: it cannot be used; see `engine.errors`.
    """
    path = log_path(log)
    if not make and not path.exists():
        raise LogMissing(f"there is no log at {path}; check the path")
    if not path.parent.is_dir():
        raise LogMissing(f"the folder {path.parent} does not exist; make it, or name another place for the log")
    kept, secrets = open_with_secrets(path, key=key)
    with closing(kept):
        try:
            ledger = open_ledger(kept, path, kept.log_id, secrets or MemorySecrets())
            try:
                yield kept, secrets, ledger
            finally:
                if ledger.key is not None:
                    ledger.protect(*ledger.note())
        finally:
            if secrets is not None:
                secrets.close()


def _check_clock(log: Log) -> None:
    now = time.time_ns() // 1000
    if log.latest_at - now > _CLOCK_TOLERANCE:
        raise ClockBehind(
            f"the wall clock says {rfc3339(now)}, but the newest event of the log is of {rfc3339(log.latest_at)}; "
            "set the clock"
        )

"""The run loop: one life of a gateway, from the lock to the unlock (semantics 7).

    start     log open and folded -> transports bound -> [lost ..., started] durable and folded -> accept
    while     commit -> fold -> publish -> wake; watch the connections; count the grace; deliver; keep snapshots
    shutdown  let in no more -> close each connection, durably, over the time set for it -> accept no more -> deliveries
              in flight -> `gateway.stopped`, the run's last event -> outside checkpoint, snapshot, close, unlock; all
              inside `shutdown_timeout`

What did not become durable did not happen, and nobody was told: a crash needs no code of its own.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from secrets import token_bytes
from typing import Any, cast

import trio

from .clock import Clock, SystemClock, rfc3339
from .codec import seal
from .core import Engine
from .delivery.loop import Deliveries
from .entry import Beat, Entry
from .errors import ClockBehind, Conflict, LogUnavailable
from .events import (
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
)
from .fold import Fold, Projection
from .ledger.keeper import Ledger, open_ledger
from .log import Attempted, Log
from .log.scenes import SceneFile
from .log.secrets import MemorySecrets, Secrets
from .log.secrets_key import KeySource
from .log.sqlite import SqliteLog, log_path
from .loops import each_second, keep_checkpoint, keep_checkpoints, keep_snapshot, keep_snapshots, watch
from .names import Entropy, lapsed_id, lost_id, new_id
from .recalling import Recalling
from .runs import runs
from .sending import Owed, Sender
from .settings import EngineSettings
from .snapshots import fold_of
from .stations import StationTransport
from .with_secrets import open_with_secrets

RULES = 1
"""The newest version of the derivation rules that this release knows (semantics 6, O13)."""
LAST_WORDS = 1.0
"""Seconds for the sender to take leave of receivers."""
CLOCK_TOLERANCE = 60 * 1_000_000
"""Microseconds that the wall clock may stand behind the log's newest event at a start."""


@asynccontextmanager
async def open_engine(
    log: str | Path | Log,
    *,
    transports: Iterable[StationTransport | Sender] = (),
    projections: Iterable[Projection[Any, Any]] = (),
    gateway: str = "gateway",
    settings: EngineSettings | None = None,
    clock: Clock | None = None,
    secrets: Secrets | None = None,
    secrets_key: KeySource | None = None,
    inline: bool = False,
    mute: bool = False,
    adopt: bool = False,
    accept_clock: bool = False,
    entropy: Entropy = token_bytes,
) -> AsyncGenerator[Engine]:
    """Run a gateway on a log for as long as the block lasts; leaving the block shuts it down in order.

    Args:
        log: where the log stands (a path, made if it is missing), or a log of your own, which stays open.
        transports: how stations come in, and how webhooks go out.
        projections: what is folded; those that they need come along.
        gateway: the name of this gateway in the log.
        settings: how it runs.
        clock: where time comes from, if not from the machine.
        secrets: for a log of your own: where its secrets are kept, if not in memory.
        secrets_key: seals the secrets beside a log with a path; by default the one in `<log>.key`, which is made.
        inline: commit in the loop's own thread, for virtual time.
        mute: send no webhooks.
        adopt: take up a log that came without its secrets file, and speak for it from now on.
        accept_clock: start though the wall clock stands behind the log.
        entropy: where random bytes come from, if not from the machine; for simulations that can be played again.

    Raises:
        LogError: the log cannot be used; see `errors`.
        NewerSchema: a newer release wrote events that a projection needs.
        ClockBehind: the wall clock stands more than a minute behind the log.
        WrongSetting: a transport cannot listen where it should.
    """
    stations, sender = _told_apart(transports)
    kept, secrets, path = _open_kept(log, secrets, adopt, secrets_key)
    try:
        ledger = await _ledger(kept, path, secrets, inline=inline)
        engine = Engine(
            kept,
            await _folded(kept, projections),
            gateway=gateway,
            settings=settings or EngineSettings(),
            clock=clock or SystemClock(),
            secrets=secrets,
            mute=mute,
            inline=inline,
            log_path=path,
            ledger=ledger,
            entropy=entropy,
        )
        _check_clock(engine, accept=accept_clock)
        async with _edges(stations, sender) as engine.urls, _running(engine, stations, sender):
            yield engine
    except BaseExceptionGroup as group:
        # The nursery is our affair: whoever holds the block gets the one error that came, as if there were none.
        if (alone := _alone(group)) is None:
            raise
        raise alone from alone.__cause__
    finally:
        if path is not None:
            kept.close()
            secrets.close()


def _told_apart(
    transports: Iterable[StationTransport | Sender],
) -> tuple[list[StationTransport], Sender | None]:
    """Return how stations come in, and how webhooks go out."""
    transports = list(transports)
    stations = [transport for transport in transports if isinstance(transport, StationTransport)]
    return stations, next((transport for transport in transports if isinstance(transport, Sender)), None)


def _alone(error: BaseException) -> BaseException | None:
    """Return the only error in a group of errors, however deep; none if there are several."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(inner) != 1:
            return None
        error = inner[0]
    return error


def _open_kept(
    log: str | Path | Log, secrets: Secrets | None, adopt: bool, key: KeySource | None
) -> tuple[Log, Secrets, Path | None]:
    """Return the log, its secrets, and its path. A copy, which lacks its secrets, gets some that are kept nowhere."""
    if not isinstance(log, str | Path):
        return log, secrets or MemorySecrets(), None
    path = log_path(log)
    kept, found = open_with_secrets(path, adopt=adopt, key=key)
    return kept, found or MemorySecrets(), path


async def _ledger(log: Log, path: Path | None, secrets: Secrets, *, inline: bool) -> Ledger | None:
    """Return the ledger of a log with a path, once it agrees with the checkpoint outside."""
    if path is None:
        return None
    assert isinstance(log, SqliteLog)
    # In another thread: it may have to read the whole log, and somebody may ask meanwhile whether we live.
    work = partial(open_ledger, log, path, log.log_id, secrets)
    return work() if inline else await trio.to_thread.run_sync(work)


async def _folded(log: Log, projections: Iterable[Projection[Any, Any]]) -> Fold:
    """Return the projections' states as of the log's end: from snapshots where they fit, and the tail after them."""
    fold = fold_of(log, [runs, *projections])
    for count, recorded in enumerate(log.read(fold.position)):
        fold.advance(recorded)
        if count % 10_000 == 0:
            await trio.lowlevel.checkpoint()
    return fold


def _check_clock(engine: Engine, *, accept: bool) -> None:
    latest, now = engine.log.latest_at, engine.now()
    if latest - now > CLOCK_TOLERANCE and not accept:
        raise ClockBehind(
            f"the wall clock says {rfc3339(now)}, but the newest event of the log is of {rfc3339(latest)}; "
            "set the clock, or start with --accept-clock"
        )


# --- what runs, and for how long -------------------------------------------------------------------------------------


@asynccontextmanager
async def _edges(stations: Sequence[StationTransport], sender: Sender | None) -> AsyncGenerator[tuple[str, ...]]:
    """Listen around a block, which is told the URLs; whatever comes of it, nothing is left open behind."""
    try:
        yield tuple([await transport.bind() for transport in stations])
    finally:
        for transport in stations:
            transport.stop_accepting()
        if sender is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORDS):
                await sender.aclose()


class _Shelter:
    """Tasks that run on when whoever holds the engine is cancelled, until `end`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: list[trio.CancelScope] = []

    async def start(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task."""
        # Sheltered as well: trio would wait, in a `start` that was cancelled, for the end of a child that is not.
        with trio.CancelScope(shield=True):
            await self._nursery.start(self._run, task, args)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _run(
        self, task: Callable[..., Awaitable[None]], args: Sequence[object], *, task_status: trio.TaskStatus[None]
    ) -> None:
        with trio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            task_status.started()
            await task(*args)

    def end(self) -> None:
        """Cancel them all."""
        for scope in self._scopes:
            scope.cancel()


@asynccontextmanager
async def _running(engine: Engine, stations: Sequence[StationTransport], sender: Sender | None) -> AsyncGenerator[None]:
    """Run the engine's tasks around a block.

    The tasks are sheltered from the cancellation of whoever holds the block: they are needed for the shutdown, and end
    with it. If one of them fails, the block is cancelled and nothing is shut down in order: the log says what was.
    """
    async with trio.open_nursery() as nursery:
        needed, loops = _Shelter(nursery), _Shelter(nursery)
        try:
            await needed.start(engine.committer.run)
            if sender is not None and engine.outbox is not None:
                engine.recalling = _recalling(engine, engine.outbox)
                engine.deliveries = _deliveries(engine, engine.outbox, sender)
            await _begin(engine)
            await keep_checkpoint(engine)
            for transport in stations:
                await needed.start(transport.serve, engine.doorway)
            if engine.recalling is not None:
                await needed.start(engine.recalling.run)
            if engine.deliveries is not None:
                await needed.start(engine.deliveries.run)
            for loop in (watch, each_second, keep_checkpoints, keep_snapshots):
                await loops.start(loop, engine)
            yield
        finally:
            if engine.run and not engine.hurried and not nursery.cancel_scope.cancel_called:
                await _end(engine, stations, loops)
            engine.over = engine.doorway.abandoned = True
            loops.end()
            needed.end()


def _recalling(engine: Engine, outbox: Projection[Any, Any]) -> Recalling | None:
    """Wire what recalls the bodies that the outbox has no room for."""
    if outbox.retelling is None:
        return None
    file = SceneFile(engine.log_path) if engine.log_path is not None else None
    recalling = Recalling(outbox.retelling, engine.owing, engine.reader, file, inline=engine.inline)
    recalling.put_by()
    return recalling


def _deliveries(engine: Engine, outbox: Projection[Any, Any], sender: Sender) -> Deliveries:
    """Wire the delivery loop: what it is owed, how it records, and how it recalls what the outbox has forgotten."""

    async def recall(message: Owed) -> bytes:
        if engine.recalling is None:
            raise LookupError(f"{outbox.name} cannot recall message {message.id}")
        return await engine.recalling.body(message)

    def read_history(message: str) -> Sequence[Attempted]:
        with engine.reader() as log:
            return log.attempts_at(message)

    async def history(message: str) -> Sequence[Attempted]:
        return await trio.to_thread.run_sync(read_history, message)

    def checkpoint() -> bytes:
        return engine.ledger.newest if engine.ledger is not None and engine.settings.witness else b""

    return Deliveries(
        engine.owing,
        sender,
        record=engine.record,
        note=engine.committer.note,
        secret=engine.secrets.get,
        checkpoint=checkpoint,
        recall=recall,
        history=history,
        writable=lambda: engine.committer.writable,
        clock=engine.clock,
        now=engine.now,
        settings=engine.settings,
        attempts=engine.log.attempts(),
        mute=engine.mute,
        entropy=engine.entropy,
    )


async def _begin(engine: Engine) -> None:
    """Append, in one commit, `lost` for every run that still runs (one writer: all are dead), then `started`.

    With a grace of 0 the lapse of the ended runs goes with it.
    """
    settings, liveness = engine.settings, engine.settings.liveness
    at = engine.now()
    run = new_id(at, engine.entropy)
    started = GatewayStarted(
        public_url=engine.urls[0] if engine.urls else "",
        ping_interval=liveness.ping_interval,
        ping_timeout=liveness.ping_timeout,
        silence=liveness.silence,
        grace=settings.reconnect_grace,
        settling=settings.settling,
        rules=RULES,
        software=version("stationkeeper"),
        host=platform.node(),
    )
    beats = engine.log.beats()
    dead = [*engine.fold.state(runs)]
    batch: list[tuple[str, Event]] = [(lost_id(lost), _lost(engine, lost, beats.get(lost))) for lost in dead]
    batch.append((run, started))
    if settings.reconnect_grace == 0:
        for ended in dict.fromkeys([*engine.holding(), *dead]):
            batch.append((lapsed_id(ended), GatewayLapsed(run=ended, grace=0.0, listened=0.0)))
    await _append_start(engine, [seal(event, id=id, at=at, gateway=engine.gateway, run=run) for id, event in batch])
    engine.run = engine.doorway.run = run


async def _append_start(engine: Engine, batch: list[Entry]) -> None:
    """Append the start of a run; an end of another run that the log holds already, found by somebody else, is left."""
    while True:
        try:
            await engine.committer.append(batch)
            return
        except Conflict as conflict:
            others = [entry for entry in batch if entry.id != conflict.id]
            if conflict.id == batch[-1].run or len(others) == len(batch):
                raise
            batch = others


def _lost(engine: Engine, run: str, beat: Beat | None) -> GatewayLost:
    return GatewayLost(
        run=run,
        alive_at=beat.at if beat else engine.log.latest_at,
        listened=beat.listened if beat else 0.0,
        found_by=engine.gateway,
    )


async def _drain(engine: Engine) -> None:
    """Close the connections one by one, the oldest admission first, evenly over the time that is set for it.

    Who has not been closed yet is watched and answered as ever; who comes is answered 503.
    """
    span, began, leaving = engine.settings.drain, trio.current_time(), engine.doorway.leaving()
    for number, connection in enumerate(leaving if span else ()):
        if not connection.over:
            await trio.sleep_until(began + span * number / len(leaving))
            engine.doorway.drop(connection, "shutdown")


async def _end(engine: Engine, stations: Sequence[StationTransport], loops: _Shelter) -> None:
    """Stop in order. What the deadline, or somebody's hurry, cuts off, the next start finds as a lost run."""
    timeout = engine.settings.shutdown_timeout
    with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout) as scope:
        engine.cut_short = scope.cancel
        await _drain(engine)
        engine.doorway.drop_all()
        for transport in stations:
            transport.stop_accepting()
        while not engine.doorway.all_closed:
            await engine.publisher.news()
            engine.doorway.drop_all()
        if engine.deliveries is not None:
            now = trio.current_time()
            await engine.deliveries.stop(now + (scope.deadline - now) / 2)
        loops.end()
        engine.doorway.minute(over=True)
        engine.over = engine.doorway.abandoned = True
        stopped = engine.seal(GatewayStopped(listened=engine.grace.listened), id="")
        with suppress(LogUnavailable):
            await engine.committer.append([stopped], required=True)
        await keep_snapshot(engine)
        await engine.committer.close()
    engine.publisher.close()

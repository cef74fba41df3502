"""What goes on while a run lasts: connections are watched, the grace is counted, snapshots are kept."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import trio

from .core import Engine
from .errors import LogUnavailable
from .events import Event, GatewayClockSet, GatewayLapsed, GatewayStalled
from .log import Log
from .names import lapsed_id
from .snapshots import take
from .watch.doorway import LiveConnection
from .watch.liveness import Due

_LOG = logging.getLogger(__name__)

STALL = 5.0
"""Seconds without a look at anybody after which we say that we did not watch."""
BEAT = 5
"""Seconds after which a run leaves word that it lives, if nothing else was written."""
CHECKPOINT_DELAY = 0.8
"""Seconds that a commit may wait for a checkpoint that speaks of it, so that with the writing it is within one."""
CHECKPOINT_EVENTS = 1_000
"""Events that are not waited for any longer."""
LAG_FADES = 0.9
"""What is left, a second later, of how late the loop was at worst."""
BREATH = 256
"""Stations pinged or timed out at one go: some 5 ms, then everybody else gets a turn."""


async def watch(engine: Engine) -> None:
    """Ping who is silent, time out who does not answer, and notice when we did not watch."""
    doorway, clock = engine.doorway, engine.clock
    looked = clock.stepless()
    while True:
        now = clock.stepless()
        if now - looked > STALL:
            stalled = GatewayStalled(since=engine.times.at(looked), until=engine.times.at(now))
            _note(engine, stalled)
        looked = now
        for count, (connection, due, lag) in enumerate(doorway.watchdog.due(now), 1):
            _act_on(engine, connection, due, lag)
            if count % BREATH == 0:
                await trio.lowlevel.checkpoint()
        sooner = trio.Event()
        doorway.watched_sooner = sooner.set
        asleep = clock.stepless()
        wait = min(max(doorway.watchdog.next_deadline() - asleep, 0.0), 1.0)
        with trio.move_on_after(wait) as sleep:
            await sooner.wait()
        late = clock.stepless() - asleep - wait
        if not sleep.cancelled_caught:
            # Woken before its time, as in a storm again and again: then a turn of the loop says how late it is.
            turned = clock.stepless()
            await trio.lowlevel.checkpoint()
            late = clock.stepless() - turned
        engine.lag = max(late, engine.lag * LAG_FADES ** (clock.stepless() - asleep))


def _act_on(engine: Engine, connection: LiveConnection, due: Due, lag: float) -> None:
    if due is Due.PING:
        connection.link.ping()
        connection.vigil.pinged(engine.clock.stepless())
        engine.tally["pings"] += 1
    elif connection.link.look():
        connection.heard()
    else:
        engine.doorway.time_out(connection, lag)


async def each_second(engine: Engine) -> None:
    """Count the grace, leave word that we live, follow the wall clock, sum up refusals, have the sender tidy up."""
    committer = engine.committer
    commits, quiet = committer.commits, 0
    while True:
        await trio.sleep(1)
        for lapse in engine.grace.second(listening=engine.ready, holding=engine.holding()):
            lapsed = GatewayLapsed(run=lapse.run, grace=engine.grace.grace, listened=lapse.listened)
            _note(engine, lapsed, lapsed_id(lapse.run))
        engine.doorway.minute()
        if engine.deliveries is not None:
            engine.deliveries.tidy()
        if (step := engine.times.take_step()) is not None:
            _note(engine, GatewayClockSet(offset=step))
        quiet = quiet + 1 if committer.commits == commits else 0
        if quiet >= BEAT and committer.writable:
            with suppress(LogUnavailable):
                await committer.beat_alone()
            quiet = 0
        commits = committer.commits


def _note(engine: Engine, event: Event, id: str = "") -> None:
    """Record something that this run noticed, if it has not had its last word in this very moment."""
    with suppress(LogUnavailable):
        engine.submit([engine.seal(event, id=id)], required=True)


async def keep_checkpoints(engine: Engine) -> None:
    """Vouch outside the log for what was committed, at most a second or a thousand events later."""
    ledger = engine.ledger
    if ledger is None or ledger.key is None:
        return
    while True:
        await engine.beyond(ledger.protected)
        with trio.move_on_after(CHECKPOINT_DELAY):
            await engine.beyond(ledger.protected + CHECKPOINT_EVENTS - 1)
        if not await keep_checkpoint(engine):
            await trio.sleep(CHECKPOINT_DELAY)


async def keep_checkpoint(engine: Engine) -> bool:
    """Write a checkpoint of all that is committed outside the log; return whether that went well."""
    ledger = engine.ledger
    if ledger is None or ledger.key is None or ledger.protected == ledger.size:
        return True
    write = partial(ledger.protect, *ledger.note())
    try:
        if engine.inline:
            write()
        else:
            # In a thread that nobody else can hold up, however many work at other things.
            await trio.to_thread.run_sync(write, limiter=trio.CapacityLimiter(1))
    except LogUnavailable as error:
        if not ledger.failing:
            _LOG.error("the log goes on, but is not protected beyond position %d: %s", ledger.protected, error)
        ledger.failing = True
        ledger.failures += 1
        return False
    return True


async def keep_snapshots(engine: Engine) -> None:
    """Keep snapshots now and then, when there is news."""
    kept = engine.position
    while True:
        await trio.sleep(engine.settings.snapshot_interval)
        if engine.position != kept and engine.committer.writable:
            kept = engine.position
            await keep_snapshot(engine)


async def keep_snapshot(engine: Engine) -> None:
    """Write the states down as of now, so that the next start need not fold the whole log."""
    snapshots = take(engine.fold)
    if engine.ledger is not None:
        snapshots.append(engine.ledger.snapshot())
        # A tree that is newer than the checkpoint that it must agree with would be of no use.
        await keep_checkpoint(engine)

    def keep(log: Log) -> None:
        log.keep_snapshots(snapshots)

    try:
        await engine.committer.between(keep)
    except LogUnavailable:
        pass
    except Exception:  # whatever it was, a snapshot only saves time
        _LOG.warning("snapshots could not be kept; the next start will fold more", exc_info=True)

"""The command `demo`: the whole system at work on this machine, and a judge that says whether the truths held.

The daemon is the real one, in a process of its own. Stations and the receiver of webhooks live in this process; the
judge compares what they saw with what the daemon says. Half way the daemon is killed, and started again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle, islice
from math import inf, isfinite
from pathlib import Path
from random import randrange
from signal import SIGINT, SIGTERM

import click
import trio
from attrs import frozen
from rich.console import Console

from ...engine.events import GatewayStarted
from ...engine.log.reading import open_reader
from ..simulation.api import ApiFailed
from ..simulation.gateway import NAME, Gateway, GatewayFailed, Terms, free_port
from ..simulation.report import final, interim, killed
from ..simulation.station import Backoff, Pace
from ..simulation.trial import Recruit, Trial
from .simulate import open_console, reader_may_leave, table_of

LOG = Path("stationkeeper.db")
"""Beside it the demo leaves its configuration (.toml) and what the daemon says (.output)."""
SUMMARY_EVERY = 5.0
"""Seconds."""
KILL_AFTER = 20.0
"""Seconds until the daemon is killed, where the demo runs until Ctrl-C; with --seconds it is half of them."""
REST_WITHIN = 30.0
"""Seconds: until a silent station is found, the grace is over, and the last failed message was sent again."""
FAILING = 0.05
"""The share of webhooks that the receiver fails to take, so that there is something to send again."""

MIX = (
    "steady", "flapping", "half-open", "slow", "wrong password", "unknown id", "no subprotocol",
    "steady", "flapping", "steady", "flapping", "steady",
)  # fmt: skip
"""Who the stations are, in turn. A station's behaviour follows from its number alone, so that the log of an earlier
demo, with more or fewer stations, fits."""

PACE = Pace(
    ramp=2.0, heartbeat=5.0, up=12.0, down=3.0, linger=15.0, backoff=Backoff(minimum=0.5, spread=1.0, doublings=2)
)
"""All stations are back within the grace (10 s) after the daemon was killed, and a good while before its end."""


@click.command(epilog="Example: stationkeeper demo --stations 100 --seconds 60")
@click.option("--stations", type=click.IntRange(1), default=50, show_default=True, help="How many dial in.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after so long.  [default: on Ctrl-C]")
@click.option("--seed", type=int, help="Draw the same misfortunes again.  [default: drawn, and printed]")
def demo(stations: int, seconds: float | None, seed: int | None) -> int:
    """Watch the whole system work, on a log in ./stationkeeper.db.

    It starts the real daemon, lets steady, flapping, half-open, slow and unwelcome stations dial in over WebSocket,
    receives the webhooks, and says every few seconds whether the truths hold. Half way it kills the daemon. The code
    is 0 if every truth held, else 1. A log that others made is left alone: the code is 2.
    """
    check_ours(LOG)
    show = Show(
        console=open_console(),
        log=LOG.absolute(),
        stations=stations,
        seconds=inf if seconds is None else seconds,
        seed=randrange(10**6) if seed is None else seed,
    )
    code = 0
    try:
        with reader_may_leave():
            code = trio.run(show.run)
    except* (GatewayFailed, ApiFailed) as failures:
        for failure in failures.exceptions:
            click.echo(f"Error: {failure}", err=True)
        code = 3
    return code


class ForeignLog(click.ClickException):
    """Where the demo would keep its log stands one that others made."""

    exit_code = 2


def check_ours(log: Path) -> None:
    """Check that a demo may write this log: there is none yet, or nothing but demos has run on it.

    On any other log the demo would give the stations new passwords, and tell real receivers what was played.

    Raises:
        ForeignLog: it is somebody's.
        LogError: it cannot be read, or is no log at all.
    """
    if not log.exists() or not log.stat().st_size:
        return
    with closing(open_reader(log)) as reader:
        gateways = {started.gateway for started in reader.read(kinds={GatewayStarted.kind})}
        if reader.position and gateways != {NAME}:
            raise ForeignLog(
                f"{log.absolute()} is not a demo's log, and the demo would change it; "
                "run the demo in another folder, or move that file and its .secrets away"
            )


def cast(stations: int) -> Iterator[Recruit]:
    """Yield the stations of a demo."""
    for number, behaviour in enumerate(islice(cycle(MIX), stations), start=1):
        yield Recruit(id=f"CP-{number}", behaviour=behaviour)


@frozen(kw_only=True)
class Show:
    """One run of the demo."""

    console: Console
    log: Path
    stations: int
    seconds: float
    seed: int

    async def run(self) -> int:
        """Run until the time is over or a signal comes, and return the exit code."""
        terms = Terms()
        gateway = Gateway(self.log, terms, stations_port=free_port(9000), http_port=free_port(8080))
        trial = Trial(gateway, terms, cast(self.stations), seed=self.seed, pace=PACE, failing=FAILING)
        try:
            held = await self._perform(trial)
        finally:
            with trio.CancelScope(shield=True):
                await gateway.stop()
        if held is None:
            self.console.print("Cut short: there is no verdict.")
        self.console.print(f"{self.log.name} is the demo's log: look at it as you like, but do not serve it for real.")
        return 0 if held else 1

    async def _perform(self, trial: Trial) -> bool | None:
        """Begin, play, judge. None if it was cut short."""
        playing = trio.CancelScope()
        held: bool | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(_obey_signals, playing, nursery.cancel_scope)
            webhook_url = await nursery.start(trial.receiver.serve)
            nursery.start_soon(trial.watch_own_stalls)
            await trial.gateway.start()
            await trial.enrol(webhook_url)
            self._greet(trial)
            nursery.start_soon(trial.fleet.run)
            with playing:
                await self._play(trial)
            held = await self._judge(trial)
            nursery.cancel_scope.cancel()
        return held

    def _greet(self, trial: Trial) -> None:
        self.console.print(
            f"Dashboard: {trial.gateway.api.url}/\n"
            f"{self.stations} virtual stations dial in at {trial.gateway.stations_url}, seed {self.seed}.\n"
            f"The log is {self.log.name}; what the daemon says is in {trial.gateway.output.name}. Ctrl-C ends it."
        )

    async def _play(self, trial: Trial) -> None:
        """Let things happen, and say every few seconds what did; half way, kill the daemon."""
        begun = trio.current_time()
        end = begun + self.seconds
        kill = begun + (self.seconds / 2 if isfinite(self.seconds) else KILL_AFTER)
        summary = begun + SUMMARY_EVERY
        while trio.current_time() < end:
            await trio.sleep_until(min(summary, kill, end))
            if trio.current_time() >= kill:
                kill = inf
                self.console.print("[bold]Killing the daemon (SIGKILL), and starting it again.[/]")
                await trial.look()
                with trio.CancelScope(shield=True):
                    killed(self.console, await trial.kill())
            if trio.current_time() >= summary:
                summary += SUMMARY_EVERY
                await trial.look()
                interim(self.console, trial, trio.current_time() - begun)

    async def _judge(self, trial: Trial) -> bool:
        """Let all come to rest, stop the daemon in order, and print the verdict."""
        self.console.print("The stations come to rest: some stay connected, some hang up.")
        trial.fleet.settle()
        with trio.move_on_after(REST_WITHIN):
            await trial.look()
            while trial.unrest():
                await trio.sleep(0.5)
                await trial.look()
        unrest = trial.unrest()
        self.console.print(table_of(trial.fleet))
        with suppress(ApiFailed):  # if the daemon is gone, its exit code says so
            await trial.unsubscribe()
        exit_code = await trial.gateway.stop()
        return final(self.console, trial, unrest=unrest, exit_code=exit_code)


async def _obey_signals(
    playing: trio.CancelScope,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """End the play at the first signal, so that there is a verdict; at the second, everything."""
    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        task_status.started()
        scopes = iter([playing, everything])
        async for _ in signals:
            next(scopes, everything).cancel()

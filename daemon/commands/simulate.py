"""The command `simulate`: a fleet of virtual stations against any OCPP-J server."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from math import inf
from random import Random, randrange
from signal import SIGINT, SIGTERM

import click
import trio
from attrs import asdict
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..simulation.behaviours import FLAKY
from ..simulation.fleet import Count, Fleet, Member, in_words
from ..simulation.line import Caller
from ..simulation.station import Pace

TERMINAL_EVERY = 0.5
"""Seconds between updates of the summary line on a terminal."""
PIPE_EVERY = 5.0
"""Seconds between summary lines where the output is no terminal."""
PIPE_WIDTH = 120
"""Columns where the output is no terminal."""

_POSITIVE = click.FloatRange(0, min_open=True)


@click.command(epilog="Example: stationkeeper simulate ws://127.0.0.1:9000/ocpp --stations 200 --flaky 0.2")
@click.argument("url")
@click.option("--stations", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--flaky", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="The share that is flaky.")
@click.option("--seconds", type=_POSITIVE, default=inf, help="Stop after so long.  [default: on Ctrl-C]")
@click.option("--seed", type=int, help="Repeat a run.  [default: drawn, and printed]")
@click.option("--password", help="What all send; {id} stands for the station's id.  [default: no credentials]")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    default=["ocpp2.0.1", "ocpp1.6"],
    show_default=True,
    help="A subprotocol to offer; give several in order of preference.",
)
@click.option("--prefix", default="CP-", show_default=True, help="What each id begins with; a number follows.")
@click.option("--heartbeat", type=_POSITIVE, default=60.0, show_default=True, help="Seconds between Heartbeats.")
@click.option("--ramp", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds for all to dial in.")
@click.option("--up", type=_POSITIVE, default=60.0, show_default=True, help="Mean seconds a flaky one stays.")
@click.option("--down", type=_POSITIVE, default=10.0, show_default=True, help="Mean seconds a flaky one is away.")
@click.option("--insecure", is_flag=True, help="Take any certificate of a wss:// server.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def simulate(
    url: str,
    stations: int,
    flaky: float,
    seconds: float,
    seed: int | None,
    password: str | None,
    protocols: tuple[str, ...],
    prefix: str,
    heartbeat: float,
    ramp: float,
    up: float,
    down: float,
    insecure: bool,
    form: str,
) -> int:
    """Let a fleet of virtual stations dial in at URL, which is the server's without a station's id.

    Steady stations boot, send heartbeats and answer pings. Flaky ones drop and come back, fall silent with the socket
    open, or crawl. All wait before they dial again as OCPP 2.0.1 says. It ends with code 1 if not one was let in.
    """
    seed = randrange(10**6) if seed is None else seed
    members = draw_members(stations, flaky=flaky, seed=seed, prefix=prefix, password=password, protocols=protocols)
    pace = Pace(heartbeat=heartbeat, ramp=ramp, up=up, down=down)
    fleet = Fleet(url, members, seed=seed, pace=pace, trust=_any_certificate() if insecure else None)
    # Machine output has standard output to itself.
    console = open_console(stderr=form == "json")
    console.print(f"{stations} stations dial in at {url}, seed {seed}; Ctrl-C ends it")
    with reader_may_leave():
        trio.run(_simulate, fleet, seconds, console)
    if form == "json":
        click.echo(json.dumps(_plain(fleet), indent=2))
    else:
        console.print(table_of(fleet))
        for reason, times in fleet.unanswered().most_common(3):
            console.print(f"{times}x no answer: {reason}", markup=False)
    return 0 if fleet.count().admitted else 1


def open_console(*, stderr: bool = False) -> Console:
    """Return a console; where the output is no terminal, one that is wide enough for our tables."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, soft_wrap=True, width=PIPE_WIDTH)


@contextmanager
def reader_may_leave() -> Generator[None]:
    """End the block in silence once nobody reads the output any more (`| head`): rich then asks to exit."""
    try:
        yield
    except* SystemExit:
        pass


def draw_members(
    stations: int, *, flaky: float, seed: int, prefix: str, password: str | None, protocols: tuple[str, ...]
) -> Iterator[Member]:
    """Yield the stations of a fleet, *flaky* being the share of those that are."""
    random = Random(seed)
    for number in range(1, stations + 1):
        id = f"{prefix}{number}"
        own = None if password is None else password.replace("{id}", id).encode()
        behaviour = random.choice(FLAKY) if random.random() < flaky else "steady"
        yield Member(caller=Caller(station=id, password=own, subprotocols=protocols), behaviour=behaviour)


async def _simulate(fleet: Fleet, seconds: float, console: Console) -> None:
    with trio.move_on_after(seconds):
        async with until_signal(), trio.open_nursery() as nursery:
            nursery.start_soon(fleet.run)
            if console.is_terminal:
                with Live(console=console, auto_refresh=False, transient=True) as live:
                    while True:
                        live.update(describe(fleet.count()), refresh=True)
                        await trio.sleep(TERMINAL_EVERY)
            while True:
                await trio.sleep(PIPE_EVERY)
                console.print(describe(fleet.count()))


@asynccontextmanager
async def until_signal() -> AsyncGenerator[trio.CancelScope]:
    """Run the block until it ends or the process is told to stop (SIGINT, SIGTERM): then it is cancelled."""
    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            yield nursery.cancel_scope
            nursery.cancel_scope.cancel()


def describe(count: Count) -> str:
    """Return a fleet's numbers in one line."""
    return (
        f"{count.connected}/{count.stations} connected; {count.dials} dials: {count.admitted} let in, "
        f"refused {in_words(count.refused)}, {count.unanswered} unanswered; {count.dropped} connections lost"
    )


def table_of(fleet: Fleet) -> Table:
    """Return a fleet's numbers by behaviour, and in all; it fits into 80 columns."""
    table = Table(
        title="What the stations saw", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("behaviour", no_wrap=True)
    for head in ("connected", "dials", "let in", "booted", "refused", "no answer", "lost"):
        table.add_column(head, justify="right", no_wrap=True)
    for name in sorted(set(fleet.behaviours.values())):
        count = fleet.count(name)
        _add_row(table, name, count, refused=in_words(count.refused))
    table.add_section()
    _add_row(table, "all", fleet.count(), refused=str(fleet.count().refused.total()))
    return table


def _add_row(table: Table, name: str, count: Count, *, refused: str) -> None:
    connected = f"{count.connected} of {count.stations}"
    let_in = (str(count.dials), str(count.admitted), str(count.accepted))
    table.add_row(name, connected, *let_in, refused, str(count.unanswered), str(count.dropped))


def _plain(fleet: Fleet) -> Mapping[str, object]:
    return {name: asdict(fleet.count(name)) for name in sorted(set(fleet.behaviours.values()))} | {
        "all": asdict(fleet.count())
    }


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

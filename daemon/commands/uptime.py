"""The command `uptime`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal, InvalidOperation
from heapq import nsmallest
from typing import Any, Final

import click

from ...engine.clock import parse_time, rfc3339
from ...engine.log import Log
from ...engine.log.reading import open_reader
from ...projections.uptime import Measure, Outage, Uptime, Window
from ..availability import SECOND, Ground, events_of, ground_of, outage_shown, percent, uptime_shown
from ..configuration.units import write_duration
from ..registry.errors import NotFound
from .options import output_format
from .printing import FORMATS, print_rows, visible
from .progress import with_progress
from .uptime_picture import ROWS, Picture

COLUMNS: Final = ("station", "availability", "online", "offline", "not observed", "unknown", "outages")
"""Of the table, for people; CSV has the names of JSON."""
KEYS: Final = (
    "station", "from", "to", "availability", "onlineSeconds", "offlineSeconds", "notObservedSeconds", "unknownSeconds",
    "outageCount",
)  # fmt: skip
OUTAGE_KEYS: Final = (
    "station", "from", "to", "offlineSeconds", "notObservedSeconds", "cause", "code", "detectedAt",
)  # fmt: skip
NAMED: Final = 20
"""Stations below the bar that are named; the table has them all."""
FAILED: Final = 1


@click.command(
    epilog="Example: stationkeeper uptime stationkeeper.db --from 2026-11-01 --to 2026-12-01 --at-least 99.5"
)
@click.argument("log")
@click.option("--station", "stations", metavar="ID", multiple=True, help="This station alone; give several for each.")
@click.option("--from", "since", metavar="TIME", help="From then on.  [default: the first event]")
@click.option("--to", "until", metavar="TIME", help="Up to then.  [default: the newest moment that the log knows of]")
@click.option("--outages", is_flag=True, help="Print the outages, one a line, as they ended.")
@click.option("--at-least", metavar="PERCENT", help="End with 1 if a station's availability is below this.")
@output_format(*FORMATS, "svg", default="table")
def uptime(
    log: str,
    stations: tuple[str, ...],
    since: str | None,
    until: str | None,
    outages: bool,
    at_least: str | None,
    form: str,
) -> int:
    """Print for how long stations were online, offline, and not observed, from the events in LOG.

    Availability is online / (online + offline): time in which no gateway could see the station is in neither. Times
    are RFC 3339, or a date. The log is read beside a running daemon or without one, and left byte for byte as it is.
    """
    if outages and form == "svg":
        raise click.UsageError("a picture shows outages already; leave out --outages, or --format svg")
    bar = None if at_least is None else _percent(at_least)
    with closing(open_reader(log)) as reader:
        ground = ground_of(reader, reader.position)
        window = _window(ground, since, until)
        picture = Picture(window) if form == "svg" else None
        measure = Measure(window, ground.watch, draw=None if picture is None else picture.draw)
        ended = _outages(reader, ground, measure, stations)
        if outages:
            _print_outages(ended, form)
        else:
            for _ in ended:
                pass
    shown = _chosen(measure, stations)
    if picture is not None:
        _print_picture(picture, shown)
    elif not outages:
        _print_uptimes(shown, window, form)
    return 0 if bar is None else _judge(shown, bar)


def _outages(log: Log, ground: Ground, measure: Measure, stations: Sequence[str]) -> Iterator[Outage]:
    """Measure, and yield the outages on the way: first those that ended, then those that go on."""
    wanted = {"", *stations}
    events = events_of(log, ground.position, stations[0] if len(stations) == 1 else None)
    for recorded in with_progress(events, "uptime", until=ground.position):
        if not stations or recorded.subject in wanted:
            yield from measure.follow(recorded)
    yield from measure.close()


def _chosen(measure: Measure, stations: Sequence[str]) -> list[Uptime]:
    """Return the uptimes of the stations that were asked for; of all, if none were, that the window knows."""
    if not stations:
        return [uptime for uptime in measure.uptimes() if uptime.unknown < measure.window.length or not uptime.unknown]
    found = {uptime.station: uptime for uptime in measure.uptimes()}
    for station in stations:
        if station not in found:
            raise NotFound(f"the log knows of no connection of a station {station!r}; ids are case-sensitive")
    return [found[station] for station in dict.fromkeys(stations)]


# --- what is asked ---------------------------------------------------------------------------------------------------


def _window(ground: Ground, since: str | None, until: str | None) -> Window:
    begin = ground.whole.since if since is None else _moment(since, "--from")
    end = ground.whole.until if until is None else _moment(until, "--to")
    if begin > end:
        raise click.UsageError(f"--from {rfc3339(begin)} is after --to {rfc3339(end)}")
    return Window(begin, end)


def _moment(text: str, option: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        raise click.UsageError(
            f"{option} {text}: write a date, or a time as in RFC 3339, e.g. 2026-11-22T09:00:00Z"
        ) from None


def _percent(text: str) -> Decimal:
    try:
        bar = Decimal(text.removesuffix("%").strip())
    except InvalidOperation:
        bar = Decimal(-1)
    if not (bar.is_finite() and 0 <= bar <= 100):
        raise click.UsageError(f"--at-least {text}: write a percentage from 0 to 100, e.g. 99.5")
    return bar


# --- what is answered ------------------------------------------------------------------------------------------------


def _print_uptimes(shown: Sequence[Uptime], window: Window, form: str) -> None:
    if form != "table":
        asked = {"from": rfc3339(window.since), "to": rfc3339(window.until)}
        print_rows(({"station": uptime.station, **asked, **uptime_shown(uptime)} for uptime in shown), KEYS, form)
        return
    click.echo(f"From {_second(window.since)} to {_second(window.until)}, {lasting(window.length)}:\n")
    print_rows(map(_row, shown), COLUMNS, form)


def _row(uptime: Uptime) -> Mapping[str, Any]:
    times = (uptime.online, uptime.offline, uptime.not_observed, uptime.unknown)
    cells = (uptime.station, percent(uptime), *map(lasting, times), uptime.outages)
    return dict(zip(COLUMNS, cells, strict=True))


def _print_outages(ended: Iterable[Outage], form: str) -> None:
    if form != "table":
        rows = ({"station": outage.station, **outage_shown(outage)} for outage in ended)
        print_rows(rows, OUTAGE_KEYS, form)
        return
    for outage in ended:  # one by one, for there may be more than memory
        click.echo(_line(outage))


def _line(outage: Outage) -> str:
    code = "" if outage.code is None else f" ({outage.code})"
    unseen = f", not observed {lasting(outage.not_observed)}" if outage.not_observed else ""
    back = "still offline" if outage.ended is None else f"back {_second(outage.ended)}"
    return (
        f"{visible(outage.station):<20}  {_second(outage.began)}  {back:<25}  {lasting(outage.offline):>12}{unseen}"
        f"  {outage.cause}{code}"
    )


def _second(at: int) -> str:
    """Return a moment for people; programs get its microseconds."""
    return rfc3339(at)[: len("2026-11-22T09:00:00")] + "Z"


def lasting(micros: int) -> str:
    """Return a time span for people: to the second, from a minute on."""
    seconds = micros / SECOND
    return write_duration(round(seconds) if seconds >= 60 else round(seconds, 3)) if micros else "0s"


def _print_picture(picture: Picture, shown: Sequence[Uptime]) -> None:
    if not picture.window.length:
        raise click.UsageError("the window is empty, and there is nothing to draw; choose another --from or --to")
    if len(shown) > ROWS:
        click.echo(f"{len(shown)} stations; the picture shows the {ROWS} with the lowest availability", err=True)
        shown = nsmallest(ROWS, shown, key=lambda uptime: (uptime.availability is None, uptime.availability))
    for line in picture.svg(shown):
        click.echo(line)


def _judge(shown: Sequence[Uptime], bar: Decimal) -> int:
    """Return the exit code, and name who is below the bar."""
    if not shown:
        click.echo(f"no station is known in that time, so none reached {bar} %; check --from and --to", err=True)
        return FAILED
    below = [uptime for uptime in shown if uptime.below(bar)]
    if not below:
        return 0
    named = ", ".join(f"{visible(uptime.station)} ({percent(uptime)})" for uptime in below[:NAMED])
    more = f" and {len(below) - NAMED} more" if len(below) > NAMED else ""
    click.echo(f"below {bar} %: {named}{more}", err=True)
    return FAILED

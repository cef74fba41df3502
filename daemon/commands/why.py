"""The command `why`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

import click

from ...engine.clock import rfc3339
from ...engine.log.reading import open_reader
from ...projections.refusals import Row
from .. import turned_away
from ..reasons import meaning, remedy
from ..why import MOMENTS, Attempt, Message, Moment, Why, as_json, explain
from ..words import count
from .options import output_format, position_of
from .printing import visible


@click.command(epilog="Example: stationkeeper why stationkeeper.db CP-7 --at 2026-11-22T03:14:00Z")
@click.argument("log")
@click.argument("station", metavar="[ID]", required=False)
@click.option("--at", metavar="TIME|POSITION", help="As of then; a time means the last position up to it.")
@click.option("--last", type=click.IntRange(min=1), default=MOMENTS, show_default=True, help="How many events to show.")
@output_format("text", "json", default="text")
def why(log: str, station: str | None, at: str | None, last: int, form: str) -> None:
    """Say why a station is online or offline, or does not connect: the events that made it so, the messages that they
    made, each attempt at these with its answer, and how often it was turned away. The station need not be registered.

    Without ID: who was turned away in the last seven days, the newest first.

    It is told from LOG alone, which is read beside a running daemon or without one, and left byte for byte as it is.
    """
    with closing(open_reader(log)) as reader:
        until = None if at is None else position_of(reader, at, option="--at")
        if station is None:
            rows = turned_away.of_all(reader, reader.position if until is None else until)
            _tell_of_all(rows[:last] if form == "text" else rows, len(rows), form)
            return
        found = explain(reader, station, until=until, most=last)
    if form == "json":
        click.echo(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        _print(found)


def _tell_of_all(rows: Sequence[Row], all: int, form: str) -> None:
    if form == "json":
        click.echo(json.dumps([turned_away.as_json(row) for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("Nobody was turned away in the last seven days.")
    for row in rows:
        click.echo(visible(row.claimed or "(no id)"))
        _print_row(row)
    if len(rows) < all:
        click.echo(f"  ... {all - len(rows)} more; --last shows more")


def _print_row(row: Row) -> None:
    when = rfc3339(row.first) + ("" if row.first == row.last else f" to {rfc3339(row.last)}")
    click.echo(f"  {count(row.count, 'time')}, {when}: {row.status} {row.reason}")
    said = [f"because {meaning(row.reason)}", row.hint, remedy(row.reason)]
    for line in said:
        if line:
            click.echo(f"    {visible(line)}")


def _print(why: Why) -> None:
    click.echo(visible(why.answer))
    if why.refused:
        click.echo(visible(why.refused))
    version = "" if why.station is None else f"Version {why.station['version']}, as "
    click.echo(f"{version or 'As '}of position {why.position}.")
    for row in why.refusals:
        _print_row(row)
    click.echo()
    if why.earlier:
        click.echo(f"  ... {why.earlier} earlier events; --last shows more")
    for moment in why.moments:
        click.echo(f"{moment.position:>8}  {rfc3339(moment.at)}  {visible(moment.words)}{_effect(moment)}")
        for message in moment.messages:
            click.echo(f"{'':>10}{message.type} to {visible(message.name or message.webhook)}: {_state(message)}")
            for attempt in message.attempts:
                click.echo(f"{'':>12}{rfc3339(attempt.at)}  {_attempt(attempt)}")


def _effect(moment: Moment) -> str:
    if moment.flag:
        return f"  => {moment.flag}, version {moment.version}"
    note = "odd where it stands: it changed nothing" if moment.odd else moment.note
    return f"  ({note})" if note else ""


def _state(message: Message) -> str:
    note = f"; {visible(message.note)}" if message.note else ""
    return f"{message.state} ({message.id}){note}"


def _attempt(attempt: Attempt) -> str:
    again = f" of round {attempt.round}" if attempt.round else ""
    status = "" if attempt.status is None else f" {attempt.status}"
    due = "" if attempt.next is None else f"; next due {rfc3339(attempt.next)}"
    return f"attempt {attempt.number}{again}:{status} {visible(attempt.result)}{due}"

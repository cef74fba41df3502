"""The command `events`."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from heapq import merge
from inspect import get_annotations
from operator import attrgetter
from typing import Any, Final

import click

from ...engine.clock import rfc3339
from ...engine.entry import Recorded
from ...engine.events import KINDS, HandshakeRefused
from ...engine.log import Log
from ...engine.log.reading import open_reader
from ..meant import meant
from .options import output_format, position_of, time_of
from .printing import FORMATS, print_csv, print_rows, visible

LOOK: Final = 0.3
"""Seconds between looks for news with --follow: quick for an eye, nothing for the log."""

COLUMNS: Final = ("position", "at", "kind", "subject", "gateway", "run", "actor", "id", "schema", "body")


@click.command(epilog="Example: stationkeeper events stationkeeper.db --station CP-7 --since 2026-11-22T09:00:00Z")
@click.argument("log")
@click.option("--station", metavar="ID", help="About this station alone, refused handshakes in its name included.")
@click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Of this kind; give several for any of them.")
@click.option("--since", metavar="TIME|POSITION", help="From then on, that moment included.")
@click.option("--until", metavar="TIME|POSITION", help="Up to then, that moment included.")
@click.option("--follow", is_flag=True, help="Go on with what is appended, until Ctrl-C or SIGTERM.")
@output_format(*FORMATS, default="table")
def events(
    log: str,
    station: str | None,
    kinds: tuple[str, ...],
    since: str | None,
    until: str | None,
    follow: bool,
    form: str,
) -> None:
    """Print the history in LOG, one event a line.

    The log is read beside a running daemon or without one, and left byte for byte as it is. What may be private
    (addresses) is not printed.
    """
    _check(kinds, follow=follow, until=until, form=form)
    with closing(open_reader(log)) as reader:
        after = 0 if since is None else _before(reader, since)
        last = None if until is None else position_of(reader, until, option="--until")
        chosen = _follow(reader, after, station, kinds) if follow else _read(reader, after, last, station, kinds)
        with _until_told() if follow else nullcontext():
            _print(chosen, form)


@contextmanager
def _until_told() -> Generator[None]:
    """Run the block until a signal says to stop. That is how it ends in order, so it is no failure."""
    # A shell starts what runs in the background with SIGINT ignored, and so it stays: SIGTERM ends it there.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(chosen: Iterator[Recorded], form: str) -> None:
    rows = (_row(recorded) for recorded in chosen)
    if form == "table":
        for row in rows:
            click.echo(_line(row))
    elif form == "csv":
        print_csv(({**row, "body": json.dumps(row["body"], ensure_ascii=False)} for row in rows), COLUMNS)
    else:
        print_rows(rows, COLUMNS, form)


def _check(kinds: tuple[str, ...], *, follow: bool, until: str | None, form: str) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise click.UsageError(f"--kind {kind} is unknown; {meant(kind, sorted(KINDS))}")
    if follow and until is not None:
        raise click.UsageError("--follow goes on for ever; leave out --until, or --follow")
    if follow and form == "json":
        raise click.UsageError("--follow never ends, so it cannot be one JSON list; use --format jsonl")


def _before(log: Log, since: str) -> int:
    """Return the position after which --since begins."""
    if since.isascii() and since.isdigit():
        return max(int(since) - 1, 0)
    return log.position_at(time_of(since, option="--since") - 1)


def _read(log: Log, after: int, until: int | None, station: str | None, kinds: tuple[str, ...]) -> Iterator[Recorded]:
    """Yield what was asked for. A refused handshake has no subject: an id that was claimed is nobody's yet."""
    of_kinds = set(kinds) or None
    if station is None:
        yield from log.read(after, until=until, kinds=of_kinds)
        return
    about = log.read(after, until=until, subject=station, kinds=of_kinds)
    if of_kinds is not None and HandshakeRefused.kind not in of_kinds:
        yield from about
        return
    refused = (
        recorded
        for recorded in log.read(after, until=until, subject="", kinds={HandshakeRefused.kind})
        if json.loads(recorded.body).get("claimed") == station
    )
    yield from merge(about, refused, key=attrgetter("position"))


def _follow(log: Log, after: int, station: str | None, kinds: tuple[str, ...]) -> Iterator[Recorded]:
    while True:
        # Up to a position that was seen, so that what comes during the read is read next time, once.
        head = log.position
        if head > after:
            yield from _read(log, after, head, station, kinds)
            after = head
        sys.stdout.flush()
        time.sleep(LOOK)


def _row(recorded: Recorded) -> dict[str, Any]:
    return {
        "position": recorded.position,
        "id": recorded.id,
        "at": rfc3339(recorded.at),
        "kind": recorded.kind,
        "schema": recorded.schema,
        "subject": recorded.subject,
        "gateway": recorded.gateway,
        "run": recorded.run,
        "actor": recorded.actor,
        "body": json.loads(recorded.body),
    }


def _line(row: Mapping[str, Any]) -> str:
    moments = _moments(row["kind"])
    told = " ".join(
        f"{key}={_short(rfc3339(value) if key in moments and isinstance(value, int) else value)}"
        for key, value in row["body"].items()
        if value not in (None, "", [], {})
    )
    subject = visible(row["subject"]) or "-"
    return f"{row['position']:>8}  {row['at']}  {row['kind']:<24}  {subject:<20}  {told}".rstrip()


@cache
def _moments(kind: str) -> frozenset[str]:
    """Return the fields of a kind's body that are moments, which are no reading for people as they are stored.

    Their annotation tells: elsewhere `since` and `until` are positions.
    """
    if kind not in KINDS:
        return frozenset()
    fields = [field for cls in KINDS[kind].__mro__ for field in get_annotations(cls).items()]
    return frozenset(name for name, type in fields if str(type).startswith("Micros"))


def _short(value: object) -> str:
    return visible(value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False))

"""The command `replay`."""

from __future__ import annotations

import json
from contextlib import closing

import click

from ...engine.clock import rfc3339
from ...engine.fold import Fold
from ...engine.log.reading import open_reader
from ...engine.log.stations import life_of
from ...projections import presence, registry
from ...projections.chargestation import chargestation
from ..registry.errors import NotFound
from .options import position_of
from .progress import with_progress


@click.command(epilog="Example: stationkeeper replay stationkeeper.db --at 2026-11-22T09:00:00Z --station CP-7")
@click.argument("log")
@click.option("--at", metavar="TIME|POSITION", help="As of then; a time means the last position up to it.")
@click.option("--station", metavar="ID", help="This station alone.")
def replay(log: str, at: str | None, station: str | None) -> None:
    """Print the state of the fleet, or of one station, as of then, folded from the begin of LOG.

    The log is read beside a running daemon or without one, and left byte for byte as it is.
    """
    with closing(open_reader(log)) as reader:
        until = reader.position if at is None else position_of(reader, at, option="--at")
        events = reader.read(until=until) if station is None else life_of(reader, station, until=until)
        fold = Fold([presence, registry])
        for recorded in with_progress(events, "replay", until=until):
            fold.advance(recorded)
        newest = next(reader.read(until - 1, until=until), None)
    fleet, stations = fold.state(presence), fold.state(registry)
    wanted = sorted({*fleet, *stations}) if station is None else [station]
    shown = [chargestation(fleet, stations, id) for id in wanted]
    if station is not None and shown == [None]:
        raise NotFound(f"there is no station {station!r} as of position {until}")
    answer = {"position": until, "at": None if newest is None else rfc3339(newest.at), "chargestations": shown}
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))

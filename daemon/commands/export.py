"""The command `export`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from ...engine.copies.exporting import export as export_to
from ...engine.copies.exporting import export_lines
from ...engine.log.driver import log_path
from .progress import with_progress


@click.command(epilog="Example: stationkeeper export stationkeeper.db - --redacted | gzip > history.jsonl.gz")
@click.argument("log")
@click.argument("file")
@click.option("--redacted", is_flag=True, help="Leave private parts (addresses) out; their digests stay.")
def export(log: str, file: str, redacted: bool) -> None:
    """Write the events in LOG to FILE as lines of JSON; - is standard output.

    Each event stands there whole and as it is stored, with its hash, so that import makes the same log of it again. The
    log is read beside a running daemon or without one, and left byte for byte as it is. Secrets are never exported.
    """
    progress = partial(with_progress, doing="export")
    if file == "-":
        for line in export_lines(log_path(log), redacted=redacted, progress=progress):
            sys.stdout.buffer.write(line)
        return
    count = export_to(log_path(log), Path(file), redacted=redacted, progress=progress)
    click.echo(f"{file} holds {count} events")

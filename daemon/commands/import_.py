"""The command `import`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ...engine.copies.importing import import_log
from ...engine.log.driver import log_path
from .progress import with_progress


@click.command("import", epilog="Example: stationkeeper import history.jsonl copy.db")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("log")
def import_(file: Path, log: str) -> None:
    """Make a new LOG of what export wrote to FILE: the same events, byte for byte, or nothing at all.

    Every hash and the root are checked; what is wrong is named by its line. The log keeps the id of the one that was
    exported. Without that one's secrets it is a copy, and sends no webhooks.
    """
    count = import_log(file, log_path(log), progress=partial(with_progress, doing="import"))
    click.echo(f"{log} holds {count} events")

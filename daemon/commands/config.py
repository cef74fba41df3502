"""The command `config`."""

from __future__ import annotations

from pathlib import Path

import click

from ..configuration.listing import as_json, as_toml
from .options import configured, effective, output_format


@click.command(epilog="Example: stationkeeper config --config stationkeeper.toml > all-settings.toml")
@configured
@output_format("toml", "json", default="toml")
def config(config: Path | None, log: str | None, stations: str | None, http: str | None, form: str) -> None:
    """Print the settings in force, each with its unit, default and reason, and where it was set.

    What is printed is a configuration file. A file is overruled by the environment (STATIONKEEPER_<SECTION>_<KEY>),
    and that by flags.
    """
    settings = effective(config, log=log, stations=stations, http=http)
    click.echo((as_json(settings) if form == "json" else as_toml(settings)).rstrip())

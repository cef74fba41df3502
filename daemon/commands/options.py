"""Options that several commands share, and how places in a log are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ...engine.clock import parse_time
from ...engine.log import Log

if TYPE_CHECKING:
    from ..configuration.sources import Effective, Key

F = TypeVar("F", bound=Callable[..., Any])

FLAGS: Final[dict[str, tuple[Key, str]]] = {
    "log": (("log", "url"), "--log"),
    "stations": (("stations", "listen"), "--stations"),
    "http": (("http", "listen"), "--http"),
}
"""The flags that stand for settings."""


def config_option(command: F) -> F:
    """Add `--config`."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="STATIONKEEPER_CONFIG",
        help="The configuration.  [default: ./stationkeeper.toml, if it is there]",
    )(command)


def configured(command: F) -> F:
    """Add the flags that choose a configuration file and stand over it."""
    for option in (
        click.option("--http", metavar="HOST:PORT", help="Where the API and the dashboard listen; port 0 picks one."),
        click.option("--stations", metavar="HOST:PORT", help="Where stations dial in; port 0 picks one."),
        click.option("--log", metavar="LOG", help="Where the events are kept: a path, or sqlite:///path."),
    ):
        command = option(command)
    return config_option(command)


def effective(config: Path | None, **flags: str | None) -> Effective:
    """Return the configuration of the file, the environment and the flags."""
    # Not before it is wanted: commands that read a log and know no configuration answer a fifth sooner.
    from ..configuration.sources import Given, load

    given = {
        key: Given(value, f"flag {flag}")
        for name, (key, flag) in FLAGS.items()
        if (value := flags.get(name)) is not None
    }
    return load(config, environ=os.environ, flags=given)


def output_format(*choices: str, default: str) -> Callable[[F], F]:
    """Add `--format`."""
    return click.option(
        "--format", "form", type=click.Choice(choices), default=default, show_default=True, help="How to print."
    )


def position_of(log: Log, place: str, *, option: str) -> int:
    """Return the position of a place in a log that is named by a position or a time: the last one up to then.

    Raises:
        UsageError: it is neither, or lies behind the end.
    """
    if place.isascii() and place.isdigit():
        position = int(place)
        if position > log.position:
            raise click.UsageError(f"{option} {place}: the log ends at position {log.position}")
        return position
    return log.position_at(time_of(place, option=option))


def time_of(place: str, *, option: str) -> int:
    """Return a time in microseconds.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_time(place)
    except ValueError:
        raise click.UsageError(
            f"{option} {place}: write a position (1, 2, 3 ...) or a time as in RFC 3339, e.g. 2026-11-22T09:00:00Z"
        ) from None

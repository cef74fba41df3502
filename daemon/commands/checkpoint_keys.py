"""The option `--key`, which commands about checkpoints share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ...engine.ledger.note import VerifyingKey


def _keys(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[VerifyingKey, ...]:
    keys: list[VerifyingKey] = []
    for value in values:
        lines = [value]
        if "+" not in value or Path(value).is_file():
            try:
                lines = [line for line in Path(value).read_text().splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError) as error:
                raise click.BadParameter(f"{value!r} is neither a key nor a file of keys ({error})") from error
        try:
            keys += [VerifyingKey.parse(line) for line in lines]
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return tuple(keys)


keys_option: Final = click.option(
    "--key",
    "keys",
    metavar="VKEY",
    multiple=True,
    callback=_keys,
    help="Believe this key (a line of LOG.vkey, or a file of such lines), and not what stands beside the log.",
)
"""`--key`, given as often as there are keys."""

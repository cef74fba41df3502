"""The command `backup`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ...engine.copies.backup import back_up
from ...engine.log.driver import log_path
from .progress import with_progress


@click.command(epilog="Example: stationkeeper backup stationkeeper.db /backups/stationkeeper-2026-11-22.db")
@click.argument("log")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-secrets", is_flag=True, help="Copy passwords and signing secrets too, sealed, into FILE.secrets.")
def backup(log: str, file: Path, with_secrets: bool) -> None:
    """Copy LOG to FILE, which must not be there yet, and check the copy.

    A daemon may go on serving LOG: the copy is as the log was at one moment. The checkpoint and the keys beside LOG are
    copied along, so that the copy can be verified by itself. It is mute: a daemon that serves it sends no webhooks
    before --adopt. FILE.secrets lets a restored log speak again. It is sealed, and the key is not copied: keep that
    apart from FILE, for a restore takes both.
    """
    made = back_up(log_path(log), file, with_secrets=with_secrets, progress=partial(with_progress, doing="backup"))
    vouched = f"its checkpoint vouches for {made.protected}" if made.protected else "no checkpoint vouches for them"
    click.echo(f"{file} holds {made.position} events; {vouched}")
    if made.key:
        click.echo(
            f"{file}.secrets is sealed under the key {made.key}, which was NOT copied: keep that key too, somewhere "
            f"else (stationkeeper keys show {log} says where it is); without it nobody can use these secrets",
            err=True,
        )
    elif made.key is not None:
        click.echo(
            f"{file}.secrets IS NOT SEALED: an earlier release wrote it. Keep it where nobody else reads it; once this "
            "release has served the log, make a new backup and destroy this one",
            err=True,
        )

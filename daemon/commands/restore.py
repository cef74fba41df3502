"""The command `restore`."""

from __future__ import annotations

from functools import partial

import click

from ...engine.copies.restoring import Restored
from ...engine.copies.restoring import restore as restore_to
from ...engine.log.driver import log_path
from ..secrets_key import find_key_source
from .options import effective
from .progress import with_progress


@click.command(epilog="Example: stationkeeper restore /backups/stationkeeper-2026-11-22.db stationkeeper.db")
@click.argument("file")
@click.argument("log")
def restore(file: str, log: str) -> None:
    """Take up work at LOG from FILE: a backup, an export, or any copy of a log. No daemon may serve LOG.

    FILE is checked whole, and stays as it is. What stands at LOG is set aside under a name that says when. The new LOG
    records that it was restored: the versions of all stations step forward, past what subscribers may have seen of what
    was lost. It is mute until serve --adopt. Where FILE.secrets stands, its key is needed: the key of LOG, or one in
    FILE.key; then the secrets are sealed anew under the key of LOG. With the same path twice, work goes on with the LOG
    that is here although its checkpoint contradicts it.
    """
    key = find_key_source(effective(None).config.log.secrets_key_file)
    done = restore_to(log_path(file), log_path(log), key=key, progress=partial(with_progress, doing="restore"))
    click.echo(f"{log} ends at position {done.position}, which says that it was restored")
    for line in _warnings(done):
        click.echo(line, err=True)


def _warnings(done: Restored) -> list[str]:
    lines = [f"set aside: {path}" for path in done.aside]
    if done.lost:
        lines.append(f"{done.lost} events are lost that a checkpoint knew of")
    if done.changed:
        many = "" if len(done.changed) == 1 else f" and {len(done.changed) - 1} more"
        lines.append(f"position {done.changed[0]}{many} is not what was written, and stands as it is now")
    if not done.secrets:
        lines.append("it has no secrets beside it: stations need new passwords, webhooks new signing secrets")
    return [*lines, "it sends no webhooks until it is served with --adopt"]

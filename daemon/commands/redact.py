"""The command `redact`."""

from __future__ import annotations

import click

from ...engine.log.redaction import redact as redact_in
from ..registry.offline import open_offline
from ..secrets_key import find_key_source
from .options import effective


@click.command(epilog="Example: stationkeeper redact stationkeeper.db CP-7")
@click.argument("log")
@click.argument("id")
def redact(log: str, id: str) -> None:
    """Erase what is private (addresses) in the events about ID, a station or webhook, in LOG.

    Refused handshakes that claimed to be ID are included. Every hash, proof, state and message stays as it is. No
    daemon may serve LOG meanwhile, nor any program read it. The file is written anew: as much room must be free.
    """
    if not id:
        raise click.UsageError("ID is empty; name a station or a webhook")
    key = find_key_source(effective(None).config.log.secrets_key_file)
    with open_offline(log, key=key) as (kept, _, _):
        count = len(redact_in(kept, id))
    click.echo(f"{count} event{'' if count == 1 else 's'} blanked" if count else f"nothing private is kept about {id}")
    click.echo("Backups, exports and logs set aside before still hold it; so do copies that others made.", err=True)

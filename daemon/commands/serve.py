"""The command `serve`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import configured, effective


@click.command(epilog="Example: stationkeeper serve --open --log trial.db --stations 127.0.0.1:9000")
@configured
@click.option("--open", "open_", is_flag=True, help="Let any station in without credentials. For trials only.")
@click.option("--hold", is_flag=True, help="Send no webhooks; what is owed gathers.")
@click.option("--adopt", is_flag=True, help="Speak for a copied log, which is mute without its secrets file.")
@click.option("--accept-clock", is_flag=True, help="Start though the clock stands behind the log.")
def serve(
    config: Path | None,
    log: str | None,
    stations: str | None,
    http: str | None,
    open_: bool,
    hold: bool,
    adopt: bool,
    accept_clock: bool,
) -> None:
    """Run the daemon: stations dial in, events are kept, webhooks go out.

    SIGTERM or Ctrl-C stops it in order, within [gateway] shutdown_timeout; a second one at once. SIGHUP reloads
    certificates and tokens. What it says goes to standard error, as JSON where that is no terminal.
    """
    settings = effective(config, log=log, stations=stations, http=http).config

    import trio

    from .. import logs
    from ..serve import Daemon, Options

    logs.configure()
    options = Options(open=open_, hold=hold, adopt=adopt, accept_clock=accept_clock)
    trio.run(Daemon(settings, options).run)

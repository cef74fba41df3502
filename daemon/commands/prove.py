"""The command `prove`."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import click

from ...engine.clock import rfc3339
from ...engine.ledger.checkpoint import Checkpoint
from ...engine.ledger.note import VerifyingKey
from ..audit.checkpoints import read_file
from ..audit.proof import Consistency, Inclusion, Proven
from ..audit.proving import NotProven, check_continued, check_event, prove_continued, prove_event
from .checkpoint_keys import keys_option
from .printing import visible

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: stationkeeper prove stationkeeper.db 4711 --output event-4711.tlog-proof")
@click.argument("log", required=False)
@click.argument("position", required=False, type=click.IntRange(min=1))
@click.option(
    "--checkpoint", metavar="FILE", type=_FILE, help="Prove it under this one.  [default: the one beside the log]"
)
@keys_option
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the proof there, a new file.")
@click.option("--since", metavar="FILE", type=_FILE, help="Prove instead that the log continues this older checkpoint.")
@click.option("--check", metavar="FILE", type=_FILE, help="Check this proof instead, without a log; needs --key.")
def prove(
    log: str | None,
    position: int | None,
    checkpoint: Path | None,
    keys: tuple[VerifyingKey, ...],
    output: Path | None,
    since: Path | None,
    check: Path | None,
) -> None:
    """Write a file that proves what the event at POSITION of LOG was, to anybody who knows the log's key.

    The file is a C2SP tlog-proof. It shows the event, but not what is private about it. LOG is read beside a running
    daemon or without one, and left byte for byte as it is.
    """
    if check is not None:
        if log is not None or checkpoint is not None or output is not None:
            raise click.UsageError("--check needs no log: it takes the proof, --key, and perhaps --since")
        _check(check, since, keys)
        return
    if log is None or (position is None) == (since is None):
        raise click.UsageError("name a log and a position, or a log and --since CHECKPOINT")
    if position is not None:
        written = prove_event(log, position, checkpoint, keys).written()
    else:
        assert since is not None
        written = prove_continued(log, since, checkpoint, keys).written()
    _write(written, output)


def _write(written: bytes, output: Path | None) -> None:
    if output is None:
        click.echo(written, nl=False)
        return
    try:
        with output.open("xb") as file:
            file.write(written)
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from error


def _check(file: Path, since: Path | None, keys: tuple[VerifyingKey, ...]) -> None:
    if not keys:
        raise click.UsageError(
            "--check needs --key: a proof is worth what its signature is, so have the key from others"
        )
    written = read_file(file)
    try:
        if since is None:
            _print_event(*check_event(Inclusion.parse(written), keys))
        else:
            _print_continued(*check_continued(Consistency.parse(written), read_file(since), keys))
    except ValueError as error:
        raise NotProven(f"{file}: {error}") from error


def _print_event(event: Proven, position: int, checkpoint: Checkpoint) -> None:
    shown = {
        "position": position,
        "id": event.id,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "schema": event.schema,
        "subject": event.subject,
        "gateway": event.gateway,
        "run": event.run,
        "actor": event.actor,
        "body": _body(event.body),
        "privateDigest": event.private_digest.hex(),
    }
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    click.echo(f"Proven: {_named(checkpoint)} holds this event at position {position:,}.", err=True)


def _body(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return {"base64": b64encode(body).decode()}


def _print_continued(older: Checkpoint, newer: Checkpoint) -> None:
    click.echo(f"Proven: {_named(newer)} begins with the {older.size:,} events of the older checkpoint.", err=True)


def _named(checkpoint: Checkpoint) -> str:
    return f"{visible(checkpoint.origin)}, as of {checkpoint.size:,} events,"

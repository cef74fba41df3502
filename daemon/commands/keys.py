"""The command `keys`: the key that a log's secrets are sealed under, and the one that signs its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from ...engine.errors import LogMissing, StationkeeperError
from ...engine.ledger import outside
from ...engine.log.driver import log_path
from ...engine.log.secrets import forget_damaged, rotate_key, secrets_path
from ...engine.log.secrets_file import head_of
from ...engine.log.secrets_key import KeyFile, KeySource, current_key, default_key_file, find_key
from ...engine.log.sqlite import SqliteLog
from ..secrets_key import find_key_source
from .options import config_option, effective, output_format


@click.group(epilog="Example: stationkeeper keys show stationkeeper.db")
def keys() -> None:
    """Say where a log's keys are, and change the key of its secrets.

    LOG.secrets holds what passwords are checked against, what webhooks are signed with, and the key that signs
    checkpoints. It is sealed under a key that is looked for in this order: the variable STATIONKEEPER_SECRETS_KEY, the
    systemd credential stationkeeper-secrets-key, the file that [log] secrets_key_file names, and LOG.key.
    """


@keys.command(epilog="Example: stationkeeper keys show stationkeeper.db")
@click.argument("log")
@config_option
@output_format("text", "json", default="text")
def show(log: str, config: Path | None, form: str) -> int:
    """Say which key the secrets of LOG are sealed under, and where keys are. It shows no secret.

    The code is 1 if the secrets' key is not where it is looked for.
    """
    path = log_path(log)
    found = _found(path, _source(path, config))
    if form == "json":
        click.echo(json.dumps(found))
    else:
        _print(path, found)
    return 0 if found["problem"] is None else 1


@keys.command("rotate-secrets", epilog="Example: stationkeeper keys rotate-secrets stationkeeper.db")
@click.argument("log")
@config_option
@click.option(
    "--new-key-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take the key in FILE from now on, drawn if there is no such file.  [default: replace the one there is]",
)
def rotate_secrets(log: str, config: Path | None, new_key_file: Path | None) -> None:
    """Seal the secrets of LOG under a new key. No daemon may serve LOG.

    The secrets stay what they are: no station and no webhook notices. The old key, where it stood in a file, is gone at
    the end; a crash on the way loses nothing. Backups made before still need the old key.
    """
    path = log_path(log)
    source = _source(path, config)
    new = None if new_key_file is None else KeyFile(new_key_file)
    with _writing(path) as log_id:
        key = rotate_key(path, log_id, source, new)
    click.echo(f"the secrets of {path} are sealed under the key {key.id}, in {key.source.removeprefix('the file ')}")
    if new is not None and new.path != default_key_file(path).path:
        click.echo(
            f"before the next start, name that file in [log] secrets_key_file, or put its content where the key is "
            f"looked for first (stationkeeper keys show {path})",
            err=True,
        )
    click.echo("Backups made before need the key from before: make a new one.", err=True)


@keys.command(epilog="Example: stationkeeper keys forget stationkeeper.db cred_06fm3")
@click.argument("log")
@click.argument("id")
@config_option
def forget(log: str, id: str, config: Path | None) -> int:
    """Remove the secret ID of LOG that is damaged, so that the daemon can start without it.

    A secret that is whole stays. Whoever it was for needs a new one: station update --generate, webhook rotate-secret.
    """
    path = log_path(log)
    with _writing(path) as log_id:
        gone = forget_damaged(path, log_id, id, _source(path, config))
    click.echo(f"{id} is gone" if gone else f"{id} is no damaged secret of {path}; nothing was changed")
    return 0 if gone else 1


def _source(path: Path, config: Path | None) -> KeySource:
    return find_key_source(effective(config).config.log.secrets_key_file) or default_key_file(path)


@contextmanager
def _writing(path: Path) -> Generator[str]:
    """Hold a log's lock, and say its id."""
    if not path.exists():
        raise LogMissing(f"there is no log at {path}; check the path")
    with closing(SqliteLog.open(path)) as log:
        yield log.log_id


def _found(path: Path, source: KeySource) -> dict[str, Any]:
    if not path.exists():
        raise LogMissing(f"there is no log at {path}; check the path")
    file = secrets_path(path)
    head = head_of(file) if file.exists() else None
    where = str(source.path) if isinstance(source, KeyFile) else source.source
    key = problem = present = None
    try:
        present = current_key(source)
        if head is not None and head.key:
            present = find_key(source, head.key, file)
        key = None if present is None else present.id
    except StationkeeperError as error:
        problem = str(error)
    return {
        "secrets": str(file) if file.exists() else None,
        "sealed_under": head.key or None if head is not None else None,
        "key_from": where,
        "key": key,
        "other_key": present.id if present is not None and key is None else None,
        "problem": problem,
        "left_over": _left_over(path, source, head.key if head is not None else ""),
        "checkpoint_keys": [str(line) for line in outside.read_keys(path)],
    }


def _left_over(path: Path, source: KeySource, sealed_under: str) -> str | None:
    """Return the file beside a log that a change of keys left behind when it was cut off, if there is one."""
    beside = default_key_file(path)
    if not beside.path.exists() or (isinstance(source, KeyFile) and source.path.resolve() == beside.path.resolve()):
        return None
    try:
        key = beside.read()
    except StationkeeperError:
        key = None
    return None if key is not None and key.id == sealed_under else str(beside.path)


def _print(path: Path, found: dict[str, Any]) -> None:
    if found["secrets"] is None:
        click.echo(f"secrets          none beside {path}: it is a copy, or new")
    elif found["sealed_under"] is None:
        click.echo(
            f"secrets          {found['secrets']}, NOT SEALED: an earlier release wrote it, the next start seals it"
        )
    else:
        click.echo(f"secrets          {found['secrets']}, sealed under the key {found['sealed_under']}")
    other = f"ANOTHER ONE, {found['other_key']}, which opens nothing here" if found["other_key"] else "NOT THERE"
    click.echo(f"their key        {found['key_from']}: {found['key'] or other}")
    if found["problem"]:
        click.echo(f"problem          {found['problem']}")
    if found["left_over"]:
        click.echo(
            f"left over        {found['left_over']} opens nothing here: it is of an older backup, or a change of keys "
            "was cut off; remove it if no backup needs it"
        )
    for line in found["checkpoint_keys"]:
        click.echo(f"checkpoints by   {line}")

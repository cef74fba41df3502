"""The command `verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from ...engine.ledger.note import VerifyingKey
from ...engine.log.reading import open_reader
from ..audit.findings import Check
from ..audit.passes import Tell
from ..audit.verdict import LONG, Report, readings
from ..audit.verdict import verify as audit
from .checkpoint_keys import keys_option
from .options import output_format
from .printing import print_rows, visible

FAILED: Final = 1
UNREADABLE: Final = 3


@click.command(
    epilog="Example: stationkeeper verify stationkeeper.db --checkpoint kept-elsewhere.checkpoint --key kept.vkey"
)
@click.argument("log")
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was kept elsewhere; the log must continue it. Give several for each.",
)
@keys_option
@click.option("--no-replay", is_flag=True, help="Leave out the projections: bytes, hashes and tables alone.")
@output_format("table", "json", default="table")
def verify(log: str, checkpoints: tuple[Path, ...], keys: tuple[VerifyingKey, ...], no_replay: bool, form: str) -> int:
    """Check that LOG is the log that was written, and name the first position that is wrong.

    Every hash, root, table, snapshot and projection is computed anew. What lies past the newest checkpoint outside the
    file is checked, but not protected: that is said, too. The log is read beside a running daemon or without one, and
    left byte for byte as it is. Exit code 0: sound; 1: a check failed; 3: the log cannot be read.
    """
    with _bar(log, replay=not no_replay) as tell:
        report = audit(log, files=checkpoints, keys=keys, replay=not no_replay, tell=tell)
    if form == "json":
        click.echo(json.dumps(_as_json(report), indent=2, ensure_ascii=False))
    else:
        _print(report)
    if not report.sound:
        return FAILED
    return 0 if report.replayed else UNREADABLE


@contextmanager
def _bar(log: str, *, replay: bool) -> Generator[Tell]:
    """Show how far the work is, where somebody watches and it takes long."""
    with closing(open_reader(log)) as reader:
        length = reader.position
    if length < LONG or not sys.stderr.isatty():
        yield lambda seen: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verify", total=length * readings(length, replay=replay))
        yield lambda seen: bar.advance(task, seen)


def _print(report: Report) -> None:
    rows = [{"check": check.name, "result": check.state, "what was found": _told(check)} for check in report.checks]
    print_rows(rows, ("check", "result", "what was found"), "table")
    click.echo()
    if report.oddities:
        click.echo("Worth a look; these stand as they were written, which is no failure:")
        for odd in report.oddities:
            places = ", ".join(map(str, odd.positions))
            more = "" if not places else f": position {places}{' ...' if odd.count > len(odd.positions) else ''}"
            click.echo(f"  {odd.count:,} x {visible(odd.reason)}{more}")
        click.echo()
    click.echo(visible(_verdict(report)))
    click.echo(visible(_protection(report)))
    for line in _remedies(report):
        click.echo(line)


def _told(check: Check) -> str:
    return f"position {check.position:,} {check.detail}" if _is_about(check) else check.detail


def _is_about(check: Check) -> bool:
    """Return whether the detail goes on from the position, as it does where one event is wrong."""
    return check.position is not None and check.name in ("positions", "leaves", "ends of runs", "times")


def _verdict(report: Report) -> str:
    if report.sound:
        if report.replayed:
            return "SOUND: no check failed."
        return "NOT CHECKED in full: this release cannot read all of it; the bytes are sound."
    wrong = report.first_wrong
    if wrong is None:
        return f"NOT SOUND: {report.failed[0].name}: {report.failed[0].detail}."
    if wrong.at_most is not None:
        return f"NOT SOUND: the first wrong position lies between {wrong.position:,} and {wrong.at_most:,}."
    return f"NOT SOUND: the first wrong position is {wrong.position:,} ({wrong.name})."


def _protection(report: Report) -> str:
    safe, last = report.protection, report.position
    if safe.position == 0:
        return "Nothing is protected: no checkpoint outside the log vouches for it." if last else "The log is empty."
    protected = f"Positions 1 to {safe.position:,} (until {safe.until}) are protected by {safe.name}"
    return f"{protected}; {safe.position + 1:,} to {last:,} are not yet." if safe.position < last else f"{protected}."


def _remedies(report: Report) -> Iterator[str]:
    """Say what to do."""
    failed = {check.name.partition(" ")[0] for check in report.failed}
    if not failed:
        return
    yield "What to do: leave all files as they are, and put copies of them aside as evidence."
    if failed <= {"snapshot", "file", "head", "times"}:
        yield (
            f"The events themselves are sound. Make a log of them anew: stationkeeper export {report.log.name} FILE, "
            f"then stationkeeper import FILE NEW-LOG."
        )
    elif failed <= {"checkpoint", "keys"} and report.first_wrong is None:
        yield "See whether the right checkpoint and the right key were taken; name them with --checkpoint and --key."
    else:
        yield f"Then bring back the right file, or a backup: stationkeeper restore BACKUP {report.log.name}."


def _as_json(report: Report) -> dict[str, Any]:
    wrong = report.first_wrong
    return {
        "log": str(report.log),
        "logId": report.log_id,
        "position": report.position,
        "sound": report.sound,
        "replayed": report.replayed,
        "firstWrong": None
        if wrong is None
        else {"position": wrong.position, "atMost": wrong.at_most or wrong.position},
        "protectedUntil": report.protection.position,
        "protectedBy": report.protection.name or None,
        "checks": [
            {
                "check": check.name,
                "state": check.state,
                "position": check.position,
                "atMost": check.at_most,
                "detail": check.detail,
            }
            for check in report.checks
        ],
        "oddities": [{"reason": odd.reason, "count": odd.count, "positions": odd.positions} for odd in report.oddities],
    }

"""What a trial has come to, for people: a summary while it runs, and the verdict at its end."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .fleet import in_words
from .trial import Killing, Trial

RIGHT, WRONG = "[green]✓[/]", "[bold red]✗[/]"
SHOWN = 5
"""Findings against a truth that are shown; the rest are counted."""

SENTENCES = {
    "flags": "every flag is what its station sees",
    "positions": "the log's positions have no gap",
    "opened": "each 101 has one connection.opened",
    "signatures": "every webhook is signed and unchanged",
    "order": "versions rise one by one, per station",
    "reading": "no GET is older than a webhook",
    "offline": "no station is called offline while it answers",
    "restart": "nor for the daemon's own death, if it is back in time",
    "answers": "the API answers whenever the daemon runs",
    "handshakes": "nobody is let in or locked out wrongly",
}
"""Each truth of `verdict`, as it is said while it holds."""


def interim(console: Console, trial: Trial, seconds: float) -> None:
    """Print what happened so far, and which truths hold."""
    minutes, rest = divmod(int(seconds), 60)
    console.rule(f"{minutes:02d}:{rest:02d}", align="left")
    grid = Table.grid(padding=(0, 2))
    for name, text in _rows(trial):
        grid.add_row(name, text)
    console.print(grid)
    _print_findings(console, trial)


def _rows(trial: Trial) -> Iterator[tuple[str, str]]:
    fleet, told, kinds, flags = trial.fleet.count(), trial.receiver.told, trial.judge.kinds, trial.flags
    stations = f"{fleet.connected} of {fleet.stations} connected, as they see it; {fleet.dials} dials: "
    stations += f"{fleet.admitted} let in, refused {in_words(fleet.refused)}, {fleet.unanswered} unanswered"
    yield "stations", stations
    opened, closed = kinds.get("connection.opened", 0), kinds.get("connection.closed", 0)
    silent = kinds.get("connection.ping_timed_out", 0)
    yield "log", f"{trial.judge.position} events; {opened} opened, {closed} closed, {silent} found silent"
    again, faults = told.trouble["duplicate"], in_words(told.faults)
    yield "webhooks", f"{len(told.receipts) + again} received, {again} of them again; failed on purpose: {faults}"
    yield "flags", f"{flags.right} right, {flags.settling} settling, {flags.held} held, {len(flags.wrong)} wrong"
    yield "truths", "  ".join(f"{WRONG if found else RIGHT} {truth}" for truth, found in _findings(trial))


def killed(console: Console, killing: Killing) -> None:
    """Print what killing the daemon looked like."""
    console.print(
        f"It was ready again after {killing.down:.1f} s. Of {killing.online_before} stations that were shown online, "
        f"{killing.online_after} still are: the daemon's death is not the stations' outage, unless they stay away for "
        "longer than the grace."
    )


def final(console: Console, trial: Trial, *, unrest: list[str], exit_code: int) -> bool:
    """Print the verdict; True if every truth held and the daemon stopped in order.

    *unrest* is what was not at rest before it stopped.
    """
    console.rule("verdict", align="left")
    for truth, found in _findings(trial):
        console.print(f"{WRONG if found else RIGHT} {SENTENCES[truth]}")
    stopped = exit_code == 0
    console.print(f"{WRONG if unrest else RIGHT} at rest, sockets, flags and webhooks say the same")
    console.print(f"{RIGHT if stopped else WRONG} the daemon stopped in order (exit code {exit_code})")
    _print_findings(console, trial)
    _print_some(console, "at rest", unrest)
    held = trial.judge.held and not unrest and stopped
    console.print("[bold green]Every truth held.[/]" if held else "[bold red]A truth was violated.[/]")
    return held


def _findings(trial: Trial) -> Iterator[tuple[str, list[str]]]:
    yield from trial.judge.broken.items()


def _print_findings(console: Console, trial: Trial) -> None:
    for truth, found in _findings(trial):
        _print_some(console, truth, found)


def _print_some(console: Console, what: str, found: list[str]) -> None:
    for line in found[:SHOWN]:
        console.print(f"  {WRONG} {what}: {escape(line)}")
    if len(found) > SHOWN:
        console.print(f"  {WRONG} {what}: and {len(found) - SHOWN} more")

"""What exports and restores logs in a process that dies: histories for `test_dying.py`, each in a folder of `past`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from copybook import append, make, some, writing
from faulted import History, Say, arm, serve
from faulting import Fault

from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.exporting import export
from stationkeeper.engine.copies.restoring import restore

HERE, THERE, TEXT = "fleet.db", "copy.db", "text"


def past(folder: Path, fault: Fault, say: Say) -> None:
    """Make a log with a past, a backup and an export of it; let the log go on, and crash."""
    make(folder / HERE, 8)
    back_up(folder / HERE, folder / THERE, with_secrets=True)
    export(folder / HERE, folder / TEXT)
    with writing(folder / HERE) as (log, _, ledger):
        append(log, ledger, some(9, 3))
        append(log, ledger, some(12, 1), protect=False)
        os._exit(0)


def exporting(folder: Path, fault: Fault, say: Say) -> None:
    arm(folder, fault)
    export(folder / HERE, folder / "new")
    say("done")


def restoring(folder: Path, fault: Fault, say: Say) -> None:
    arm(folder, fault)
    restore(folder / THERE, folder / HERE)
    say("done")


def restoring_an_export(folder: Path, fault: Fault, say: Say) -> None:
    arm(folder, fault)
    restore(folder / TEXT, folder / HERE)
    say("done")


def restoring_here(folder: Path, fault: Fault, say: Say) -> None:
    arm(folder, fault)
    restore(folder / HERE, folder / HERE)
    say("done")


HISTORIES: tuple[Callable[[Path, Fault, Say], None], ...] = (
    past,
    exporting,
    restoring,
    restoring_an_export,
    restoring_here,
)

if __name__ == "__main__":
    named: dict[str, History] = {history.__name__: history for history in HISTORIES}
    serve(named)

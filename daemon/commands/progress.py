"""How far the reading of a log is, shown where somebody watches and it takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from ...engine.entry import Recorded

LONG: Final = 100_000
"""Events from which a reading takes long enough to show how far it is."""
_STEP: Final = 10_000
"""Positions between two looks at the bar: a look takes as long as some events."""


def with_progress(events: Iterable[Recorded], doing: str, *, until: int) -> Iterator[Recorded]:
    """Yield the events of a log up to a position, and show on standard error how far that is."""
    if until < LONG or not sys.stderr.isatty():
        yield from events
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task, shown = bar.add_task(doing, total=until), 0
        for recorded in events:
            # Not at round positions: where only some events are read, none may stand there.
            if recorded.position - shown >= _STEP:
                shown = recorded.position
                bar.update(task, completed=shown)
            yield recorded

"""One transport under the suite: an engine on a real log, an echo, and the fuzzing client dialling in case by case."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import STDOUT
from typing import Final

import trio
from attrs import frozen

from stationkeeper.engine import EngineSettings, Liveness, open_engine, read_log
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened

from .python2 import HOME, environment
from .transports import Transport
from .verdicts import Verdict, read_verdicts

KEPT: Final = HOME
"""Where reports are kept, a folder for each transport."""
BASIC: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")
DEFLATE: Final = ("12.*", "13.*")
BRIEF: Final = (
    "12.1.3",
    "12.1.8",
    "12.1.11",
    "12.2.3",
    "12.3.3",
    "12.4.3",
    "12.5.3",
    *(f"13.{n}.{n}" for n in range(1, 8)),
)
_UNWATCHED: Final = EngineSettings(liveness=Liveness(ping_interval=0, ping_timeout=0, silence=0))
"""No pings of ours: the suite counts every frame that comes back."""
_NEVER: Final = ("internal_error", "superseded", "slow_reader", "stalled_frame", "overrun", "message_too_big")
"""Causes that no case of the suite gives reason for."""


@frozen(kw_only=True)
class Trial:
    """What came of one transport."""

    transport: Transport
    verdicts: Mapping[str, Verdict]
    story: str
    """What the log holds of the suite's connections."""
    faults: Sequence[str]
    """What the log or our own messages say that must not be."""
    seconds: float


class _Records(logging.Handler):
    """Keeps what our own code logs at warning or above: under the suite that is nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def attempt(client: Path, transport: Transport, cases: Sequence[str]) -> Trial:
    """Run the cases against a transport, one after the other."""
    records = _Records()
    logging.getLogger("stationkeeper").addHandler(records)
    try:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "autobahn.db"
            seconds = trio.run(_run, client, transport, cases, log)
            story, faults = _read_story(log)
    finally:
        logging.getLogger("stationkeeper").removeHandler(records)
    verdicts = read_verdicts(KEPT / transport.name)
    if not verdicts:
        faults.append("no case was run")
    return Trial(transport=transport, verdicts=verdicts, story=story, faults=[*faults, *records.lines], seconds=seconds)


async def _run(client: Path, transport: Transport, cases: Sequence[str], log: Path) -> float:
    report = KEPT / transport.name
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    began = trio.current_time()
    async with open_engine(log, transports=[transport.make()], settings=_UNWATCHED) as engine:
        specification = {
            "outdir": str(report),
            "servers": [{"agent": transport.name, "url": f"{engine.urls[0]}/autobahn", "protocols": ["ocpp1.6"]}],
            "cases": list(cases),
        }
        file = report / "fuzzingclient.json"
        file.write_text(json.dumps(specification, indent=4))
        with (report / "said.txt").open("wb") as said:
            await trio.run_process(
                [client, "--mode", "fuzzingclient", "--spec", file],
                env=environment(),
                stdout=said,
                stderr=STDOUT,
                check=False,
            )
    return trio.current_time() - began


def _read_story(log: Path) -> tuple[str, list[str]]:
    """Return what the log holds, in words, and what in it must not be: one story for every connection (truth 13)."""
    opened, closed, causes = Counter[str](), Counter[str](), Counter[str]()
    for event in map(decode, read_log(log)):
        if isinstance(event, ConnectionOpened):
            opened[event.connection] += 1
        elif isinstance(event, ConnectionClosed):
            closed[event.connection] += 1
            causes[event.cause] += 1
    faults = [
        f"{connection} was opened {opened[connection]} times and closed {closed[connection]} times"
        for connection in opened | closed
        if (opened[connection], closed[connection]) != (1, 1)
    ]
    faults += [f"connections ended by {cause}: {causes[cause]}" for cause in _NEVER if causes[cause]]
    ends = ", ".join(f"{number} {cause}" for cause, number in causes.most_common())
    return f"{opened.total()} connections, ended by {ends}", faults

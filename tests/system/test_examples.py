"""The library examples of the contract run as they are written there, but for a free port and the time of day."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import trio

from stationkeeper.daemon.simulation.gateway import free_port
from stationkeeper.daemon.simulation.line import Caller, Line, dial
from stationkeeper.daemon.simulation.waiting import until

EMBED = """
import trio
from stationkeeper.engine import open_engine
from stationkeeper.projections import presence, outbox
from stationkeeper.transports import AnyStation, WebhookSender, WebSocketStations

async def main() -> None:
    stations = WebSocketStations("127.0.0.1:9000", admit=AnyStation())   # or your own: id, credentials -> station | refusal
    async with open_engine("fleet.db", transports=[stations, WebhookSender()], projections=[presence, outbox]) as engine:
        async with engine.changes(presence) as changes:                  # bounded: one that falls behind is told the position to read on from
            async for change in changes:
                print(change.station, "online" if change.now.online else "offline")

trio.run(main)
"""  # noqa: E501

AUDIT = """
from stationkeeper.engine import fold, read_log
from stationkeeper.projections import presence

fleet = fold(presence, read_log("fleet.db", until="2026-11-22T09:00:00Z"))
print(fleet["CP-7"].online)
"""


class Script:
    """A Python script in a process of its own, and what it prints."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.printed = ""

    async def listen(self) -> None:
        """Note what it prints until it ends; it does not outlive the test."""
        assert self.process.stdout is not None
        try:
            async with self.process.stdout:
                async for data in self.process.stdout:
                    self.printed += data.decode()
        finally:
            self.process.kill()
            with trio.CancelScope(shield=True):
                await self.process.wait()

    async def says(self, line: str) -> None:
        await until(lambda: line in self.printed.splitlines(), within=30, what=f"the example prints {line!r}")


def obey_interrupts() -> None:
    """Let a child be interrupted where whoever runs the tests ignores that; children would inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def start(code: str, folder: Path, nursery: trio.Nursery) -> Script:
    command = [sys.executable, "-u", "-W", "error", "-c", code]
    process = await trio.lowlevel.open_process(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
        preexec_fn=obey_interrupts,
    )  # fmt: skip
    script = Script(process)
    nursery.start_soon(script.listen)
    return script


async def dial_once_it_listens(url: str) -> Line:
    lines: list[Line] = []

    async def answered() -> bool:
        answer = await dial(url, Caller(station="CP-7"))
        if isinstance(answer, Line):
            lines.append(answer)
        return bool(lines)

    await until(answered, within=30, what="the example listens")
    return lines[0]


async def test_embedding_and_auditing_as_the_contract_writes_them(tmp_path: Path) -> None:
    port = free_port()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            embed = await start(EMBED.replace("9000", str(port)), tmp_path, nursery)
            line = await dial_once_it_listens(f"ws://127.0.0.1:{port}/ocpp")
            await embed.says("CP-7 online")
            beside = await start(AUDIT.replace("2026-11-22T09:00:00Z", "2999-01-01"), tmp_path, nursery)
            await beside.says("True")
            await line.hang_up()
            await embed.says("CP-7 offline")
            embed.process.send_signal(signal.SIGINT)
            await embed.process.wait()

            after = await start(AUDIT.replace("2026-11-22T09:00:00Z", "2999-01-01"), tmp_path, nursery)
            await after.says("False")
            await before_all(tmp_path, nursery)


async def before_all(folder: Path, nursery: trio.Nursery) -> None:
    """As of a time before the log began, no station is known."""
    script = await start(AUDIT.replace("2026", "1999"), folder, nursery)
    await script.process.wait()
    await until(lambda: "KeyError: 'CP-7'" in script.printed, within=10, what="an unknown station is a KeyError")

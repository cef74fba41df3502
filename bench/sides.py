"""The servers that are measured side by side, each a process of its own: ours, and what one would use instead."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from attrs import frozen
from crowd import Crowd
from fleet import LOG, PASSWORD, registered
from machine import keep_to_core, many_sockets

from stationkeeper import transports

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv/bench"
"""Where packages of npm are installed."""
SERVER_CORE, CLIENT_CORE = 0, 1


@frozen
class Side:
    """One way to hold stations."""

    name: str
    command: tuple[str, ...]
    """Without the password, or the log, which comes next, and further arguments."""
    ours: bool = False
    npm: bool = False
    pinging: str = "--ping"
    """How it is told the interval of its pings; nothing: by position."""
    needs: str = ""
    """What `stationkeeper.transports` must have."""

    def missing(self) -> str | None:
        """Return why it cannot be measured here; none if it can."""
        if self.npm and not npm_packages():
            return f"{self.name} is left out: its packages cannot be installed here (they need node and npm)"
        if self.needs and not hasattr(transports, self.needs):
            return f"{self.name} is left out: there is no {self.needs}"
        return None


PYTHON = sys.executable
DENSE = Side("dense", (PYTHON, str(HERE / "our_server.py")), ours=True, needs="DenseStations")
HARDENED = Side("trio-websocket", (*DENSE.command, "--transport", "trio-websocket"), ours=True)
PLAIN = Side("bare trio-websocket", (PYTHON, str(HERE / "plain_server.py")))
OCPP = Side("ocpp on websockets", (PYTHON, str(HERE / "peers/ocpp_server.py")))
OCPP_RPC = Side("npm ocpp-rpc", ("node", str(PEERS / "ocpp_rpc_server.js")), npm=True, pinging="")
NODE_WS = Side("npm ws", ("node", str(PEERS / "ws_server.js")), npm=True, pinging="")
ALL = (DENSE, HARDENED, OCPP, PLAIN, OCPP_RPC, NODE_WS)


def present(*sides: Side) -> list[Side]:
    """Return those that can be measured here, and say of the others why they cannot."""
    for side in sides:
        if (why := side.missing()) is not None:
            print(why, file=sys.stderr)
    return [side for side in sides if side.missing() is None]


@cache
def npm_packages() -> bool:
    """Install npm's packages beside copies of the servers that need them; return whether they are there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    PEERS.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "ws_server.js", "ocpp_rpc_server.js"):
        shutil.copy(HERE / "peers" / file, PEERS)
    install = ("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
    return subprocess.run(install, cwd=PEERS, stdout=sys.stderr, check=False).returncode == 0


@frozen
class Server:
    """A server in a process of its own."""

    pid: int
    port: int

    def crowd(self) -> Crowd:
        return Crowd(("127.0.0.1", self.port), PASSWORD)


class Grounds:
    """Where servers run: a folder with the logs of ours, swept at the end."""

    def __init__(self, folder: Path, stations: int, *, pinned: bool) -> None:
        self._folder = folder
        self._stations = stations
        self._pinned = pinned

    def log(self) -> Path:
        """Return a new folder with a log (`fleet.LOG`) in which the stations are registered."""
        return registered(self._folder, self._stations)

    @contextmanager
    def serving(self, side: Side, *, ping: float = 0.0, more: tuple[str, ...] = ()) -> Iterator[Server]:
        """Run a server until the block ends. It prints its port, and ends with its standard input."""
        home = self.log() if side.ours else self._folder
        words = [*side.command, LOG if side.ours else PASSWORD, *more]
        words += ([side.pinging] if side.pinging else []) + [str(ping)] if ping else []
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home) as process:
            if self._pinned:
                keep_to_core(SERVER_CORE, process.pid)
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Server(process.pid, int(process.stdout.readline()))
            finally:
                process.stdin.close()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
        if side.ours:
            shutil.rmtree(home)


@contextmanager
def grounds(stations: int, *, pinned: bool = True) -> Iterator[Grounds]:
    """Prepare for servers that know so many stations. If pinned, this process, the clients', and they keep apart."""
    many_sockets()
    if pinned:
        keep_to_core(CLIENT_CORE)
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder:
        yield Grounds(Path(folder), stations, pinned=pinned)

"""The real daemon as a child process, on one log and the same ports over all its lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import trio
from attrs import frozen

from .api import Api, Unanswered
from .waiting import NeverCame, until

READY_WITHIN = 30.0
"""Seconds from the start of the process until it must be ready."""
NAME = "stationkeeper-demo"
"""What a gateway on trial calls itself, in each event of its runs. By it the demo knows a log of its own."""
STOPPED_WITHIN = 40.0
"""Seconds until a gateway that was asked to stop must be gone: its own shutdown timeout, and some."""
OURS = "STATIONKEEPER_"
"""What the names of our environment variables begin with. A gateway on trial does as its file says, whatever is set."""


@frozen(kw_only=True)
class Terms:
    """What a gateway that is on trial is told: all is short, so that things happen while one watches."""

    ping_interval: float = 2.0
    ping_timeout: float = 2.0
    grace: float = 10.0
    webhook_timeout: float = 1.0
    retry: tuple[float, ...] = (0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)

    @property
    def silence_bound(self) -> float:
        """Seconds within which silence is found (semantics 5), but for lag."""
        return self.ping_interval + self.ping_timeout + 1.0


class GatewayFailed(Exception):
    """The daemon ended, or never was ready; the message ends with its last words."""


class Gateway:
    """The daemon on a log: to be started, killed, and started again."""

    def __init__(self, log: Path, terms: Terms, *, stations_port: int, http_port: int) -> None:
        self.log = log
        self.config = log.with_name(log.name + ".toml")
        """The configuration, written before the first start."""
        self.output = log.with_name(log.name + ".output")
        """What the daemon says."""
        self.stations_url = f"ws://127.0.0.1:{stations_port}/ocpp"
        self.api = Api(f"http://127.0.0.1:{http_port}")
        self.process: trio.Process | None = None
        self.config.write_text(_configuration(log, terms, stations_port, http_port))
        self.output.write_bytes(b"")

    async def start(self) -> None:
        """Start the daemon, and return once it is ready.

        Raises:
            GatewayFailed: it ended instead, or was not ready in time.
        """
        await self.launch()
        try:
            await until(self._ready_or_gone, within=READY_WITHIN, what="the gateway becomes ready")
        except NeverCame as error:
            await self.kill()
            raise self._failed(str(error)) from None
        if self.process is not None and self.process.returncode is not None:
            raise self._failed(f"the gateway ended with code {self.process.returncode}")

    async def launch(self) -> None:
        """Start the daemon, and do not wait until it is ready."""
        command = [sys.executable, "-m", "stationkeeper", "serve", "--config", str(self.config)]
        with self.output.open("ab") as output:
            # A process group of its own: Ctrl-C in the terminal is for us, and we then stop it in order.
            self.process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                env={name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            )

    async def kill(self) -> None:
        """Kill the daemon where it stands: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> int:
        """Ask the daemon to stop in order: SIGTERM. Returns its exit code; one that hangs is killed (-9)."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOPPED_WITHIN, shield=True) as patience:
                await self.process.wait()
            if patience.cancelled_caught:
                await self.kill()
        return self.process.returncode or 0

    def last_words(self, lines: int = 20) -> str:
        """Return the end of what the daemon said."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    async def _ready_or_gone(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            return True
        try:
            return (await self.api.ask("GET", "/readyz")).status == 200
        except Unanswered:
            return False

    def _failed(self, what: str) -> GatewayFailed:
        return GatewayFailed(f"{what}; its last words:\n{self.last_words()}")


def free_port(preferred: int = 0) -> int:
    """Return a TCP port on loopback that nobody listens on: the preferred one, or else any."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free TCP port on 127.0.0.1")


def _configuration(log: Path, terms: Terms, stations_port: int, http_port: int) -> str:
    retry = ", ".join(f'"{delay:g}s"' for delay in terms.retry)
    return f"""\
# Written by Stationkeeper for a trial: everything is short, so that things happen while one watches.
[log]
url = {json.dumps(str(log))}
[stations]
listen = "127.0.0.1:{stations_port}"
[liveness]
ping_interval = "{terms.ping_interval:g}s"
ping_timeout = "{terms.ping_timeout:g}s"
reconnect_grace = "{terms.grace:g}s"
[webhooks]
timeout = "{terms.webhook_timeout:g}s"
retry = [{retry}]
allow_private_networks = true
allow_http = true
[http]
listen = "127.0.0.1:{http_port}"
token_file = {json.dumps(f"{log}.tokens")}
[gateway]
name = "{NAME}"
"""

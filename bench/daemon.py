"""The real daemon as a process, with a real configuration and log, to be restarted under load."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fleet import LOG

WITHIN = 60.0
"""Seconds for a start or a stop."""


class Daemon:
    """`stationkeeper serve` in a folder that holds its log. Used as a context, it is started and stopped."""

    def __init__(self, home: Path, *, transport: str, webhook: int | None = None) -> None:
        self.home = home
        self.log = home / LOG
        self.stations, self.http = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (home / "stationkeeper.toml").write_text(
            f'[log]\nurl = "{LOG}"\n'
            f'[stations]\nlisten = "127.0.0.1:{self.stations}"\ntransport = "{transport}"\n'
            f'[http]\nlisten = "127.0.0.1:{self.http}"\n'
            "[webhooks]\nallow_http = true\nallow_private_networks = true\n"
            + (
                f'[[webhook]]\nname = "bench"\nurl = "http://127.0.0.1:{webhook}/"\nsecret_file = "bench.secret"\n'
                if webhook is not None
                else ""
            )
        )

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop(signal.SIGKILL if error is not None else signal.SIGTERM)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready. What it says goes to a file beside its log."""
        with (self.home / "serve.out").open("ab") as says:
            command = [sys.executable, "-m", "stationkeeper", "serve"]
            self._process = subprocess.Popen(command, cwd=self.home, stdout=says, stderr=says)
        end = time.monotonic() + WITHIN
        while self.get("/readyz") is None:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the daemon did not start:\n{(self.home / 'serve.out').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, by: int) -> float:
        """Send a signal, and return how many seconds it took to end."""
        assert self._process is not None
        began = time.monotonic()
        os.kill(self._process.pid, by)
        self._process.wait(WITHIN)
        self._process = None
        return time.monotonic() - began

    def get(self, path: str) -> str | None:
        """Return what the API answers; none if it is not there, or not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
                text: bytes = answer.read()
                return text.decode()
        except (urllib.error.URLError, ConnectionError):
            return None

    def metrics(self) -> dict[str, float]:
        """Return its numbers, by name and labels, without our prefix."""
        found: dict[str, float] = {}
        for line in (self.get("/metrics") or "").splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name.removeprefix("stationkeeper_")] = float(value)
        return found


_PORTS = itertools.count(21_000 + os.getpid() % 5_000)
"""Below those that the kernel gives to whoever dials out."""


def free_port() -> int:
    """Return a port that nobody listens on, another one each time."""
    for port in _PORTS:
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", port))
            return port
    raise AssertionError  # they do not end

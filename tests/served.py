"""The daemon as a process, for tests: started in a folder of its own, asked, dialled, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stationkeeper.engine.log.reading import read_log

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a process may take for what takes it a fraction of one."""


class Served:
    """A daemon in a process of its own, and what it says."""

    def __init__(self, folder: Path, *flags: str, environ: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "stationkeeper", "serve", "--log", "x.db"]
        command += ["--stations", "127.0.0.1:0", "--http", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, text=True, env={**plain_environment(), **(environ or {})}
        )
        self.said: list[dict[str, Any]] = []
        self._ears = threading.Thread(target=self._listen, daemon=True)
        self._ears.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(json.loads(line) if line.startswith("{") else {"event": line.strip()})

    def line(self, event: str) -> dict[str, Any]:
        """Wait until the daemon says something, and return it."""

        def found() -> dict[str, Any]:
            alive = self._ears.is_alive()
            said: dict[str, Any] = next((line for line in self.said if line["event"] == event), {})
            assert said or alive, f"it ended, and said {self.said}"
            return said

        return until(found, f"it says {event!r}")

    def ready(self) -> dict[str, Any]:
        """Wait until it is ready, and return what it says then."""
        return self.line("ready")

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the API."""
        try:
            with urllib.request.urlopen(self.ready()["http"] + path, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def dial(self, id: str, password: bytes | None = None, **more: Any) -> ClientConnection:
        """Connect as a station does."""
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + b64encode(id.encode() + b":" + password).decode()
        url = f"{self.ready()['stations'][0]}/{id}"
        station: ClientConnection = connect(
            url, subprotocols=[Subprotocol("ocpp1.6")], additional_headers=headers, **more
        )
        return station

    def wait(self) -> int:
        """Return the exit code, once the process has ended and all that it said is here."""
        code = self.process.wait(PATIENCE)
        self._ears.join(PATIENCE)
        return code

    def stop(self) -> int:
        """Stop it in order, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


def plain_environment() -> dict[str, str]:
    """Return the environment without what would set something of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STATIONKEEPER_")}


def until(found: Callable[[], T], what: str) -> T:
    """Wait for something, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, f"waited {PATIENCE} s until {what}"
        time.sleep(0.02)
    return value


@contextmanager
def serving(folder: Path, *flags: str, **more: Any) -> Iterator[Served]:
    """Run a daemon in a folder for as long as the block lasts; then it is killed, if it has not ended."""
    served = Served(folder, *flags, **more)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.wait()


def kinds(folder: Path) -> list[str]:
    """Return the kinds of all events of the log, in order."""
    return [recorded.kind for recorded in read_log(folder / "x.db")]


def register(folder: Path, id: str) -> str:
    """Register a station in a log that nobody serves, and return its password."""
    command = [sys.executable, "-m", "stationkeeper", "station", "add", id, "--generate", "--log", "x.db"]
    done = subprocess.run(
        [*command, "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=plain_environment(),
    )
    return str(json.loads(done.stdout)["password"])

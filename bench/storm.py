"""A storm: a fleet comes back after a restart of the real daemon. How long, how quick a handshake, and is the log true?

The daemon, with its configuration, API, webhook and log, is ended by SIGTERM or SIGKILL and started again. The stations
come back as OCPP 2.x has it, at random within 1 s to 10 s and with doubled waits after failures; and once all in one
moment, which is what a switch or a balancer does. Afterwards the log is read: every station must have been opened
again, and nothing else may have happened: no flip, no ping timeout, no message to the webhook.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from attrs import frozen
from machine import percentile
from result import Curve, Result, report
from sides import DENSE, HARDENED, Side, grounds, present

from daemon import Daemon
from stationkeeper.engine import fold, read_log
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.projections import presence

PART = "storm"
QUICK = "--quick" in sys.argv
STATIONS = 3_000 if QUICK else 15_000
BACK_WITHIN = 60.0
HERE = Path(__file__).parent
AFTERWARDS = 3.0
"""Seconds after everybody is back in which something false might still come."""


@frozen
class Storm:
    """How a storm is made."""

    name: str
    ends_by: int
    mode: str


STORMS = (
    Storm("SIGTERM, back-off", signal.SIGTERM, "back-off"),
    Storm("SIGKILL, back-off", signal.SIGKILL, "back-off"),
    Storm("SIGTERM, all at once", signal.SIGTERM, "go"),
)


class Fleet:
    """The stations, in a process of their own (`returning`)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, word: str) -> dict[str, Any]:
        """Say a word to it, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fleet's process ended; it says above why")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def fleet(port: int) -> Iterator[Fleet]:
    command = [sys.executable, str(HERE / "returning.py"), str(port), str(STATIONS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Fleet(process)
        finally:
            process.kill()


@contextmanager
def receiver() -> Iterator[int]:
    """Run a webhook receiver, and yield its port."""
    command = [sys.executable, str(HERE / "receiver.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


class Probe:
    """Asks the daemon again and again whether it is alive, from a thread: as late as its loop is, so is its answer."""

    def __init__(self, daemon: Daemon) -> None:
        self._line = HTTPConnection("127.0.0.1", daemon.http, timeout=BACK_WITHIN)
        self._over = threading.Event()
        self._answers: list[float] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> list[float]:
        """Return the seconds that each answer took."""
        self._over.set()
        self._thread.join()
        self._line.close()
        return self._answers

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            self._line.request("GET", "/healthz")
            self._line.getresponse().read()
            self._answers.append(time.monotonic() - began)


@frozen
class Outcome:
    """What a storm was like."""

    ended: float
    """Seconds from the signal to the end of the process."""
    started: float
    """Seconds from there until it was ready."""
    back: float
    """Seconds from there until the last station was online, and durably so."""
    handshakes: list[float]
    """Seconds from dialling to 101, of each that came to that."""
    failures: dict[str, int]
    lag: float
    """Seconds: how late the daemon's event loop was at worst, as it says itself (`stationkeeper_loop_lag_seconds`)."""
    answers: list[float]
    """Seconds until its API, on the same event loop, said that it is alive; each answer is some turns of the loop."""
    curve: list[tuple[float, float]]
    """Stations online by seconds since the daemon was ready."""
    events: Counter[str]
    """What the log says happened since the signal."""
    flips: int
    pending: float
    """Messages that are owed to the webhook."""


def weather(daemon: Daemon, stations: Fleet, storm: Storm) -> Outcome:
    """Restart the daemon under its fleet, and say what came of it."""
    stations.say("hold" if storm.mode == "go" else storm.mode)
    stations.say("tell")
    before = int(daemon.metrics()["log_position"])
    ended = daemon.stop(storm.ends_by)
    began = time.monotonic()
    daemon.start()
    ready = time.monotonic()
    if storm.mode == "go":
        stations.say("go")
    handshakes: list[tuple[float, float, int]] = []
    failures: Counter[str] = Counter()
    probe = Probe(daemon)
    lag, back = 0.0, ready
    while time.monotonic() < ready + BACK_WITHIN:
        told = stations.say("tell")
        handshakes += told["handshakes"]
        failures.update(told["failures"])
        lag = max(lag, daemon.metrics()["loop_lag_seconds"])
        if told["open"] == STATIONS:
            back = max(opened for _, opened, _ in handshakes)
            break
        time.sleep(0.5)
    time.sleep(AFTERWARDS)
    answers = probe.end()
    lag = max(lag, daemon.metrics()["loop_lag_seconds"])
    opened = sorted(at - ready for _, at, _ in handshakes)
    curve = [(at, float(number)) for number, at in enumerate(opened, 1) if number % (STATIONS // 50) == 0]
    return Outcome(
        ended=ended,
        started=ready - began,
        back=back - ready,
        handshakes=[opened - dialled for dialled, opened, _ in handshakes],
        failures=dict(failures),
        lag=lag,
        answers=answers,
        curve=[(0.0, 0.0), *curve],
        events=Counter(map(what_happened, read_log(daemon.log, after=before))),
        flips=sum(station.version - 1 for station in fold(presence, read_log(daemon.log)).values()),
        pending=sum(value for name, value in daemon.metrics().items() if "messages_pending" in name),
    )


EXPLAINED = ("connection.opened", "connection.closed (shutdown)", "gateway.started", "gateway.stopped", "gateway.lost")
"""What a restart explains; anything else is false."""


def what_happened(recorded: Recorded) -> str:
    event = decode(recorded)
    return f"{recorded.kind} ({event.cause})" if isinstance(event, ConnectionClosed) else recorded.kind


def false_events(events: Counter[str]) -> int:
    return sum(count for kind, count in events.items() if kind not in EXPLAINED)


def results_of(side: Side, storm: Storm, seen: Outcome) -> list[Result]:
    def result(name: str, value: float, unit: str, **more: Any) -> Result:
        return Result(part=PART, name=f"{side.name}; {storm.name}: {name}", value=value, unit=unit, **more)

    p50, p99 = percentile(seen.handshakes, 0.5), percentile(seen.handshakes, 0.99)
    false = false_events(seen.events) + seen.flips + int(seen.pending)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.events.items()))
    failed = ", ".join(f"{count} {what}" for what, count in seen.failures.items()) or "none"
    phases = f"since ready; it stopped in {seen.ended:.1f} s, started in {seen.started:.1f} s"
    quickness = f"half within {p50:.3f} s; failures: {failed}"
    alive = f"99 of 100 within {percentile(seen.answers, 0.99) * 1e3:.0f} ms, of {len(seen.answers):,}"
    bound = 2.0 if storm.mode == "back-off" else None  # all at once, the last waits for all others
    return [
        result("online and durable again", seen.events["connection.opened"], "stations", at_least=STATIONS),
        result("the last is back", seen.back, "s", note=phases),
        result("handshake, 99 of 100 within", p99, "s", at_most=bound, note=quickness),
        result("loop lag at worst", seen.lag * 1e3, "ms", at_most=100, note="as the daemon's metric has it"),
        result("the API says that it is alive, at worst", max(seen.answers) * 1e3, "ms", note=alive),
        result("false events, flips, messages", false, "", at_most=0, note=f"the log says: {kinds}"),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--transport", choices=[DENSE.name, HARDENED.name], default=DENSE.name)
    wanted = options.parse_args().transport
    results: list[Result] = []
    curves: list[Curve] = []
    with grounds(STATIONS, pinned=False) as ground, receiver() as webhook:
        for side in present(*(side for side in (DENSE, HARDENED) if side.name == wanted)):
            daemon = Daemon(ground.log(), transport=side.name, webhook=webhook)
            with daemon, fleet(daemon.stations) as stations:
                stations.say("connect")
                while any(value for name, value in daemon.metrics().items() if "messages_pending" in name):
                    time.sleep(0.2)
                for storm in STORMS[: 1 if QUICK else None]:
                    seen = weather(daemon, stations, storm)
                    results += results_of(side, storm, seen)
                    curves.append(Curve(part=PART, name=f"{side.name}; {storm.name}", points=seen.curve))
    report(results, curves)


if __name__ == "__main__":
    main()

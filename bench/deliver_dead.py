"""What a dead webhook costs the others: one of a hundred never answers, or refuses to be connected to.

A prepared log owes each of 100 webhooks a message of each of 100 stations. What counts is how long it takes until all
that the other 99 are owed is delivered, beside the same with all 100 well; the three take turns in one run.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from deliver import prepare, receiver
from machine import keep_to_core
from result import Result, report

from stationkeeper.engine import EngineSettings, open_engine
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender

PART = "deliver-dead"
QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 7
WEBHOOKS, STATIONS = 100, 100
DEAD = f"webhook-{WEBHOOKS - 1}"
SETTINGS = EngineSettings(shutdown_timeout=0.2)
"""In the end nobody waits for those that never answer."""
ELSEWHERE = "127.0.0.2"


@contextmanager
def silence() -> Iterator[str]:
    """Yield the URL of a receiver to which the kernel connects whoever asks, and which never says anything."""
    with socket.create_server((ELSEWHERE, 0), backlog=4096) as server:
        yield f"http://{ELSEWHERE}:{server.getsockname()[1]}/"


async def drain_others(path: Path) -> tuple[float, float]:
    """Return the seconds, on the wall and of CPU, until all but one webhook were told all that they were owed."""
    sender = WebhookSender(allow_http=True, allow_private_networks=True)
    async with open_engine(path, transports=[sender], projections=[presence, outbox], settings=SETTINGS) as engine:
        began, cpu = time.perf_counter(), time.process_time()
        while any(message.webhook != DEAD for message in engine.state(outbox).pending()):
            await engine.beyond(engine.position)
        return time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    keep_to_core(0)
    found: dict[str, list[tuple[float, float]]] = {}
    with receiver() as well, silence() as silent:
        fates = {"well": well, "never answers": silent, "refuses": f"http://{ELSEWHERE}:9/"}
        for number in range(ROUNDS):
            turns = [*fates.items()]
            for fate, url in (*turns[number % 3 :], *turns[: number % 3]):
                with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
                    path = Path(folder) / "dead.db"
                    trio.run(prepare, path, [*[well] * (WEBHOOKS - 1), url], STATIONS)
                    found.setdefault(fate, []).append(trio.run(drain_others, path))
    results: list[Result] = []
    for fate in ("never answers", "refuses"):
        losses = [100 * (1 - alone[0] / beside[0]) for alone, beside in zip(found["well"], found[fate], strict=True)]
        costs = [100 * (beside[1] / alone[1] - 1) for alone, beside in zip(found["well"], found[fate], strict=True)]
        one = Result.of(PART, f"deliveries a second that 99 lose as one {fate}", losses, unit="%", at_most=5.0)
        results += [one, Result.of(PART, f"CPU that it costs them, as one {fate}", costs, unit="%")]
    rates = [(WEBHOOKS - 1) * STATIONS / wall for wall, _ in found["well"]]
    results.append(Result.of(PART, "delivered, all well", rates, unit="messages/s"))
    report(results)


if __name__ == "__main__":
    main()

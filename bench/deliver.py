"""How fast owed webhooks are delivered, end to end: from the fold, signed, over HTTP on loopback, into the log.

A prepared log owes one message in each of many lanes, as after an outage. A whole engine drains it, every outcome
durable with `synchronous=FULL`; beside it, in the same run, the standard library's `http.client` posts the same bodies
to the same receiver in a plain loop, and records nothing. Rounds of the two alternate.
"""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from machine import spread
from result import Result, report

from stationkeeper.engine import EngineSettings, open_engine
from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import ConnectionOpened, WebhookAdded
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.standard_webhooks import signed_headers

WEBHOOKS = 4
STATIONS = 1_250
MESSAGES = WEBHOOKS * STATIONS
ROUNDS = 5
SECRET = b"0123456789abcdef01234567"


@contextmanager
def receiver() -> Iterator[int]:
    """Run a receiver in a process of its own and yield its port."""
    script = str(Path(__file__).with_name("receiver.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


async def prepare(path: Path, url: str) -> list[bytes]:
    """Write a log that owes a message in every lane, and return their bodies."""
    async with open_engine(path, projections=[presence, outbox], mute=True) as engine:
        engine.secrets.keep("secret", SECRET)
        for number in range(WEBHOOKS):
            await engine.record(WebhookAdded(url=url, secrets=("secret",)), subject=f"webhook-{number}")
        opened = [
            seal(
                ConnectionOpened(
                    connection=f"{engine.run}-{number + 1}", ping_interval=25.0, ping_timeout=20.0, silence=900.0
                ),
                id=f"{engine.run}-{number + 1}:opened",
                at=engine.now(),
                subject=f"CP-{number}",
                gateway=engine.gateway,
                run=engine.run,
            )
            for number in range(STATIONS)
        ]
        await engine.committer.append(opened)
        owed = engine.state(outbox)
        return [owed.body(message) for message in owed.pending()]


async def drain(path: Path) -> tuple[float, float]:
    """Deliver all that a log owes; return the seconds that took, on the wall and of our CPU."""
    sender = WebhookSender(allow_http=True, allow_private_networks=True)
    began, cpu = time.perf_counter(), time.process_time()
    settings = EngineSettings()
    async with open_engine(path, transports=[sender], projections=[presence, outbox], settings=settings) as engine:
        began, cpu = time.perf_counter(), time.process_time()
        while next(iter(engine.state(outbox).pending()), None) is not None:
            await engine.beyond(engine.position)
        took = time.perf_counter() - began, time.process_time() - cpu
        assert engine.deliveries is not None
        assert engine.deliveries.tally["succeeded"] == MESSAGES
    return took


def post(port: int, bodies: list[bytes]) -> tuple[float, float]:
    """Post the bodies one by one on one connection; return the seconds that took, on the wall and of our CPU."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began, cpu = time.perf_counter(), time.process_time()
    for number, body in enumerate(bodies):
        headers = dict(signed_headers([SECRET], f"msg_{number}", int(time.time()), body))
        connection.request("POST", "/", body, headers | {"content-type": "application/json"})
        connection.getresponse().read()
    took = time.perf_counter() - began, time.process_time() - cpu
    connection.close()
    return took


def main() -> None:
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with receiver() as port:
        for number in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
                path = Path(folder) / f"deliver-{number}.db"
                bodies = trio.run(prepare, path, f"http://127.0.0.1:{port}/")
                assert len(bodies) == MESSAGES
                ours.append(trio.run(drain, path))
                theirs.append(post(port, bodies))
    rates = [MESSAGES / wall for wall, _ in ours]
    costs = [1e6 * cpu / MESSAGES for _, cpu in ours]
    ratios = [cpu / plain for (_, cpu), (_, plain) in zip(ours, theirs, strict=True)]
    plain_rate = statistics.median(MESSAGES / wall for wall, _ in theirs)
    sizes = f"{MESSAGES:,} lanes, {WEBHOOKS} webhooks, HTTP on loopback, each outcome durable"
    report(
        [
            Result(
                part="deliver",
                name="delivered, end to end",
                value=statistics.median(rates),
                unit="messages/s",
                note=f"{min(rates):,.0f} to {max(rates):,.0f} in {ROUNDS} rounds; {sizes}",
            ),
            Result(
                part="deliver",
                name="CPU of a delivery",
                value=statistics.median(costs),
                unit="us",
                note=f"{spread(costs)}; attempt, outcome, commit and fold",
            ),
            Result(
                part="deliver",
                name="CPU over a bare http.client loop",
                value=statistics.median(ratios),
                unit="x",
                note=f"{spread(ratios)}; that loop records nothing, and posts {plain_rate:,.0f} messages/s",
            ),
        ]
    )


if __name__ == "__main__":
    main()

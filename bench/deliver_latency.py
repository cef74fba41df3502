"""How soon a webhook is told when nothing else is going on: from the event to the first byte at the receiver.

A station comes online every few milliseconds. Its event is committed (`synchronous=FULL`), folded, derived, signed and
sent over a connection that is kept; the receiver, another process, notes when the request's first bytes arrive.
"""

from __future__ import annotations

import json
import ssl
import sys
import tempfile
import time
from pathlib import Path

import trio
from deliver import certificates, opening, receiver, subscribe
from machine import percentile
from result import Result, report

from stationkeeper.engine import open_engine
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender

PART = "deliver-latency"
QUICK = "--quick" in sys.argv
EVENTS = 200 if QUICK else 1_000
WARM = 20
"""Events before it counts: the connection, caches."""
PAUSE = 0.01


async def begun(path: Path, url: str, authority: Path) -> tuple[list[float], list[float]]:
    """Let stations come online one by one; return when each did, and when that was durable and folded."""
    tls = ssl.create_default_context(cafile=str(authority))
    sender = WebhookSender(allow_http=True, allow_private_networks=True, tls=tls)
    moments: list[float] = []
    durable: list[float] = []
    async with open_engine(path, transports=[sender], projections=[presence, outbox]) as engine:
        await subscribe(engine, [url])
        assert engine.deliveries is not None
        for number in range(WARM + EVENTS):
            moments.append(time.monotonic())
            await engine.committer.append([opening(engine, number)])
            durable.append(time.monotonic())
            while engine.deliveries.tally["succeeded"] <= number:
                await engine.beyond(engine.position)
            await trio.sleep(PAUSE)
    return moments, durable


def waited(name: str, since: list[float], until: list[float], at_most: float | None = None) -> Result:
    waits = [1e3 * (there - here) for here, there in zip(since, until, strict=True)][WARM:]
    note = f"p50 {percentile(waits, 0.5):.2f} ms, worst {max(waits):.1f} ms of {EVENTS:,}; one at a time"
    return Result(part=PART, name=name, value=percentile(waits, 0.99), unit="ms", at_most=at_most, note=note)


def main() -> None:
    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        authority, leaf = certificates(folder)
        for over, certificate in (("HTTP", None), ("HTTPS", leaf)):
            arrivals = folder / f"{over}.json"
            with receiver(certificate, arrivals) as url:
                moments, durable = trio.run(begun, folder / f"{over}.db", url, authority)
            arrived: list[float] = json.loads(arrivals.read_text())
            results.append(waited(f"event to first byte over {over}, p99", moments, arrived, at_most=20.0))
            results.append(waited(f"of that after it was durable, over {over}, p99", durable, arrived))
    report(results)


if __name__ == "__main__":
    main()

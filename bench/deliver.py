"""How fast owed webhooks are delivered, end to end: from the fold, signed, over HTTP and HTTPS, into the log.

A prepared log owes one message in each of 10 000 lanes, as after an outage. A whole engine drains it, every outcome
durable with `synchronous=FULL`, on one core; the receiver has the other one. Beside it, in the same rounds, `httpx`
and `aiohttp` post signed bodies of the same kind to the same receivers, as many at a time as suits them, and record
nothing (`peers/posting.py`).
"""

from __future__ import annotations

import gc
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio
import trustme
from machine import keep_to_core
from result import Result, ratio, report

from stationkeeper.daemon.serve import GC_THRESHOLDS
from stationkeeper.engine import Engine, EngineSettings, open_engine
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import ConnectionOpened, WebhookAdded
from stationkeeper.projections import outbox, presence
from stationkeeper.transports import WebhookSender

PART = "deliver"
HERE = Path(__file__).parent
QUICK = "--quick" in sys.argv
WEBHOOKS = 4
STATIONS = 2_500
MESSAGES = WEBHOOKS * STATIONS
POSTED = 1_000
"""Messages that the libraries post in a round."""
ROUNDS = 1 if QUICK else 5
SECRET = b"0123456789abcdef01234567"
SETTINGS = EngineSettings()
SENDER_CORE, RECEIVER_CORE = 0, 1
LIBRARIES = {"aiohttp": 32, "httpx": 8}
"""How many each has in flight: as many as we have for one host; what httpx spends on a post triples from 8 to 32."""

Spent = tuple[float, float]
"""Seconds on the wall, and of CPU."""


@contextmanager
def receiver(certificate: Path | None = None, arrivals: Path | None = None) -> Iterator[str]:
    """Run a receiver in a process of its own, with TLS if there is a certificate, and yield its URL.

    In the end it writes to *arrivals*, if that is named, when each request came.
    """
    command = [sys.executable, str(HERE / "receiver.py")]
    command += ["--tls", str(certificate)] if certificate else []
    command += ["--arrivals", str(arrivals)] if arrivals else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        keep_to_core(RECEIVER_CORE, process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{int(process.stdout.readline())}/"
        process.stdin.close()


def certificates(folder: Path) -> tuple[Path, Path]:
    """Return files with an authority's certificate, and with a receiver's that hangs from it, and its key."""
    authority = trustme.CA()
    root, leaf = folder / "authority.pem", folder / "receiver.pem"
    authority.cert_pem.write_to_path(str(root))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(leaf))
    return root, leaf


def opening(engine: Engine, number: int) -> Entry:
    """Return the entry of a station that comes online."""
    name = f"{engine.run}-{number + 1}"
    event = ConnectionOpened(connection=name, ping_interval=25.0, ping_timeout=20.0, silence=900.0)
    return seal(
        event,
        id=f"{name}:opened",
        at=engine.now(),
        subject=f"CP-{number}",
        gateway=engine.gateway,
        run=engine.run,
    )


async def subscribe(engine: Engine, urls: Sequence[str]) -> None:
    """Add a webhook for each URL: `webhook-0` and so on."""
    engine.secrets.keep("secret", SECRET)
    for number, url in enumerate(urls):
        await engine.record(WebhookAdded(url=url, secrets=("secret",)), subject=f"webhook-{number}")


async def prepare(path: Path, urls: Sequence[str], stations: int) -> list[bytes]:
    """Write a log that owes each webhook a message of each station, and return their bodies."""
    async with open_engine(path, projections=[presence, outbox], mute=True) as engine:
        await subscribe(engine, urls)
        await engine.committer.append([opening(engine, number) for number in range(stations)])
        owed = engine.state(outbox)
        return [owed.body(message) for message in owed.pending()]


async def drain(path: Path, authority: Path) -> Spent:
    """Deliver all that a log owes; return what that took."""
    tls = ssl.create_default_context(cafile=str(authority))
    sender = WebhookSender(allow_http=True, allow_private_networks=True, tls=tls)
    began, cpu = time.perf_counter(), time.process_time()
    async with open_engine(path, transports=[sender], projections=[presence, outbox], settings=SETTINGS) as engine:
        began, cpu = time.perf_counter(), time.process_time()
        assert engine.deliveries is not None
        while engine.deliveries.tally["succeeded"] < MESSAGES or any(engine.state(outbox).pending()):
            await engine.beyond(engine.position)
        return time.perf_counter() - began, time.process_time() - cpu


def ours(folder: Path, url: str, authority: Path) -> Spent:
    """Return what a message costs us, end to end."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as home:
        path = Path(home) / "deliver.db"
        bodies = trio.run(prepare, path, [url] * WEBHOOKS, STATIONS)
        assert len(bodies) == MESSAGES
        (folder / "bodies.json").write_text(json.dumps([body.decode() for body in bodies[:POSTED]]))
        wall, cpu = trio.run(drain, path, authority)
    return wall / MESSAGES, cpu / MESSAGES


def posted(library: str, folder: Path, url: str, authority: Path) -> Spent:
    """Return what a message costs a loop over a library."""
    words = [str(HERE / "peers/posting.py"), library, url, str(authority), str(folder / "bodies.json")]
    process = subprocess.Popen([sys.executable, *words, str(LIBRARIES[library])], stdout=subprocess.PIPE, text=True)
    keep_to_core(SENDER_CORE, process.pid)
    wall, cpu = json.loads(process.communicate()[0])
    return wall / POSTED, cpu / POSTED


def measured() -> dict[tuple[str, str], list[Spent]]:
    """Return what a message cost in each round, by who sent it and over what."""
    found: dict[tuple[str, str], list[Spent]] = {}
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        authority, leaf = certificates(folder)
        urls = {"HTTP": stack.enter_context(receiver()), "HTTPS": stack.enter_context(receiver(leaf))}
        for _ in range(ROUNDS):
            for over, url in urls.items():
                found.setdefault(("ours", over), []).append(ours(folder, url, authority))
                for library in LIBRARIES:
                    found.setdefault((library, over), []).append(posted(library, folder, url, authority))
    return found


def results(found: dict[tuple[str, str], list[Spent]]) -> Iterator[Result]:
    for over, least in (("HTTP", None), ("HTTPS", 3_500.0)):
        spent = found["ours", over]
        costs = [cpu for _, cpu in spent]
        clock = statistics.median(1 / wall for wall, _ in spent)
        yield Result(
            part=PART,
            name=f"delivered over {over}, end to end",
            value=statistics.median(1 / cost for cost in costs),
            unit="messages/s of CPU",
            at_least=least,
            note=f"by the clock {clock:,.0f}/s, on one core; {MESSAGES:,} lanes, {WEBHOOKS} webhooks",
        )
        yield Result.of(PART, f"CPU of a delivery over {over}", costs, unit="us", scale=1e6)
        for library in LIBRARIES:
            theirs = [cpu for _, cpu in found[library, over]]
            rate = statistics.median(1 / wall for wall, _ in found[library, over])
            yield Result.of(
                PART, f"CPU of a post by {library} over {over}, {rate:,.0f}/s", theirs, unit="us", scale=1e6
            )
            yield ratio(PART, f"CPU of {library}", theirs, f"ours over {over}", costs)
    tls = [cpu for _, cpu in found["ours", "HTTPS"]]
    yield ratio(PART, "CPU over HTTPS", tls, "over HTTP", [cpu for _, cpu in found["ours", "HTTP"]])


def main() -> None:
    keep_to_core(SENDER_CORE)
    gc.set_threshold(*GC_THRESHOLDS)  # as the daemon does
    report([*results(measured())])


if __name__ == "__main__":
    main()

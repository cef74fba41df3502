"""A gateway that delivers is killed with SIGKILL again and again: every receiver is told everything, in order.

The gateway is a process of its own, the receiver a real one on loopback: it refuses, hangs, breaks off, and takes
messages whose answer is lost. KILLS sets how often (5; `make soak`: 200), SEED repeats a run's misfortunes.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from random import Random, randrange
from subprocess import PIPE

import killed_sender
import trio
from receiving import OK, read_request, receiving

from stationkeeper.engine.events import DeliveryParked, DeliverySucceeded
from stationkeeper.engine.log.sqlite import open_log

KILLS = int(os.environ.get("KILLS", 200 if os.environ.get("SOAK") else 5))
STATIONS, FLIPS = 60, 6 + KILLS
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Subscriber:
    """Takes messages, and fails on purpose."""

    def __init__(self, seed: int) -> None:
        self.took: defaultdict[str, list[int]] = defaultdict(list)
        """By station: the versions that came, in order, duplicates too."""
        self._random = Random(seed)

    async def converse(self, stream: trio.abc.Stream) -> None:
        while (request := await read_request(stream)) is not None:
            await trio.sleep(0.03 * self._random.random())
            mishap = self._random.random()
            if mishap < 0.04:
                await stream.send_all(REFUSED)
                continue
            if mishap < 0.05:
                await trio.sleep(1.0)
            if mishap < 0.06:
                return
            station = json.loads(request.body)["data"]
            self.took[station["id"]].append(station["version"])
            if mishap < 0.08:
                return  # taken, and the answer is lost
            await stream.send_all(OK)


async def run_until_killed(path: Path, random: Random, *, kill: bool) -> bool:
    """Run a gateway, and kill it at a random moment; return whether it had delivered everything by then."""
    process = await trio.lowlevel.open_process([sys.executable, killed_sender.__file__, str(path)], stdout=PIPE)
    async with process.stdout:  # type: ignore[union-attr]
        said = b""
        async for some in process.stdout:  # type: ignore[union-attr]
            if kill and not said:
                await trio.sleep(random.uniform(0.0, 0.35))
                process.kill()
            said += some
    await process.wait()
    assert said.startswith(b"begun")
    return b"done" in said


async def test_everything_is_delivered_in_order_however_often_the_sender_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", randrange(10**6)))
    print(f"{KILLS} kills, seed {seed}", flush=True)
    path, random, subscriber = tmp_path / "killed.db", Random(seed), Subscriber(seed)
    async with receiving(subscriber.converse) as receiver:
        await killed_sender.prepare(path, receiver.url, STATIONS, FLIPS)
        finished = [await run_until_killed(path, random, kill=True) for _ in range(KILLS)]
        with trio.fail_after(120):
            assert await run_until_killed(path, random, kill=False)
    assert not all(finished), "it was killed at work"

    for station in (f"CP-{number}" for number in range(STATIONS)):
        versions = subscriber.took[station]
        assert versions == sorted(versions), f"{station} was told out of order"
        assert sorted(set(versions)) == list(range(1, FLIPS + 1)), f"{station} was not told everything"
    log = open_log(path)
    outcomes = [row.kind for row in log.read(kinds={DeliverySucceeded.kind, DeliveryParked.kind})]
    log.close()
    assert outcomes == [DeliverySucceeded.kind] * (STATIONS * FLIPS)

"""Stations that arrive at a set rate, whatever becomes of those before them: the clients of `overload`.

A station dials; once it is let in it leaves, and is done. Who is refused tries again when it was told to
(`Retry-After`, and up to a second more), else after a wait that doubles; who hears nothing for 10 s gives up and tries
again. Each line on standard input is a task in JSON, and is answered with what came of it.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from heapq import heappop, heappush
from typing import Any

from attrs import frozen
from crowd import Callers, Member
from fleet import PASSWORD

PATIENCE = 10.0
"""Seconds until a station gives an attempt up."""
FIRST_WAIT = 1.0
LONGEST_WAIT = 16.0
MOST_SOCKETS = 19_000
BATCH = 20
"""Calls begun at one go, before answers are looked at."""


@frozen
class Task:
    """What to do: so many arrivals a second, or, without a rate, so many calls at any time."""

    prefix: str
    """Of the stations' ids: nobody comes twice."""
    seconds: float
    rate: float = 0.0
    at_once: int = 0
    drain: float = 0.0
    """Seconds for those who are still out when no one arrives any more."""


class Visiting(Callers):
    """Stations that come, are let in, and go."""

    def __init__(self, address: tuple[str, int], task: Task) -> None:
        super().__init__(address, PASSWORD)
        self.task = task
        self.attempts = 0
        self.visits: list[tuple[float, float]] = []
        """When a station arrived, and when it was let in."""
        self.failures: Counter[str] = Counter()
        self._arrived: dict[str, tuple[float, int]] = {}
        """Who is not in yet: when it arrived, and how often it failed."""
        self._due: list[tuple[float, str]] = []
        self._calling: dict[Member, None] = {}
        self._number = 0

    def run(self) -> dict[str, Any]:
        """Do the task, and tell what came of it; times are seconds since it began."""
        began = time.monotonic()
        while (now := time.monotonic()) < began + self.task.seconds:
            wanted = int((now - began) * self.task.rate) if self.task.rate else self._number + self._room()
            self._turn(now, min(wanted - self._number, BATCH))
        until = time.monotonic() + self.task.drain
        while self._arrived and (now := time.monotonic()) < until:
            self._turn(now, 0)
        return {
            "arrived": self._number,
            "attempts": self.attempts,
            "visits": [(arrived - began, opened - began) for arrived, opened in self.visits],
            "out": len(self._arrived),
            "failures": self.failures,
        }

    def leave(self) -> None:
        for member in list(self._members.values()):
            self.hang_up(member)
        self._epoll.close()

    def dialled(self, member: Member) -> None:
        self.attempts += 1
        self._calling[member] = None

    def opened(self, member: Member) -> None:
        del self._calling[member]
        self.visits.append((self._arrived.pop(member.station)[0], time.monotonic()))
        self.hang_up(member)

    def ended(self, member: Member, answer: bytes) -> None:
        del self._calling[member]
        self.failures[answer[:40].partition(b"\r\n")[0].decode("latin-1") or "no answer"] += 1
        arrived, failed = self._arrived[member.station]
        self._arrived[member.station] = (arrived, failed + 1)
        heappush(self._due, (time.monotonic() + _wait(failed, answer), member.station))

    def _turn(self, now: float, newcomers: int) -> None:
        """Let newcomers and those who are due dial, give up who is overdue, and take what comes."""
        for _ in range(newcomers):
            self._number += 1
            station = f"{self.task.prefix}-{self._number}"
            self._arrived[station] = (now, 0)
            heappush(self._due, (now, station))
        for _ in range(2 * BATCH):
            if not self._due or self._due[0][0] > now or len(self._calling) >= MOST_SOCKETS:
                break
            self.dial(heappop(self._due)[1])
        while self._calling and (oldest := next(iter(self._calling))).dialled < now - PATIENCE:
            self.hang_up(oldest)
            self.ended(oldest, b"no answer in time")
        self.attend(0.0 if newcomers > 0 or (self._due and self._due[0][0] <= now) else 0.001)

    def _room(self) -> int:
        return max(self.task.at_once - len(self._arrived), 0)


def _wait(failed: int, answer: bytes) -> float:
    asked = re.search(rb"\r\nretry-after: *(\d+)", answer, re.IGNORECASE)
    if asked is not None:
        return int(asked[1]) + random.random()
    return min(FIRST_WAIT * random.uniform(0.5, 1.5) * float(1 << failed), LONGEST_WAIT)


def main(port: int) -> None:
    for line in sys.stdin:
        visiting = Visiting(("127.0.0.1", port), Task(**json.loads(line)))
        print(json.dumps(visiting.run()), flush=True)
        visiting.leave()


if __name__ == "__main__":
    main(int(sys.argv[1]))

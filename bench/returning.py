"""A fleet that comes back whenever its connections end: the clients of `storm`, in a process of their own.

It takes words on its standard input, and answers each with a line of JSON:

* `connect`: dial everybody, a few at a time, until all are open;
* `back-off`: from now on come back by oneself, at random within 1 s to 10 s, and with doubled waits after failures, as
  OCPP 2.x has it (RetryBackOffWaitMinimum and so on; a `Retry-After` is waited for);
* `hold`: from now on do not come back, but wait for the next word;
* `go`: everybody who is away comes back at once, and tries again a second or so after a failure;
* `tell`: how many are open, and each handshake since the last time: when it was dialled, when open, which attempt.
"""

from __future__ import annotations

import json
import random
import re
import select
import sys
import time
from collections import Counter
from heapq import heappop, heappush
from typing import Any

from crowd import Callers, Member, Refused
from fleet import PASSWORD, stations

FIRST_WAIT = (1.0, 10.0)
LONGEST_WAIT = 40.0
AGAIN = (0.5, 1.5)
"""Seconds after which those who come all at once try again."""
PATIENCE = 10.0
"""Seconds until a station gives a handshake up."""
AT_ONCE = 100
CONNECT_WITHIN = 60.0
"""Seconds for the first connect, in which nobody may be refused."""


class Returning(Callers):
    """Stations that come back."""

    def __init__(self, address: tuple[str, int], names: list[str]) -> None:
        super().__init__(address, PASSWORD)
        self.names = names
        self.open: set[str] = set()
        self.handshakes: list[tuple[float, float, int]] = []
        self.failures: Counter[str] = Counter()
        self.mode = "hold"
        self._attempts: Counter[str] = Counter()
        self._due: list[tuple[float, str]] = []
        self._calling: dict[Member, None] = {}
        """In the order in which they dialled."""

    def connect(self) -> None:
        for name in self.names:
            self.dial(name)
            while len(self._calling) >= AT_ONCE:
                self.attend(1.0)
        until = time.monotonic() + CONNECT_WITHIN
        while len(self.open) < len(self.names):
            if self.failures or time.monotonic() > until:
                raise Refused(f"{len(self.open)} of {len(self.names)} were let in; {dict(self.failures)}")
            self.turn(0.1)

    def go(self) -> None:
        self.mode = "go"
        now = time.monotonic()
        self._due += [(now, name) for name in self.names if name not in self.open]
        self._due.sort()

    def turn(self, seconds: float) -> None:
        """Dial who is due, give up who is overdue, and take what comes."""
        now = time.monotonic()
        for _ in range(AT_ONCE):
            if not self._due or self._due[0][0] > now:
                break
            self.dial(heappop(self._due)[1])
            seconds = 0.0
        while self._calling and (oldest := next(iter(self._calling))).dialled < now - PATIENCE:
            self.hang_up(oldest)
            self.ended(oldest, b"no answer in time")
        self.attend(seconds)

    def dialled(self, member: Member) -> None:
        self._attempts[member.station] += 1
        self._calling[member] = None

    def opened(self, member: Member) -> None:
        del self._calling[member]
        self.open.add(member.station)
        self.handshakes.append((member.dialled, time.monotonic(), self._attempts.pop(member.station)))

    def ended(self, member: Member, answer: bytes) -> None:
        self._calling.pop(member, None)
        self.open.discard(member.station)
        failed = self._attempts[member.station]
        if failed:
            self.failures[answer[:40].partition(b"\r\n")[0].decode("latin-1") or "no answer"] += 1
        if self.mode != "hold":
            heappush(self._due, (time.monotonic() + self._wait(failed, answer), member.station))

    def _wait(self, failed: int, answer: bytes) -> float:
        asked = re.search(rb"\r\nretry-after: *(\d+)", answer, re.IGNORECASE)
        if asked is not None:
            return int(asked[1]) + random.random()
        if self.mode == "go":
            return random.uniform(*AGAIN)
        return min(random.uniform(*FIRST_WAIT) * float(1 << max(failed - 1, 0)), LONGEST_WAIT)


def obey(fleet: Returning, word: str) -> dict[str, Any]:
    if word == "connect":
        fleet.connect()
    elif word == "go":
        fleet.go()
    elif word in ("hold", "back-off"):
        fleet.mode = word
    else:
        told = {"handshakes": fleet.handshakes, "failures": fleet.failures}
        fleet.handshakes, fleet.failures = [], Counter()
        return {"open": len(fleet.open), **told}
    return {"open": len(fleet.open)}


def main(port: int, count: int) -> None:
    fleet = Returning(("127.0.0.1", port), stations(count))
    listening = select.poll()
    listening.register(sys.stdin.fileno(), select.POLLIN)
    while True:
        fleet.turn(0.01)
        if listening.poll(0):
            line = sys.stdin.readline()
            if not line:
                return
            print(json.dumps(obey(fleet, line.strip())), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

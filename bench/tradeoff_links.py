"""Links between a gateway and a station that is well: how long they keep the answer to a ping waiting.

Each is exact about the pings that may come late, and says how many may be passed over before the next such one, so
that a year of pings that are answered at once costs nothing. All times are seconds; all chance comes from the random
generator that a link is given.

TCP carries the pings, so what is lost is late: it is sent again after 1 s, 3 s, 7 s, 15 s ... (RFC 6298: the first
wait is at least 1 s, and each doubles the one before. Linux may begin with as little as 0.2 s, so these links are a
little slower than that.)
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf, log, log1p
from random import Random
from typing import Protocol

RTT = 0.15
"""From a ping to its answer where nothing is wrong; of this order on LTE."""
FIRST_WAIT = 1.0
"""Until TCP sends again for the first time (RFC 6298, 2.4)."""
LONGEST_WAIT = 120.0
"""What doubling ends at, on Linux."""

MOST_LOSSES = 100
"""Of one exchange; far more than TCP goes on for."""


class Link(Protocol):
    """A way to a station, with its own time; it is asked about one moment after the other."""

    usual: float
    """Until a ping is answered that meets no trouble."""

    def dial(self, at: float) -> float:
        """Return when a station that has dialled since *at* is connected."""
        ...

    def calm(self, due: float, cycle: float) -> float:
        """Return how many pings, the first at *due* and then one a *cycle*, will be answered as usual."""
        ...

    def answer(self, at: float, deadline: float) -> float:
        """Return when the ping of *at* is answered: the one that `calm` stopped before. Infinity: after *deadline*."""
        ...


class Clean:
    """Nothing is ever lost or late."""

    usual = RTT

    def dial(self, at: float) -> float:
        return at

    def calm(self, due: float, cycle: float) -> float:
        return inf

    def answer(self, at: float, deadline: float) -> float:
        return at + self.usual


class Loss(Clean):
    """Each transmission, in either direction, is lost with the same chance, whatever became of the one before."""

    def __init__(self, loss: float, *, timeout: float, random: Random) -> None:
        """A ping matters where so many of its transmissions are lost that its answer may come after *timeout*."""
        self.loss, self._random = loss, random
        self.fatal = fatal_losses(timeout)
        """So many losses, all in one direction, are the fewest that make an answer late."""
        # Losses of a ping and its pong together: P(n) = (n + 1) loss^n (1 - loss)^2, summed from `fatal` on.
        self._share = loss**self.fatal * (self.fatal + 1 - self.fatal * loss)

    def calm(self, due: float, cycle: float) -> float:
        return geometric(self._share, self._random)

    def answer(self, at: float, deadline: float) -> float:
        lost = self.fatal
        left = self._random.random() * self._share
        while (left := left - (lost + 1) * self.loss**lost * (1 - self.loss) ** 2) > 0 and lost < MOST_LOSSES:
            lost += 1
        of_ping = self._random.randint(0, lost)
        return at + waited(of_ping) + waited(lost - of_ping) + self.usual


class Spikes(Clean):
    """The radio sleeps between pings and takes 1 s to 3 s to wake; now and then a ping then queues behind other data.

    That a 3G radio takes so long to wake up is known; that one ping in 200 waits in a full buffer, on average for 3 s
    more, is an assumption, and a harsh one for a charging station.
    """

    wake = (1.0, 3.0)
    usual = RTT + sum(wake) / 2
    share = 1 / 200
    mean = 3.0

    def __init__(self, *, random: Random) -> None:
        self._random = random

    def calm(self, due: float, cycle: float) -> float:
        return geometric(self.share, self._random)

    def answer(self, at: float, deadline: float) -> float:
        return at + RTT + self._random.uniform(*self.wake) + self._random.expovariate(1 / self.mean)


class Outages(Clean):
    """The link is up for a time, and then down for a time, and nothing passes while it is down: Gilbert's model.

    It is the one of Gilbert and Elliott with no loss in the good state and nothing but loss in the bad one, in
    continuous time: both states last for exponentially distributed times.
    """

    def __init__(self, *, every: float, lasting: float, random: Random) -> None:
        """An outage begins *every* so many seconds on average, and has the mean length *lasting*."""
        self._good, self._bad, self._random = 1 / (every - lasting), 1 / lasting, random
        self._begin = self._end = 0.0
        self._next()

    def dial(self, at: float) -> float:
        return self._end if self._down(at) else at

    def calm(self, due: float, cycle: float) -> float:
        while True:
            # The first exchange that is not over when the outage begins: does its ping come before the outage ends?
            pings = max(0, ceil((self._begin - self.usual - due) / cycle))
            if due + pings * cycle < self._end:
                return pings
            self._next()

    def answer(self, at: float, deadline: float) -> float:
        arrived = transmitted(at, deadline, self._down) + self.usual / 2
        return transmitted(arrived, deadline, self._down) + self.usual / 2

    def _down(self, at: float) -> bool:
        while self._end <= at:
            self._next()
        return self._begin <= at

    def _next(self) -> None:
        self._begin = self._end + self._random.expovariate(self._good)
        self._end = self._begin + self._random.expovariate(self._bad)


class Forgetful(Clean):
    """A NAT in between forgets a connection on which nothing has passed for a while; it never lives again."""

    def __init__(self, *, forgets: float) -> None:
        self._forgets = forgets
        self._passed = 0.0

    def dial(self, at: float) -> float:
        self._passed = at
        return at

    def calm(self, due: float, cycle: float) -> float:
        if due - self._passed > self._forgets:
            return 0
        self._passed = due + self.usual
        return inf if cycle - self.usual <= self._forgets else 1

    def answer(self, at: float, deadline: float) -> float:
        return inf


class Dying(Clean):
    """Another link, of which nothing is heard any more from some moment on."""

    def __init__(self, link: Link, *, dies: float) -> None:
        self._link, self._dies = link, dies
        self.usual = link.usual

    def calm(self, due: float, cycle: float) -> float:
        alive = max(0, ceil((self._dies - self.usual - due) / cycle))
        return min(alive, self._link.calm(due, cycle))

    def answer(self, at: float, deadline: float) -> float:
        answer = self._link.answer(at, deadline)
        return answer if answer < self._dies else inf


def geometric(share: float, random: Random) -> int:
    """Return how many fail before the first that succeeds, each with the chance *share*."""
    return int(log(1 - random.random()) / log1p(-share))


def waited(losses: int) -> float:
    """Return how late something arrives of which so many transmissions in a row were lost."""
    return FIRST_WAIT * (2.0**losses - 1)


def fatal_losses(timeout: float) -> int:
    """Return how many losses it takes, one after the other in one direction, until an answer misses its deadline."""
    losses = 1
    while waited(losses) + RTT <= timeout:
        losses += 1
    return losses


def transmitted(at: float, deadline: float, down: Callable[[float], bool]) -> float:
    """Return when something written at *at* gets through; infinity if not before the deadline."""
    wait = FIRST_WAIT
    while at <= deadline and down(at):
        at += wait
        wait = min(2 * wait, LONGEST_WAIT)
    return at if at <= deadline else inf

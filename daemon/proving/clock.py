"""Virtual time, and a scheduler that does the same again for the same seed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from math import inf
from typing import Any, Final

from trio.abc import Clock

IDLE: Final = 1000
"""Looks, a hundredth of a second apart, after which a run that waits for no time is given up."""


class Leaping(Clock):
    """A clock for `trio.run` that leaps to the next deadline as soon as nobody has anything to do.

    Trio's `MockClock` does the same in two turns of the loop; here it is one, which is what a simulation spends most
    of its time on. Nothing in such a run may wait for a thread or a socket.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._idle = 0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        if deadline == inf:
            # A run that ends wakes itself over a socket; any other that waits for no time would wait for ever.
            self._idle += 1
            if self._idle > IDLE:
                raise RuntimeError("everybody waits for somebody else, and for no time: this run would never end")
            return 0.01
        self._idle = 0
        self._now = max(self._now, float(deadline))
        return 0.0

    def jump(self, seconds: float) -> None:
        """Let time go by in which nobody had a turn: the loop was blocked, or the process stood still."""
        self._now += seconds


@contextmanager
def deterministic(seed: int) -> Generator[None]:
    """Let trio schedule the same way for the same seed, as long as the block lasts.

    Trio shuffles each batch of tasks so that nobody relies on an order. There is no public way to seed that; its own
    plugin for Hypothesis sets these two, and so do we.
    """
    run: Any = import_module("trio._core._run")
    kept, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = kept
        run._r.setstate(state)

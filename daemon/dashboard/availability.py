"""How available a station was of late, for its page."""

from __future__ import annotations

from typing import Final

import trio

from ...engine import Engine
from ...engine.events import Micros
from ...projections.uptime import Measure, Window
from ..api.chargestations import REPLAYS
from ..availability import SECOND, events_of, ground_of, percent

MINUTE: Final = 60 * SECOND
"""For so long an answer is shown: it takes a read of all that ever happened to the station, and a page asks often."""
_KEPT: Final = 100
"""Answers that are kept: more pages than people have open."""
_WINDOWS: Final = (("in 24 hours", 86_400 * SECOND), ("in 7 days", 7 * 86_400 * SECOND))


class Availability:
    """What share of the observed time stations were online."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answers: dict[str, tuple[int, str]] = {}

    async def of(self, station: str) -> str:
        """Return it in words, for the last day and the last week; empty if nobody saw the station in either."""
        now = self._engine.now()
        minute, answer = self._answers.get(station, (-1, ""))
        if minute != now // MINUTE:
            position = self._engine.position
            answer = await trio.to_thread.run_sync(self._measured, station, position, now, limiter=REPLAYS)
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[station] = now // MINUTE, answer
        return answer

    def _measured(self, station: str, position: int, now: Micros) -> str:
        engine = self._engine
        alive = {engine.run: now} if engine.run and not engine.over else {}
        with engine.reader() as log:
            watch = ground_of(log, position, now=alive).watch
            measures = [Measure(Window(now - length, now), watch) for _, length in _WINDOWS]
            for recorded in events_of(log, position, station):
                for measure in measures:
                    measure.follow(recorded)
        said: list[str] = []
        for (when, _), measure in zip(_WINDOWS, measures, strict=True):
            measure.close()
            said += [f"{percent(uptime)} {when}" for uptime in measure.uptimes() if uptime.availability is not None]
        return ", ".join(said)

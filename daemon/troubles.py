"""Telling an operator of troubles that end by themselves or by a hand from outside.

The log that cannot be written, and stations whose identity seems to be used by two devices.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from ..engine.core import Engine
from ..engine.events import Micros
from ..projections import conflicts

LOOK: Final = 1.0
"""Seconds: soon enough for a person, nothing for us."""

_log: Final = logging.getLogger("stationkeeper.log")
_stations_log: Final = logging.getLogger("stationkeeper.stations")


async def tell_of_conflicts(engine: Engine) -> None:
    """Say of each conflict, once, that there is one, for as long as this runs; the engine folds `conflicts`."""
    told: dict[str, Micros] = {}
    while True:
        standing = engine.state(conflicts).standing(engine.now())
        for conflict in standing:
            if told.get(conflict.station) != conflict.since:
                _stations_log.warning(
                    "two devices use the identity %r, or one opens a second connection while it has one: it was taken "
                    "over %d times within %d s; give one of the two another id, or switch it off",
                    conflict.station,
                    conflict.takeovers,
                    (conflict.last - conflict.since) // 1_000_000,
                )
        told = {conflict.station: conflict.since for conflict in standing}
        await trio.sleep(LOOK)


async def tell_of_troubles(engine: Engine) -> None:
    """Say when the log cannot be written, and when it can again; once each, for as long as this runs."""
    fine = True
    while True:
        await trio.sleep(LOOK)
        if engine.committer.writable == fine:
            continue
        fine = not fine
        if fine:
            _log.warning("the log can be written again: stations are let in, and what waited is written")
        else:
            _log.error("the log cannot be written, so nobody new is let in: %s", engine.committer.reason)

"""Telling an operator of troubles that end by themselves or by a hand from outside: the log that cannot be written."""

from __future__ import annotations

import logging
from typing import Final

import trio

from ..engine.core import Engine

LOOK: Final = 1.0
"""Seconds: soon enough for a person, nothing for us."""

_log: Final = logging.getLogger("stationkeeper.log")


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

"""Availability of a station over a window of time, with what nobody saw apart."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import trio
from fastapi import APIRouter, Query
from starlette.responses import Response

from ...engine import Engine
from ...engine.clock import parse_time, rfc3339
from ...engine.events import Micros
from ...engine.log import Log
from ...projections import presence
from ...projections.uptime import Measure, Outage, Uptime, Window
from ..availability import events_of, ground_of, outage_shown, uptime_shown
from ..registry.errors import Invalid, NotFound
from . import shapes
from .answers import json_answer
from .chargestations import REPLAYS, known
from .parameters import Id

OUTAGES: Final = 1_000
"""Outages in one answer: some hundred kilobytes. A station that has more of them asks for a shorter window."""


def uptimes(engine: Engine) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["chargestations"])

    @router.get("/chargestations/{id:id}/uptime", summary="Show a station's availability", response_model=shapes.Uptime)
    async def uptime(
        id: Id,
        since: Annotated[str | None, Query(alias="from", description="A time; without it, the first event's.")] = None,
        until: Annotated[str | None, Query(alias="to", description="A time; without it, now.")] = None,
    ) -> Response:
        """For how long it was online, offline and not observed, and its outages. Read from the log, as it is now."""
        if not known(engine, id) and id not in engine.state(presence):
            raise NotFound(f"there is no station {id!r}")
        begin, end = _moment(since, "from"), _moment(until, "to")
        now = engine.now()
        alive = {engine.run: now} if engine.run and not engine.over else {}

        def measure(position: int = engine.position) -> dict[str, object]:
            with engine.reader() as log:
                return measured(log, position, id, begin, now if end is None else end, alive)

        return json_answer(await trio.to_thread.run_sync(measure, limiter=REPLAYS))

    return router


def measured(
    log: Log, position: int, station: str, since: Micros | None, until: Micros, alive: dict[str, Micros]
) -> dict[str, object]:
    """Return the availability of a station, read from its life in the log.

    Args:
        since: none: from the first event on.
        alive: runs that are known to live, and until when.

    Raises:
        Invalid: the window ends before it begins.
    """
    ground = ground_of(log, position, now=alive)
    window = Window(ground.whole.since if since is None else since, until)
    if window.length < 0:
        raise Invalid("to", f"{rfc3339(window.until)} is before `from`, {rfc3339(window.since)}")
    measure, newest = Measure(window, ground.watch), deque[Outage](maxlen=OUTAGES)
    for recorded in events_of(log, position, station):
        newest.extend(measure.follow(recorded))
    newest.extend(measure.close())
    uptime = next(measure.uptimes(), Uptime(station, 0, 0, 0, window.length, 0))  # or it never came
    return {
        "id": station,
        "from": rfc3339(window.since),
        "to": rfc3339(window.until),
        "position": position,
        **uptime_shown(uptime),
        "outages": [outage_shown(outage) for outage in newest],
    }


def _moment(text: str | None, name: str) -> Micros | None:
    """Return a time that a query names.

    Raises:
        Invalid: it is none.
    """
    if text is None:
        return None
    try:
        # The "+" of an offset arrives as a space where it was not encoded.
        return parse_time(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise Invalid(name, str(error)) from None

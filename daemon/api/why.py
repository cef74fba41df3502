"""Why a station is online or offline, or does not connect, from the log alone."""

from __future__ import annotations

from typing import Annotated

import trio
from fastapi import APIRouter, Query
from starlette.responses import Response

from ...engine import Engine
from ...projections import registry
from ..registry.nearest import meant
from ..why import MOMENTS, as_json, explain
from .answers import json_answer
from .chargestations import REPLAYS, position_of
from .parameters import LISTED, Id
from .why_shapes import WhyShown


def reasons(engine: Engine) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["chargestations"])

    @router.get("/chargestations/{id:id}/why", summary="Explain a station's state", response_model=WhyShown)
    async def why(
        id: Id,
        at: Annotated[str | None, Query(description="As of this position, or of this time (RFC 3339).")] = None,
        last: Annotated[int, Query(ge=1, le=LISTED, description="How many events to tell of.")] = MOMENTS,
    ) -> Response:
        """What happened to it, what that meant, the messages it made, each attempt at these with its answer, and how
        often it was turned away of late. It need not be registered, nor ever have been let in: then `meant` names
        registered ids that are like it."""

        now = engine.now() if at is None else None

        def read() -> dict[str, object]:
            with engine.reader() as log:
                until = None if at is None else position_of(log, at)
                return as_json(explain(log, id, until=until, most=last, now=now))

        answer = await trio.to_thread.run_sync(read, limiter=REPLAYS)
        # Of what is registered now: the hints that were recorded are of then, and few in a flood.
        registered = engine.state(registry)
        answer["meant"] = meant(id, registered) if answer["chargestation"] is None else []
        return json_answer(answer)

    return router

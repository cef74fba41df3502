"""The newest signed checkpoint of the log, for auditors who keep it elsewhere."""

from __future__ import annotations

import trio
from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from ...engine import Engine
from ...engine.ledger import outside
from ..registry.errors import NotFound


def checkpoint(engine: Engine) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["log"])

    @router.get("/checkpoint", summary="Show the newest checkpoint", response_class=PlainTextResponse)
    async def newest() -> Response:
        """A signed note (c2sp.org/tlog-checkpoint): which log, how many events, the root of the tree over them.

        Whoever keeps it elsewhere can show later whether an event up to there was changed or cut off:
        `stationkeeper verify --checkpoint`.
        """
        note = None if engine.log_path is None else await trio.to_thread.run_sync(outside.read_note, engine.log_path)
        if note is None:
            raise NotFound("there is no checkpoint: the log is in memory, or a copy that nobody adopted")
        return PlainTextResponse(note, headers={"cache-control": "no-store"})

    return router

"""Whether the process is alive, whether it is ready, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ...engine import Engine
from ..metrics import CONTENT_TYPE, Metrics
from .answers import json_answer, problem_answer

_REASONS = {
    "starting": "The gateway is starting.",
    "draining": "The gateway is stopping.",
    "log_unavailable": "The log cannot be written; nothing is lost, and nobody new is let in.",
}


def health(engine: Engine, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Is the process alive?")
    async def alive() -> Response:
        """200 for as long as requests are answered at all."""
        return json_answer({"status": "alive"})

    @router.get("/readyz", summary="Is it ready?")
    async def ready() -> Response:
        """200 while stations are let in; else 503 with the reason."""
        if engine.ready:
            return json_answer({"status": "ready", "position": engine.position, "mute": engine.mute})
        busy = engine.busy()
        reason = "draining" if busy is None else busy.reason
        retry = {} if busy is None else {"retry-after": str(round(busy.retry_after))}
        return problem_answer(503, _REASONS.get(reason, reason), headers=retry, reason=reason)

    @router.get("/metrics", summary="Numbers for Prometheus", response_class=Response,
                responses={200: {"content": {"text/plain": {}}}})  # fmt: skip
    async def numbers() -> Response:
        """Prometheus text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})

    return router

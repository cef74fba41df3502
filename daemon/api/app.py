"""The whole of HTTP: which routes there are, what stands before them, and how they are served."""

from __future__ import annotations

from importlib.metadata import version

import trio
from fastapi import FastAPI

from ...engine import Engine
from ..asgi import App, HttpBounds, HttpServer, serve_http
from ..metrics import Metrics
from ..registrar import Registrar
from ..tokens import Tokens, check_exposure
from ..units import Address
from .answers import answer_errors
from .chargestations import chargestations
from .dashboard import dashboard
from .events import history
from .guard import Guard
from .health import health
from .login import login
from .openapi import describe, documentation
from .webhooks import messages, requests_of_webhooks, subscriptions


def create_app(engine: Engine, registrar: Registrar, *, tokens: Tokens) -> App:
    """Return the API and the dashboard of a running engine, as an ASGI application.

    The engine must fold `presence`, `registry`, `webhooks` and `outbox`. Every change goes through *registrar*, in
    the name of the token that asked for it.
    """
    app = FastAPI(
        title="Stationkeeper",
        version=version("stationkeeper"),
        description="Which charging stations are online, since when and why; and who is told.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    # FastAPI asks this method for its document.
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    for router in (
        history(engine),
        chargestations(engine, registrar),
        subscriptions(engine, registrar),
        requests_of_webhooks(engine, registrar),
        messages(engine, registrar),
        health(engine, Metrics(engine)),
        documentation(app),
        dashboard(engine, tokens),
        login(tokens),
    ):
        app.include_router(router)
    answer_errors(app)
    return Guard(app, tokens)


async def serve_api(
    engine: Engine,
    registrar: Registrar,
    listen: Address,
    *,
    tokens: Tokens,
    bounds: HttpBounds | None = None,
    task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API and the dashboard until stopped or cancelled; `started` hands out the `HttpServer`.

    Give it a nursery of its own inside the engine's block. At shutdown call `server.stop()` first, so that streams
    end in order and /readyz is the engine's affair; then leave the engine's block.

    Raises:
        WrongSetting: the address cannot be used, or would let everybody in.
    """
    check_exposure(listen, tokens)
    await serve_http(create_app(engine, registrar, tokens=tokens), str(listen), bounds=bounds, task_status=task_status)

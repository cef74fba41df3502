"""The whole of HTTP: which routes there are, and what stands before them."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from ..engine import Engine
from .api.answers import answer_errors
from .api.chargestations import chargestations
from .api.checkpoint import checkpoint
from .api.deliveries import webhook_history
from .api.events import history
from .api.health import health
from .api.messages import pulled
from .api.refusals import refused
from .api.uptime import uptimes
from .api.webhooks import messages, requests_of_webhooks, subscriptions
from .api.why import reasons
from .dashboard.dashboard import dashboard
from .dashboard.login import login
from .dashboard.openapi import describe, documentation
from .http.asgi import App
from .http.guard import Guard
from .http.tokens import Tokens
from .metrics import Metrics
from .registry.registrar import Registrar


def create_app(engine: Engine, registrar: Registrar, *, tokens: Tokens) -> App:
    """Return the API and the dashboard of a running engine, as an ASGI application.

    The engine must fold `presence`, `registry`, `webhooks`, `outbox`, `feed`, `conflicts`, `refusals` and `deliveries`.
    Every change goes through *registrar*, in the name of the token that asked for it. `asgi.serve_http` serves it;
    `tokens.check_exposure` says where it may.
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
        chargestations(engine, registrar),
        subscriptions(engine, registrar),
        requests_of_webhooks(engine, registrar),
        messages(engine, registrar),
        webhook_history(engine),
        history(engine),
        pulled(engine),
        uptimes(engine),
        reasons(engine),
        refused(engine),
        checkpoint(engine),
        health(engine, Metrics(engine)),
        documentation(app),
        dashboard(engine, tokens),
        login(tokens),
    ):
        app.include_router(router)
    answer_errors(app)
    return Guard(app, tokens)

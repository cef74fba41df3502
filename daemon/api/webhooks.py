"""Subscriptions, and what each of them is owed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

import trio
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...engine.log import Log
from ...projections import outbox, webhooks
from ..http.paths import encoded
from ..registry.errors import Invalid, NotFound
from ..registry.messages import find_message
from ..registry.registrar import Registrar
from ..registry.subscriptions import Subscribed
from ..registry.webhook_requests import NewWebhook, WebhookChanges
from . import webhook_shapes as shapes
from .answers import json_answer, page, page_of_ids, read_cursor, write_cursor
from .chargestations import REPLAYS, actor, position_of
from .parameters import Cursor, Id, Limit
from .webhook_views import shown_message, shown_webhook

NULLABLE: Final = frozenset({"client_certificate", "authorities", "rate", "concurrency"})
"""What a subscription may be without."""


def subscriptions(engine: Engine, registrar: Registrar) -> APIRouter:
    """Return the routes of subscriptions."""
    router = APIRouter(tags=["webhooks"])

    def _with_secret(made: Subscribed) -> dict[str, object]:
        return shown_webhook(engine, made.id) | ({} if made.secret is None else {"secret": made.secret})

    @router.get("/webhooks", summary="List subscriptions", response_model=shapes.Webhooks)
    async def list_webhooks(limit: Limit = 100, cursor: Cursor = None) -> Response:
        """Subscriptions in the order of their ids, which is the order in which they were made."""
        subscribed = engine.state(webhooks)
        ids, next = page_of_ids(subscribed, cursor, limit)
        return json_answer(page([shown_webhook(engine, id) for id in ids], next))

    @router.post("/webhooks", status_code=201, summary="Subscribe", response_model=shapes.WebhookWithSecret)
    async def subscribe(request: Request, given: shapes.WebhookGiven) -> Response:
        """The signing secret is in this answer, and in none after it."""
        wanted = NewWebhook(**_tuples(given.model_dump()))
        made = await registrar.subscribe(wanted, actor=actor(request))
        return json_answer(_with_secret(made), 201, {"location": "/webhooks/" + encoded(made.id)})

    @router.get("/webhooks/{id:id}", summary="Show a subscription", response_model=shapes.Webhook)
    async def show(id: Id) -> Response:
        return json_answer(shown_webhook(engine, id))

    @router.patch("/webhooks/{id:id}", summary="Change a subscription",
                  response_model=shapes.WebhookWithSecret)  # fmt: skip
    async def update(request: Request, id: Id, given: shapes.WebhookChangesGiven) -> Response:
        """What is left out stays as it is; null takes away a certificate, authorities or a limit. Mending the URL
        mends what is pending. Where `v1` is new among the signatures, the answer shows its secret, this once.
        """
        named = {name: getattr(given, name) for name in given.model_fields_set}
        for name, value in named.items():
            if value is None and name not in NULLABLE:
                raise Invalid(name, "null is no value; leave it out to keep what is there")
        made = await registrar.update_webhook(id, WebhookChanges(**_tuples(named)), actor=actor(request))
        return json_answer(_with_secret(made))

    @router.delete("/webhooks/{id:id}", status_code=204, summary="Unsubscribe")
    async def remove(request: Request, id: Id) -> Response:
        """What is pending is cancelled. Added again, it is another subscription."""
        await registrar.remove_webhook(id, actor=actor(request))
        return Response(status_code=204)

    return router


def requests_of_webhooks(engine: Engine, registrar: Registrar) -> APIRouter:
    """Return the routes by which something is asked of a subscription."""
    router = APIRouter(tags=["webhooks"])

    def ask(name: Literal["test", "pause", "enable"], summary: str, description: str) -> None:
        async def asked(request: Request, id: Id) -> Response:
            await getattr(registrar, name)(id, actor=actor(request))
            return json_answer(shown_webhook(engine, id))

        router.add_api_route("/webhooks/{id:id}/" + name, asked, methods=["POST"], name=name, summary=summary,
                             description=description, response_model=shapes.Webhook)  # fmt: skip

    ask("test", "Send a test", "Owes it a `webhook.ping`, which goes out at once unless it is paused.")
    ask("pause", "Pause", "Nothing is sent for now; what it is owed gathers.")
    ask("enable", "Enable", "Sends again what a paused or disabled subscription is owed.")

    @router.post("/webhooks/{id:id}/rotate-secret", summary="Replace the secret",
                 response_model=shapes.WebhookWithSecret)  # fmt: skip
    async def rotate(request: Request, id: Id, given: shapes.RotationGiven | None = None) -> Response:
        """The old ones sign beside the new ones for the overlap, so that the receiver can change over in between."""
        wanted = given or shapes.RotationGiven.model_validate({})  # pyright: ignore[reportCallIssue]
        made = await registrar.rotate_secret(id, secret=wanted.secret, overlap=wanted.overlap, actor=actor(request))
        return json_answer(shown_webhook(engine, id) | ({} if made.secret is None else {"secret": made.secret}))

    @router.post("/webhooks/{id:id}/recover", summary="Owe again what was parked or skipped",
                 response_model=shapes.Webhook)  # fmt: skip
    async def recover(request: Request, id: Id, given: shapes.RangeGiven) -> Response:
        """Of the events in a range: positions or times, both ends included."""
        since, until = await trio.to_thread.run_sync(_positions, engine, given, limiter=REPLAYS)
        await registrar.recover(id, since=since, until=until, actor=actor(request))
        return json_answer(shown_webhook(engine, id))

    return router


def messages(engine: Engine, registrar: Registrar) -> APIRouter:
    """Return the routes of messages."""
    router = APIRouter(tags=["messages"])

    @router.get("/webhooks/{id:id}/messages", summary="List messages", response_model=shapes.Messages)
    async def list_messages(
        id: Id,
        state: Annotated[
            Literal["pending", "delivered", "parked", "skipped"], Query(description="What became of them.")
        ] = "pending",
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """A subscription's messages in a state: all pending ones, and of the settled ones the newest."""
        if id not in engine.state(webhooks):
            raise NotFound(f"there is no webhook {id!r}")
        after = _place_of(cursor) if cursor else None
        # One more than the page holds tells whether there is a next one. However many wait, no others are made.
        found = engine.state(outbox).messages(id, state, after=after, limit=limit + 1)
        shown = found[:limit]
        next = write_cursor(f"{shown[-1].position} {shown[-1].id}") if len(found) > limit else None
        return json_answer(page([shown_message(engine, owed) for owed in shown], next))

    @router.post("/messages/{id:id}/redeliver", status_code=202, summary="Send again",
                 response_model=shapes.MessageShown)  # fmt: skip
    async def redeliver(request: Request, id: Id) -> Response:
        """The same id and the same body, ahead of younger ones. One that is pending cannot be asked for."""
        await registrar.redeliver(id, actor=actor(request))
        return json_answer(await _known(id), 202)

    @router.post("/messages/{id:id}/skip", summary="Send no more", response_model=shapes.MessageShown)
    async def skip(request: Request, id: Id) -> Response:
        """A pending message that must not hold up those behind it any longer. It can be asked for again."""
        await registrar.skip(id, actor=actor(request))
        return json_answer(await _known(id))

    async def _known(id: str) -> dict[str, object]:
        owed = await find_message(engine.state(outbox), id)
        if owed is None:
            raise NotFound(f"there is no message {id!r} any more")
        return shown_message(engine, owed)

    return router


def _place_of(cursor: str) -> tuple[int, str]:
    """Return the place of the last message of a page: an order that holds while messages come and go.

    Raises:
        Invalid: it is no cursor of ours.
    """
    position, _, id = read_cursor(cursor).partition(" ")
    if not (position.isascii() and position.isdigit() and len(position) < 20):
        raise Invalid("cursor", f"{cursor[:40]!r} is none of ours; take `next` of the page before")
    return int(position), id


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(cast("list[object]", value)) if isinstance(value, list) else value for name, value in fields.items()
    }


def _positions(engine: Engine, given: shapes.RangeGiven) -> tuple[int, int | None]:
    with engine.reader() as log:
        since = _first_at(log, given.since)
        return since, None if given.until is None else position_of(log, str(given.until), name="until")


def _first_at(log: Log, moment: int | str) -> int:
    """Return the first position at or after a moment."""
    if isinstance(moment, int) or moment.isdigit():
        return position_of(log, str(moment), name="since")
    # The last one before it, and one more.
    return position_of(log, moment, name="since", before=True) + 1

"""Subscriptions, and what each of them is owed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

import trio
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...engine.clock import rfc3339
from ...engine.events import Micros
from ...engine.log import Log
from ...engine.sending import Owed
from ...projections import outbox, webhooks
from ...projections.chargestation import time
from ...projections.webhooks import Webhook
from ..http.paths import encoded
from ..registry.errors import Invalid, NotFound
from ..registry.registrar import Registrar
from ..registry.webhook_requests import NewWebhook, WebhookChanges
from . import shapes
from .answers import json_answer, page, page_of_ids
from .chargestations import REPLAYS, actor, position_of
from .parameters import Cursor, Id, Limit

_UNSIGNED: Final = "no usable signing secret; rotate it"
_COPIED: Final = "no usable signing secret: this log is a copy without its secrets; serve it with --adopt once"


def shown_webhook(engine: Engine, id: str) -> dict[str, object]:
    """Return the object of a webhook, with what it is owed and how it fares.

    Raises:
        NotFound: there is no such webhook.
    """
    webhook = engine.state(webhooks).get(id)
    if webhook is None:
        raise NotFound(f"there is no webhook {id!r}")
    record, owed = webhook.record, engine.state(outbox)
    health = engine.deliveries.health(id) if engine.deliveries is not None else None
    return {
        "id": id,
        "object": "webhook",
        "url": record.url,
        "events": record.events,
        "stations": record.stations,
        "initial": record.initial,
        "name": record.name,
        "state": webhook.state if health is None else health.state,
        "problem": problem_of(engine, webhook),
        "disabled": _disabled(webhook),
        "owed": {state: owed.count(id, state) for state in ("pending", "parked", "skipped")},
        "lastAcceptedAt": time(accepted_at(engine, id)),
        "answers": [] if health is None else [_answer(answer) for answer in reversed(health.answers)],
        "createdAt": time(webhook.created_at),
        "updatedAt": time(webhook.updated_at),
    }


def problem_of(engine: Engine, webhook: Webhook) -> str | None:
    """Return why nothing can be sent to a webhook, whatever its state says; none if nothing stands in the way."""
    if any(engine.secrets.get(id) for id in webhook.record.secrets):
        return None
    return _COPIED if engine.copied else _UNSIGNED


def accepted_at(engine: Engine, webhook: str) -> Micros | None:
    """Return when a webhook last accepted a message; none if it never did.

    What the outbox keeps for the rule of five days is also the time at which a webhook was added or enabled; where it
    is that, the answers that this process saw tell.
    """
    box = engine.state(outbox).boxes.get(webhook)
    if box is None:
        return None
    if box.accepted_at not in (box.webhook.created_at, box.afresh_at):
        return box.accepted_at
    health = engine.deliveries.health(webhook) if engine.deliveries is not None else None
    answers = () if health is None else health.answers
    return max((answer.at for answer in answers if answer.outcome == "delivered"), default=None)


def shown_message(engine: Engine, message: Owed) -> dict[str, object]:
    """Return the object of a message."""
    sending = engine.deliveries if message.state == "pending" else None
    return {
        "id": message.id,
        "object": "message",
        "webhook": message.webhook,
        "subject": message.subject,
        "type": message.type,
        "position": message.position,
        "round": message.round,
        "state": message.state,
        # Of a settled one the log alone knows how many it took, in the event of its outcome.
        **({} if sending is None else {"attempts": sending.attempted(message.id)}),
        "nextAttemptAt": None if sending is None else time(sending.next_attempt(message.id)),
    }


def subscriptions(engine: Engine, registrar: Registrar) -> APIRouter:
    """Return the routes of subscriptions."""
    router = APIRouter(tags=["webhooks"])

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
        answer = {**shown_webhook(engine, made.id), "secret": made.secret}
        return json_answer(answer, 201, {"location": "/webhooks/" + encoded(made.id)})

    @router.get("/webhooks/{id:id}", summary="Show a subscription", response_model=shapes.Webhook)
    async def show(id: Id) -> Response:
        return json_answer(shown_webhook(engine, id))

    @router.patch("/webhooks/{id:id}", summary="Change a subscription", response_model=shapes.Webhook)
    async def update(request: Request, id: Id, given: shapes.WebhookChangesGiven) -> Response:
        """What is left out stays as it is. Mending the URL mends what is pending."""
        named = {name: getattr(given, name) for name in given.model_fields_set}
        for name, value in named.items():
            if value is None:
                raise Invalid(name, "null is no value; leave it out to keep what is there")
        if named:
            await registrar.update_webhook(id, WebhookChanges(**_tuples(named)), actor=actor(request))
        return json_answer(shown_webhook(engine, id))

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
        """The one before signs beside the new one until the next rotation."""
        wanted = given or shapes.RotationGiven.model_validate({})  # pyright: ignore[reportCallIssue]
        made = await registrar.rotate_secret(id, secret=wanted.secret, at_once=wanted.at_once, actor=actor(request))
        return json_answer({**shown_webhook(engine, id), "secret": made.secret})

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
        # By cause and then by id: an order that holds while messages come and go.
        found = {f"{owed.position:020d} {owed.id}": owed for owed in engine.state(outbox).messages(id, state)}
        keys, next = page_of_ids(found, cursor, limit)
        return json_answer(page([shown_message(engine, found[key]) for key in keys], next))

    @router.post("/messages/{id:id}/redeliver", status_code=202, summary="Send again",
                 response_model=shapes.MessageShown)  # fmt: skip
    async def redeliver(request: Request, id: Id) -> Response:
        """The same id and the same body, ahead of younger ones. One that is pending cannot be asked for."""
        await registrar.redeliver(id, actor=actor(request))
        owed = engine.state(outbox).find(id)
        if owed is None:
            raise NotFound(f"there is no message {id!r} any more")
        return json_answer(shown_message(engine, owed), 202)

    return router


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(cast("list[object]", value)) if isinstance(value, list) else value for name, value in fields.items()
    }


def _disabled(webhook: Webhook) -> dict[str, object] | None:
    why = webhook.disabled
    if why is None:
        return None
    return {"reason": why.reason, "since": time(why.since), "status": why.status, "at": time(why.at)}


def _answer(answer: Any) -> dict[str, object]:
    return {
        "message": answer.message,
        "subject": answer.subject,
        "at": rfc3339(answer.at),
        "number": answer.number,
        "outcome": answer.outcome,
        "status": answer.status,
        "error": answer.error,
        "latencyMs": round(answer.latency * 1000, 3),
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

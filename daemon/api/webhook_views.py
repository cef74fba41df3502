"""Webhooks and messages as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from ...engine import Engine
from ...engine.clock import rfc3339
from ...engine.events import Micros, WebhookRecord
from ...engine.sending import Owed
from ...projections import outbox, webhooks
from ...projections.chargestation import time
from ...projections.webhooks import Webhook
from ..registry.errors import NotFound
from ..registry.signing import public_key
from ..registry.webhook_options import read_certificates
from .deliveries import shown_backlog

State: TypeAlias = Literal["active", "failing", "paused", "disabled"]

_UNSIGNED: Final = "no usable signing secret; rotate it"
_COPIED: Final = "no usable signing secret: this log is a copy without its secrets; serve it with --adopt once"
_HELD: Final = "no webhook is sent anything: the daemon was started with --hold; start it without"
_NOT_OURS: Final = "no webhook is sent anything: this log is a copy that nobody adopted; serve it with --adopt once"


def shown_webhook(engine: Engine, id: str) -> dict[str, object]:
    """Return the object of a webhook, with what it is owed and how it fares.

    Raises:
        NotFound: there is no such webhook.
    """
    webhook = engine.state(webhooks).get(id)
    if webhook is None:
        raise NotFound(f"there is no webhook {id!r}")
    owed = engine.state(outbox)
    seen = engine.deliveries.health(id) if engine.deliveries is not None else None
    stopped = problem_of(engine, webhook) or _held(engine)
    backlog = shown_backlog(engine, id)
    if stopped or webhook.state != "active":
        backlog["nextAttemptAt"] = None  # there will be none until that is mended
    return {
        "id": id,
        "object": "webhook",
        **_options(engine, webhook.record),
        "state": state_of(engine, webhook),
        "health": _health(webhook),
        "problem": stopped or (seen.trouble if seen else "") or None,
        "disabled": _disabled(webhook),
        "owed": {state: owed.count(id, state) for state in ("pending", "parked", "skipped")},
        **backlog,
        "lastAcceptedAt": time(accepted_at(engine, id)),
        "answers": [] if seen is None else [_answer(answer) for answer in reversed(seen.answers)],
        "createdAt": time(webhook.created_at),
        "updatedAt": time(webhook.updated_at),
    }


def _options(engine: Engine, record: WebhookRecord) -> dict[str, object]:
    """Return what was asked of a webhook, without anything secret."""
    seed = engine.secrets.get(record.keys[0]) if record.keys else None
    ours = _certificates(engine, record.identity)
    return {
        "url": record.url,
        "events": record.events,
        "stations": record.stations,
        "sites": record.sites,
        "initial": record.initial,
        "name": record.name,
        "mode": record.mode,
        "format": record.format,
        "signatures": [name for name, ids in (("v1", record.secrets), ("v1a", record.keys)) if ids],
        "public_key": None if seed is None else public_key(seed),
        "retiredAt": time(record.retired_at),
        "headers": [name for name, _ in record.headers],
        "client_certificate": ours[0] if ours else None,
        "authorities": _certificates(engine, record.authorities),
        "rate": record.rate,
        "concurrency": record.concurrency,
    }


def state_of(engine: Engine, webhook: Webhook) -> State:
    """Return how a webhook is, in the word that people see: never `active` where nothing can be sent to it."""
    if webhook.state == "disabled":
        return "disabled"
    seen = engine.deliveries.health(webhook.id) if engine.deliveries is not None else None
    stopped = problem_of(engine, webhook) or _held(engine) or (seen is not None and seen.trouble)
    if webhook.state == "paused" or webhook.health == "suspended" or stopped:
        return "paused"
    return "failing" if webhook.health == "failing" else "active" if seen is None else seen.state


def problem_of(engine: Engine, webhook: Webhook) -> str | None:
    """Return why nothing can be sent to a webhook, whatever its state says; none if nothing stands in the way."""
    record, secrets = webhook.record, engine.secrets
    if not any(secrets.get(id) for id in (*record.secrets, *record.keys)):
        return _COPIED if engine.copied else _UNSIGNED
    for name, id in record.headers:
        if secrets.get(id) is None:
            return f"the value of its header {name} is missing; set it again"
    for what, id in (("client certificate", record.identity), ("authorities", record.authorities)):
        if id and secrets.get(id) is None:
            return f"what was kept of its {what} is missing; set it again"
    return None


def _held(engine: Engine) -> str | None:
    if engine.deliveries is None or not engine.mute:
        return None
    return _NOT_OURS if engine.unadopted else _HELD


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
    webhook = engine.state(webhooks).get(message.webhook)
    waits = sending is not None and webhook is not None and webhook.state == "active" and not _held(engine)
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
        "nextAttemptAt": time(sending.next_attempt(message.id)) if sending is not None and waits else None,
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


def _health(webhook: Webhook) -> dict[str, object]:
    why = webhook.trouble
    return {
        "state": webhook.health,
        "since": None if why is None else time(why.since),
        "status": None if why is None else why.status,
        "reason": None if why is None else why.reason,
    }


def _certificates(engine: Engine, id: str) -> Sequence[dict[str, object]]:
    """Return what is public of the certificates that are kept under an id."""
    kept = engine.secrets.get(id) if id else None
    if kept is None:
        return []
    return [
        {"subject": one.subject.rfc4514_string(), "notAfter": time(round(one.not_valid_after_utc.timestamp()) * 10**6)}
        for one in read_certificates(kept.decode(errors="replace"))
    ]

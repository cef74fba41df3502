"""How a webhook's deliveries go: what waits, and what came of the rest over the last days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any, Final, Literal

import trio
from attrs import frozen
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from ...engine import Engine
from ...engine.clock import rfc3339
from ...engine.events import Micros
from ...engine.log import Attempted
from ...engine.sending import Owed
from ...projections import deliveries, outbox, webhooks
from ...projections.chargestation import time
from ...projections.deliveries import PERIOD, REACH, Move, Tally
from ..registry.errors import NotFound
from .answers import json_answer
from .chargestations import REPLAYS
from .parameters import Id
from .shapes import Answer, Time

_SECOND: Final[Micros] = 1_000_000
_HEADS: Final = 100
"""Lanes that are asked when they are tried next: those that have been owing for longest. A list shows all webhooks."""

# --- what waits ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Backlog:
    """What a webhook is owed, as of now."""

    pending: int
    oldest: Owed | None
    """The message of the oldest cause."""
    oldest_at: Micros | None
    """The time of that cause; none also where nobody remembers it."""
    next_attempt: Micros | None
    """When the next of the messages that failed is due; none if none failed."""
    in_flight: int
    """Attempts in flight."""


def backlog_of(engine: Engine, webhook: str) -> Backlog:
    """Return what a webhook is owed."""
    owed, sending = engine.state(outbox), engine.deliveries
    oldest, at = owed.oldest(webhook) or (None, None)
    due: Iterable[Micros] = ()
    if sending is not None:
        heads = islice(owed.heads(webhook), _HEADS)
        due = [moment for message in heads if (moment := sending.next_attempt(message.id)) is not None]
    health = None if sending is None else sending.health(webhook)
    next_attempt = min(due, default=None)
    if next_attempt is not None and health is not None and health.not_before is not None:
        next_attempt = max(next_attempt, health.not_before)
    return Backlog(
        pending=owed.count(webhook, "pending"),
        oldest=oldest,
        oldest_at=at,
        next_attempt=next_attempt,
        in_flight=0 if health is None else health.in_flight,
    )


def shown_backlog(engine: Engine, webhook: str) -> dict[str, object]:
    """Return what a webhook is owed, as its object shows it."""
    backlog, now = backlog_of(engine, webhook), engine.now()
    oldest, at = backlog.oldest, backlog.oldest_at
    return {
        "oldestOwed": None
        if oldest is None
        else {
            "message": oldest.id,
            "subject": oldest.subject,
            "at": time(at),
            "ageSeconds": None if at is None else max(now - at, 0) / _SECOND,
        },
        "nextAttemptAt": time(backlog.next_attempt),
        "inFlight": backlog.in_flight,
    }


# --- what came of the rest -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Bucket:
    """A quarter of an hour in which something came of a webhook's messages."""

    at: Micros
    """When it began."""
    tally: Tally
    failing: int
    """Messages that still wait, whose newest attempt failed in it."""


@frozen(kw_only=True)
class Past:
    """How a webhook's deliveries went over some time."""

    since: Micros
    until: Micros
    buckets: tuple[Bucket, ...]
    """Oldest first; without those in which nothing was."""
    sum: Tally
    """Of all of them."""
    moves: tuple[Move, ...]
    """Its changes of state, oldest first; the first is the state that it was in at *since*."""


async def past_of(engine: Engine, webhook: str, length: Micros = REACH) -> Past:
    """Return how a webhook's deliveries went, from so long ago on."""
    now, state = engine.now(), engine.state(deliveries)
    since = now - length
    tallies = {begin: tally for begin, tally in state.periods(webhook) if begin > since - PERIOD}
    heads = {owed.id for owed in engine.state(outbox).heads(webhook)} if engine.deliveries is not None else set[str]()
    failing = Counter[Micros]()
    if heads:
        attempts = await trio.to_thread.run_sync(_attempts, engine, limiter=REPLAYS)
        failing.update(one.at - one.at % PERIOD for id, one in attempts.items() if id in heads and one.at >= since)
    whole = Tally()
    for tally in tallies.values():
        whole.add(tally)
    buckets = (
        Bucket(at=at, tally=tallies.get(at) or Tally(), failing=failing[at]) for at in sorted({*tallies, *failing})
    )
    return Past(since=since, until=now, buckets=tuple(buckets), sum=whole, moves=_moves(state.moves(webhook), since))


def _attempts(engine: Engine) -> Mapping[str, Attempted]:
    with engine.reader() as log:
        return log.attempts()


def _moves(moves: Iterable[Move], since: Micros) -> tuple[Move, ...]:
    """Leave out those that were over before a time."""
    kept: list[Move] = []
    for move in moves:
        if move.at <= since:
            kept.clear()
        kept.append(move)
    return tuple(kept)


def shown_past(past: Past) -> dict[str, Any]:
    """Return how deliveries went, as the API shows it."""
    return {
        "from": rfc3339(past.since),
        "to": rfc3339(past.until),
        "bucketSeconds": PERIOD // _SECOND,
        "sum": _shown(past.sum, sum(bucket.failing for bucket in past.buckets)),
        "buckets": [{"at": rfc3339(bucket.at), **_shown(bucket.tally, bucket.failing)} for bucket in past.buckets],
        "states": [{"at": rfc3339(move.at), "state": move.state} for move in past.moves],
    }


def _shown(tally: Tally, failing: int) -> dict[str, object]:
    quantiles = {f"p{round(100 * share)}": tally.quantile(share) for share in (0.5, 0.95, 0.99)}
    return {
        "succeeded": tally.accepted,
        "parked": tally.parked,
        "failedAttempts": tally.failed,
        "failing": failing,
        "latencyMs": {name: None if value is None else round(value * 1000, 3) for name, value in quantiles.items()},
    }


# --- the route -------------------------------------------------------------------------------------------------------


class OldestShown(Answer):
    """The message that it is owed for longest."""

    message: str
    subject: str
    at: Time | None = Field(description="When its cause was recorded; null: nobody remembers.")
    ageSeconds: float | None  # noqa: N815


class BacklogShown(Answer):
    """What it is owed, and when that is tried next."""

    oldestOwed: OldestShown | None  # noqa: N815
    nextAttemptAt: Time | None = Field(description="Of the messages that failed; null: none did.")  # noqa: N815
    inFlight: int = Field(description="Attempts that wait for their answers.")  # noqa: N815


class LatencyShown(Answer):
    """Milliseconds until the answer to so many of a hundred accepted attempts, to within a third."""

    p50: float | None
    p95: float | None
    p99: float | None


class DeliveredShown(Answer):
    """What came of messages."""

    succeeded: int
    parked: int = Field(description="Messages that were given up.")
    failedAttempts: int = Field(  # noqa: N815
        description="Attempts that failed, at messages of which something came in the end; counted where that did."
    )
    failing: int = Field(description="Messages that wait, whose newest attempt failed then.")
    latencyMs: LatencyShown  # noqa: N815


class BucketShown(DeliveredShown):
    at: Time = Field(description="When it begins.")


class MoveShown(Answer):
    at: Time
    state: Literal["active", "failing", "suspended", "paused", "disabled"] = Field(
        description="paused: by hand. suspended: so much failed that one message at a time is tried."
    )


class History(Answer):
    """How deliveries went over time."""

    id: str
    from_: Time = Field(alias="from")
    to: Time
    bucketSeconds: int  # noqa: N815
    sum: DeliveredShown
    buckets: list[BucketShown] = Field(description="Oldest first; those in which nothing was are left out.")
    states: list[MoveShown] = Field(description="Oldest first; the first of them is the state at `from`.")


def webhook_history(engine: Engine) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["webhooks"])

    @router.get("/webhooks/{id:id}/history", summary="Show how deliveries went", response_model=History)
    async def history(
        id: Id,
        hours: Annotated[float, Query(gt=0, le=REACH / 3600 / _SECOND, description="Of so many hours.")] = 168,
    ) -> Response:
        """What was accepted and given up, and how long it took, in quarters of an hour, for a week at most."""
        if id not in engine.state(webhooks):
            raise NotFound(f"there is no webhook {id!r}")
        past = await past_of(engine, id, round(hours * 3600 * _SECOND))
        return json_answer({"id": id, **shown_past(past)})

    return router

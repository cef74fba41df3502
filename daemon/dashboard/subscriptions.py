"""Subscriptions, as their list and the page of each show them."""

from __future__ import annotations

from typing import Any, Final, cast

import trio
from attrs import evolve, field, frozen
from markupsafe import Markup

from ...engine import Engine
from ...engine.clock import parse_time
from ...engine.delivery.health import Answered, Health
from ...engine.events import Micros
from ...projections import outbox, webhooks
from ...projections.webhooks import Webhook
from ..api.deliveries import Backlog, backlog_of, past_of
from ..api.webhook_views import State, accepted_at, problem_of, shown_webhook, state_of
from .chart import DAY, NARROW, WEEK, Span, chart, columns_of
from .timeline import timeline
from .views import SHARE

ANSWERS: Final = 8
"""Answers on a card."""
MOMENTS: Final = 20
"""Events on a webhook's page."""
SPANS: Final[dict[str, Span]] = {"day": DAY, "week": WEEK}
"""By what a query says."""
FRESH: Final = 5 * 1_000_000
"""Microseconds for which a picture of the past is good: a busy webhook's changes all the time."""


@frozen(kw_only=True)
class Subscription:
    """A webhook, as its card shows it."""

    webhook: Webhook
    state: State
    why: str
    """Why it is not active, or nothing can be sent to it; empty if all is well."""
    since: Micros | None
    """Since when, if that is known."""
    backlog: Backlog
    parked: int
    skipped: int
    accepted_at: Micros | None
    answers: tuple[Answered, ...] = field(default=())
    """Newest first."""


def subscriptions_of(engine: Engine) -> list[Subscription]:
    """Return all subscriptions, in the order in which they were made."""
    return [subscription_of(engine, webhook) for _, webhook in sorted(engine.state(webhooks).items())]


class Lookout:
    """All subscriptions, for pages that stay open: looked at for a twentieth of our time at most."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: list[Subscription] = []
        self._good_until = 0.0

    def look(self) -> list[Subscription]:
        """Return them, as of now or of a moment ago."""
        begun = trio.current_time()
        if begun >= self._good_until:
            self._found = subscriptions_of(self._engine)
            self._good_until = trio.current_time() + SHARE * (trio.current_time() - begun)
        return self._found


def subscription_of(engine: Engine, webhook: Webhook) -> Subscription:
    """Return a subscription as of now."""
    owed, sending = engine.state(outbox), engine.deliveries
    health = sending.health(webhook.id) if sending is not None else None
    answers = () if health is None else tuple(reversed(health.answers))
    why, since = _why(engine, webhook, health)
    backlog = backlog_of(engine, webhook.id)
    if webhook.state != "active" or engine.mute or problem_of(engine, webhook) is not None:
        backlog = evolve(backlog, next_attempt=None)  # there is none until that is mended
    return Subscription(
        webhook=webhook,
        state=state_of(engine, webhook),
        why=why,
        since=since,
        backlog=backlog,
        parked=owed.count(webhook.id, "parked"),
        skipped=owed.count(webhook.id, "skipped"),
        accepted_at=accepted_at(engine, webhook.id),
        answers=answers,
    )


def _why(engine: Engine, webhook: Webhook, health: Health | None) -> tuple[str, Micros | None]:
    """Return why a webhook is not well, and since when, if that is known; empty if all is well."""
    problem = problem_of(engine, webhook)
    if problem is not None:
        return f"Nothing is sent to it: {problem}.", None
    if webhook.disabled is not None:
        return f"Disabled: {webhook.disabled.reason}. Once the receiver is mended, enable it.", webhook.disabled.at
    if webhook.state == "paused":
        return "Paused by hand. What it is owed gathers until it is enabled.", None
    if health is not None and health.trouble:
        return f"The trouble is ours, not the receiver's: {health.trouble}. Messages wait; none is given up.", None
    since = None if webhook.trouble is None else webhook.trouble.since
    fares = webhook.health if health is None or webhook.health != "well" else health.fares
    if fares == "well":
        return "", None
    newest = health.answers[-1] if health is not None and health.answers else None
    said = "" if newest is None or newest.outcome == "delivered" else newest.error or f"answered {newest.status}"
    said = said or ("" if webhook.trouble is None else webhook.trouble.reason)
    if fares == "suspended":
        return f"So many messages failed that one at a time is tried: {said}.", since
    return (f"Failing: {said}.", since) if said else ("Failing.", since)


async def past_view(engine: Engine, webhook: Webhook, span: str) -> dict[str, Any]:
    """Return how a webhook's deliveries went, as its page shows it."""
    seen = SPANS[span]
    past = await past_of(engine, webhook.id, seen.length)
    return {
        "id": webhook.id,
        "past": past,
        "chart": Markup(chart(past, seen)),
        "narrow": Markup(chart(past, NARROW[seen])),
        "columns": columns_of(past, seen)[::-1],
        "failing": sum(bucket.failing for bucket in past.buckets),
        "span": span,
        "spans": SPANS,
    }


async def happened_view(engine: Engine, webhook: Webhook) -> dict[str, Any]:
    """Return what happened to a webhook itself, newest first."""
    return {"id": webhook.id, "moments": (await timeline(engine, webhook.id))[:MOMENTS]}


def settings_view(engine: Engine, webhook: Webhook) -> dict[str, Any]:
    """Return how a webhook is sent what it asks for."""
    given, now, record = shown_webhook(engine, webhook.id), engine.now(), webhook.record
    ours = cast("dict[str, str] | None", given["client_certificate"])
    several = len(record.secrets) > 1 or len(record.keys) > 1
    return {
        "set": given,
        "ends": None if ours is None else parse_time(ours["notAfter"]),
        "old_until": record.retired_at if several and record.retired_at and record.retired_at > now else None,
    }

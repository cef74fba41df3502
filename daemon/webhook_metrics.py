"""The numbers of webhooks for Prometheus: what an alert needs to know of each of them, and the sums."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ..engine import Engine
from ..engine.events import Micros
from ..projections import deliveries, outbox, webhooks
from ..projections.deliveries import EDGES, Tally, fared
from ..projections.webhooks import Webhook
from .api.webhook_views import accepted_at, problem_of

LISTED_WEBHOOKS: Final = 200
"""Webhooks that have series of their own; the rest is in the sums."""
STATES: Final[tuple[str, ...]] = ("active", "failing", "suspended", "paused", "disabled")
OUTCOMES: Final[tuple[str, ...]] = ("succeeded", "failed", "parked", "hindered")
"""What comes of an attempt. `parked`: the last one at its message; `hindered`: the trouble was ours."""
BUCKETS: Final[tuple[float, ...]] = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds; each is an edge of the classes that are counted."""
SHARE: Final = 20
"""An answer to "what is owed for longest" is good for so many times as long as it took to find."""
_SECOND: Final = 1_000_000


class WebhookMetrics:
    """Looks at the webhooks of an engine, and says what it sees."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._oldest: dict[str, tuple[float, Micros | None]] = {}
        """Until when a look at a webhook's lanes is good, and the time of the oldest cause that it found."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        subscribed = self._engine.state(webhooks)
        self._oldest = {id: found for id, found in self._oldest.items() if id in subscribed}
        listed = [subscribed[id] for id in sorted(subscribed)[:LISTED_WEBHOOKS]]
        states = {webhook.id: self._state(webhook) for webhook in subscribed.values()}
        yield from self._sums(states)
        yield from self._states(listed, states)
        yield from self._backlogs(listed)
        yield from self._attempts(listed)
        yield self._latencies(listed)

    def _sums(self, states: dict[str, str]) -> Iterator[Metric]:
        family = GaugeMetricFamily("stationkeeper_webhooks", "Webhooks, by state.", labels=["state"])
        many = list(states.values())
        for state in STATES:
            family.add_metric([state], many.count(state))
        yield family
        unsigned = sum(
            problem_of(self._engine, webhook) is not None for webhook in self._engine.state(webhooks).values()
        )
        yield GaugeMetricFamily(
            "stationkeeper_webhooks_unsigned",
            "Webhooks that are sent nothing, for what they are sent with is missing, such as a usable secret.",
            value=unsigned,
        )

    def _state(self, webhook: Webhook) -> str:
        """Return the state in the log, or `failing` already where the log will hear of it."""
        state = fared(webhook)
        sending = self._engine.deliveries
        health = sending.health(webhook.id) if sending is not None and state == "active" else None
        return state if health is None or health.state == "active" else "failing"

    def _states(self, listed: list[Webhook], states: dict[str, str]) -> Iterator[Metric]:
        info = GaugeMetricFamily("stationkeeper_webhook_info", "1, with a webhook's name.", labels=["webhook", "name"])
        one_of = GaugeMetricFamily(
            "stationkeeper_webhook_state", "1 for the state that a webhook is in.", labels=["webhook", "state"]
        )
        for webhook in listed:
            info.add_metric([webhook.id, webhook.record.name], 1)
            for state in STATES:
                one_of.add_metric([webhook.id, state], states[webhook.id] == state)
        yield from (info, one_of)

    def _backlogs(self, listed: list[Webhook]) -> Iterator[Metric]:
        owed, now = self._engine.state(outbox), self._engine.now()
        pending = _family("messages_pending", "Messages owed.")
        parked = _family("messages_parked", "Messages given up and remembered.")
        oldest = _family(
            "oldest_owed_seconds", "Age of the oldest event that a webhook is owed; 0: it is owed nothing."
        )
        accepted = _family("accepted_timestamp_seconds", "When it last accepted a message, if that is known.")
        failing = _family(
            "failing_since_timestamp_seconds",
            "Since when it fails and accepts nothing; none for one that does not fail. After five days it is disabled.",
        )
        for webhook in listed:
            id, last = [webhook.id], accepted_at(self._engine, webhook.id)
            many = owed.count(webhook.id, "pending")
            pending.add_metric(id, many)
            parked.add_metric(id, owed.count(webhook.id, "parked"))
            since = self._oldest_at(webhook.id) if many else None
            oldest.add_metric(id, 0 if since is None else max(now - since, 0) / _SECOND)
            if last is not None:
                accepted.add_metric(id, last / _SECOND)
            destination = owed.destination(webhook.id)
            if destination is not None and destination.failing_since is not None:
                failing.add_metric(id, destination.failing_since / _SECOND)
        yield from (pending, parked, oldest, accepted, failing)

    def _oldest_at(self, webhook: str) -> Micros | None:
        begun = time.perf_counter()
        good_until, at = self._oldest.get(webhook, (0.0, None))
        if begun >= good_until:
            found = self._engine.state(outbox).oldest(webhook)
            at = None if found is None else found[1]
            ended = time.perf_counter()
            self._oldest[webhook] = ended + SHARE * (ended - begun), at
        return at

    def _attempts(self, listed: list[Webhook]) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "stationkeeper_webhook_outcomes",
            "Attempts of this process at a webhook's messages, by what came of them.",
            labels=["webhook", "outcome"],
        )
        settled = CounterMetricFamily(
            "stationkeeper_webhook_messages_settled",
            "Messages that were accepted or given up (parked), since the webhook was added.",
            labels=["webhook", "outcome"],
        )
        flying = _family("in_flight", "Attempts of a webhook in flight.")
        sending, state = self._engine.deliveries, self._engine.state(deliveries)
        for webhook in listed:
            health = sending.health(webhook.id) if sending is not None else None
            for outcome in OUTCOMES:
                attempts.add_metric([webhook.id, outcome], 0 if health is None else health.tally.get(outcome, 0))
            total = state.total(webhook.id)
            settled.add_metric([webhook.id, "accepted"], total.accepted)
            settled.add_metric([webhook.id, "parked"], total.parked)
            flying.add_metric([webhook.id], 0 if health is None else health.in_flight)
        yield from (attempts, settled, flying)

    def _latencies(self, listed: list[Webhook]) -> Metric:
        family = HistogramMetricFamily(
            "stationkeeper_webhook_latency_seconds",
            "Time to the answer of accepted messages, since the webhook was added.",
            labels=["webhook"],
        )
        state = self._engine.state(deliveries)
        for webhook in listed:
            tally = state.total(webhook.id)
            family.add_metric([webhook.id], buckets=_buckets(tally), sum_value=tally.seconds)
        return family


def _family(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"stationkeeper_webhook_{name}", says, labels=["webhook"])


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    below = {edge: sum(tally.latencies[: number + 1]) for number, edge in enumerate(EDGES) if edge in BUCKETS}
    return [*((f"{edge:g}", float(many)) for edge, many in below.items()), ("+Inf", float(sum(tally.latencies)))]

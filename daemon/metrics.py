"""The numbers for Prometheus, taken from the engine when they are asked for: nothing counts twice.

Names begin with `stationkeeper_` and end with their unit. No label takes its values from a peer: stations and what
strangers say are never labels, so the number of series is bounded by what an operator configured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..engine import Engine
from ..projections import conflicts, presence, registry
from .webhook_metrics import OUTCOMES, WebhookMetrics

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

QUANTILES: Final = (0.5, 0.95, 1.0)


class Metrics:
    """An engine's numbers, its process's among them."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(EngineCollector(engine))
        PlatformCollector(registry=self._registry)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return generate_latest(self._registry)


class EngineCollector(Collector):
    """Looks at an engine, and says what it sees."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_webhooks = WebhookMetrics(engine)

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._stations()
        yield from self._connections()
        yield from self._log()
        yield from self._of_webhooks.collect()
        yield from self._deliveries()

    def _process(self) -> Iterator[Metric]:
        yield InfoMetricFamily("stationkeeper", "The release.", value={"version": version("stationkeeper")})
        yield _gauge("ready", "1: stations are let in.", self._engine.ready)
        yield _gauge("loop_lag_seconds", "How late the event loop was at worst, of late.", self._engine.lag)

    def _stations(self) -> Iterator[Metric]:
        fleet, registered = self._engine.state(presence), self._engine.state(registry)
        held = sum(len(run.stations) for run in fleet.runs.values() if run.ended is not None)
        online = sum(len(run.stations) for run in fleet.runs.values())
        yield _gauge("stations_known", "Stations that are registered or were ever let in.", len({*fleet, *registered}))
        yield _gauge("stations_registered", "Stations that are registered.", len(registered))
        yield _gauge("stations_online", "Stations whose flag says online.", online)
        yield _gauge("stations_held", "Of those, stations not observed: their gateway ended within the grace.", held)
        fighting = len(self._engine.state(conflicts).standing(self._engine.now()))
        yield _gauge(
            "stations_in_conflict",
            "Stations taken over again and again: by two devices, or by one that dials twice.",
            fighting,
        )
        yield _gauge("watching", "1: a gateway watches, so that flags are observed.", fleet.watching)

    def _connections(self) -> Iterator[Metric]:
        tally = self._engine.tally
        yield _gauge("connections", "Stations' connections that this gateway holds.", len(self._engine.connections))
        yield _counter("connections_opened", "Connections admitted by this process.", tally["opened"])
        yield _by("connections_closed", "Connections ended, by cause.", "cause", _part(tally, "closed:"))
        yield _counter("ping_timeouts", "Connections that did not answer in time.", tally["timeouts"])
        yield _counter("pings_sent", "Pings written to silent stations.", tally["pings"])
        yield from self._round_trips()
        refused = _part(tally, "handshakes_refused:")
        yield _by("handshakes_refused", "Handshakes refused, by reason.", "reason", refused)
        dropped = tally["refusals_not_recorded"]
        yield _counter("refusals_unrecorded", "Refusals that went unrecorded, as the log took nothing.", dropped)

    def _round_trips(self) -> Iterator[Metric]:
        """Yield how long stations take to answer: of each that stands, the newest answer to a ping."""
        trips = sorted(live.rtt for live in self._engine.connections.values() if live.rtt is not None)
        family = GaugeMetricFamily(
            "stationkeeper_ping_seconds", "Time to the answer of a ping, over connected stations.", labels=["quantile"]
        )
        for quantile in QUANTILES if trips else ():
            family.add_metric([f"{quantile:g}"], trips[round(quantile * (len(trips) - 1))])
        yield family

    def _log(self) -> Iterator[Metric]:
        engine = self._engine
        committer = engine.committer
        yield _gauge("log_writable", "1: the log can be written.", committer.writable)
        yield _gauge("log_position", "Position of the newest event that is folded.", engine.position)
        yield _gauge("log_queue_events", "Events that wait to be written.", committer.queued)
        yield _counter("events_appended", "Events appended by this process.", engine.tally["events"])
        yield _counter("commits", "Commits by this process.", committer.commits)
        yield _counter("commit_seconds", "Seconds spent in commits, syncs included.", committer.total_seconds)
        # A log in memory has no checkpoints outside: both are named then, and have no value.
        reach, failed = (None, None) if engine.ledger is None else (engine.ledger.protected, engine.ledger.failures)
        yield _gauge("log_protected_position", "How far the newest checkpoint outside the log reaches.", reach)
        yield _counter("log_checkpoint_failures", "Checkpoints that could not be written outside.", failed)

    def _deliveries(self) -> Iterator[Metric]:
        deliveries = self._engine.deliveries
        tally: Mapping[str, int] = {} if deliveries is None else deliveries.tally
        attempts = {name: tally.get(name, 0) for name in OUTCOMES}
        yield _by("webhook_attempts", "Attempts at messages by this process, by outcome.", "outcome", attempts)
        yield _counter("webhooks_disabled", "Webhooks disabled by this process.", tally.get("disabled", 0))
        flying = 0 if deliveries is None else deliveries.in_flight
        yield _gauge("webhook_attempts_in_flight", "Attempts in flight.", flying)
        yield _gauge("mute", "1: no webhook is sent, as told or because the log is a copy.", self._engine.mute)


def _part(tally: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in sorted(tally.items()) if name.startswith(prefix)}


def _gauge(name: str, says: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"stationkeeper_{name}", says, value=None if value is None else float(value))


def _counter(name: str, says: str, value: float | None) -> Metric:
    return CounterMetricFamily(f"stationkeeper_{name}", says, value=value)


def _by(name: str, says: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"stationkeeper_{name}", says, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family

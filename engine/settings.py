"""What can be set, as frozen values; each default bears its unit and its reason."""

from __future__ import annotations

from attrs import evolve, frozen

from .events import PingSettings

MINUTES = 60.0
HOURS = 60 * MINUTES

SHORTEST_WATCH = 1.0
"""Seconds: where people say how stations are watched, none is pinged more often, nor given up sooner. One that was
pinged ten thousand times a second would leave no time for the others."""


@frozen(kw_only=True)
class Liveness:
    """How connections are watched."""

    ping_interval: float = 25.0
    """Seconds of silence after which a station is pinged; 0: never. Under the 30 s at which the first NATs forget."""
    ping_timeout: float = 20.0
    """Seconds that a ping may go unanswered. With the interval 45 s, inside the minute that EU 2025/655 allows."""
    silence: float = 15 * MINUTES
    """Seconds that a station that must not be pinged may stay silent; three times a usual Heartbeat interval."""

    def for_station(self, own: PingSettings | None) -> Liveness:
        """Return these settings with a station's own in their place."""
        if own is None:
            return self
        named = {"ping_interval": own.ping_interval, "ping_timeout": own.ping_timeout, "silence": own.silence}
        return evolve(self, **{key: value for key, value in named.items() if value is not None})


@frozen(kw_only=True)
class Retry:
    """When a failed webhook is tried again."""

    delays: tuple[float, ...] = (
        5.0,
        5 * MINUTES,
        30 * MINUTES,
        2 * HOURS,
        5 * HOURS,
        10 * HOURS,
        14 * HOURS,
        20 * HOURS,
        24 * HOURS,
    )
    """Seconds after each failed attempt; one more failure than there are delays parks the message. The example
    schedule of Standard Webhooks 1.0.0: 75 hours in all, so that a weekend's outage is bridged."""
    jitter: float = 0.1
    """The share by which a delay may be shorter or longer, drawn from the message id, so that a replay agrees."""
    retry_after_cap: float = 24 * HOURS
    """The longest time, in all, that a receiver may put a message off with Retry-After; also a whole webhook whose
    breaker is open, until it accepts something."""
    disable_after: float = 5 * 24 * HOURS
    """A webhook that failed for so long without one success is disabled (Svix's five days), unless it was hardly tried:
    see `delivery.condition.ENOUGH`."""


@frozen(kw_only=True)
class EngineSettings:
    """How an engine runs."""

    liveness: Liveness = Liveness()
    reconnect_grace: float = 2 * MINUTES
    """Listened seconds after a run's end in which its stations may come back unannounced; above their back-off."""
    settling: float = 5 * MINUTES
    """Seconds offline until `station.settled`."""
    max_connections: int = 50_000
    """More stations than these are answered 503. A takeover is never refused."""
    retry: Retry = Retry()
    concurrency: int = 64
    """Webhook attempts in flight at once."""
    webhook_concurrency: int = 16
    """Of those, for one webhook."""
    host_concurrency: int = 32
    """Of those, for all webhooks on one host; half of all, so that no host keeps the others waiting."""
    webhook_rate: float | None = None
    """Attempts a second for a webhook that names no rate of its own; none: as many as it bears."""
    witness: bool = True
    """Whether attempts carry the newest signed checkpoint of the log, so that receivers become its witnesses."""
    shutdown_timeout: float = 30.0
    """Seconds from the first signal to the end; systemd's default is 90."""
    drain: float = 0.0
    """Seconds, of those, over which connections are closed one by one; 0: all at once. Less than all of them, or the
    rest of the shutdown is cut off."""
    snapshot_interval: float = 1 * MINUTES
    """Seconds between snapshots, when there is news."""

"""The vocabulary: everything that can be recorded, one class a kind.

Events are facts in the past tense. They are frozen, carry no behaviour, read no clock and draw no random number.
Here stands an event's *body*; the envelope around it (position, id, time, subject, gateway, run, actor) is
`entry.Entry`. Times are microseconds since 1970-01-01 UTC, durations are seconds.

Within a schema number only optional fields are added. A change that old readers would misunderstand gets the next
number and an upcaster in `codec`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from attrs import frozen

Micros: TypeAlias = int
"""Microseconds since 1970-01-01 UTC."""

Side: TypeAlias = Literal["station", "gateway", "network"]

Cause: TypeAlias = Literal[
    "station_closed",
    "network_lost",
    "ping_timeout",
    "superseded",
    "shutdown",
    "protocol_error",
    "message_too_big",
    "stalled_frame",
    "slow_reader",
    "overrun",
    "handshake_aborted",
    "removed",
    "kicked",
    "credential_revoked",
    "internal_error",
]
"""Why a connection ended. Only `shutdown`, our own stop, keeps the station's flag."""

Mode: TypeAlias = Literal["every", "latest"]
"""Which messages of a station a webhook is sent: every one, or after an outage the newest state alone."""

Format: TypeAlias = Literal["standard", "cloudevents"]
"""How the body of a message is written."""

Reach: TypeAlias = Literal["acknowledged", "silent"]
"""What the peer's network did when the peer itself said nothing: its kernel acknowledged, or not even that."""


class Event:
    """The base of all kinds."""

    __slots__ = ()
    kind: ClassVar[str]
    schema: ClassVar[int] = 1


@frozen(kw_only=True)
class Unknown(Event):
    """An event of a kind, or of a schema, that this release does not know. It is kept, counted and passed over."""

    written_kind: str
    """The kind as stored."""
    written_schema: int
    """The schema number as stored."""


# --- gateways and their runs -----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class GatewayStarted(Event):
    """A gateway began to watch. The id of this event names the run."""

    kind: ClassVar[str] = "gateway.started"
    public_url: str
    """Where stations dial in, without the station's id."""
    ping_interval: float
    """Silence after which a station is pinged, unless it has settings of its own."""
    ping_timeout: float
    """How long a ping may go unanswered."""
    silence: float
    """How long a station that must not be pinged may stay silent."""
    grace: float
    """Listened time after the end of a run in which its stations may come back without a message."""
    settling: float
    """How long a station must stay offline before `station.settled`."""
    rules: int
    """The newest version of the derivation rules that this run knows."""
    software: str
    """The release of Stationkeeper."""
    host: str
    """The machine's name."""


@frozen(kw_only=True)
class GatewayStopped(Event):
    """A run ended in order. It is the last event of its run."""

    kind: ClassVar[str] = "gateway.stopped"
    listened: float
    """Seconds in which stations could connect."""


@frozen(kw_only=True)
class GatewayLost(Event):
    """A run ended without saying so, and was found dead."""

    kind: ClassVar[str] = "gateway.lost"
    run: str
    """The run that was lost."""
    alive_at: Micros
    """Its last moment alive, as far as it left word."""
    listened: float
    """Seconds that it had listened until then."""
    found_by: str
    """The gateway that found it dead."""


@frozen(kw_only=True)
class GatewayLapsed(Event):
    """The grace of an ended run is over: stations that the run still holds are offline."""

    kind: ClassVar[str] = "gateway.lapsed"
    run: str
    """The run whose grace is over."""
    grace: float
    """The grace in force."""
    listened: float
    """Seconds listened, by whichever runs, since the end of that run."""


@frozen(kw_only=True)
class GatewayStalled(Event):
    """This run did not watch for a while: paused, suspended, or its loop blocked."""

    kind: ClassVar[str] = "gateway.stalled"
    since: Micros
    """The last look at the connections before the pause."""
    until: Micros
    """The first one after it."""


@frozen(kw_only=True)
class GatewayClockSet(Event):
    """The machine's wall clock was set; the offset is added to event times from here on."""

    kind: ClassVar[str] = "gateway.clock_set"
    offset: float
    """Seconds that the wall clock moved against the stepless clock."""


# --- connections -----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ConnectionOpened(Event):
    """A station's connection was admitted. Its subject is the station."""

    kind: ClassVar[str] = "connection.opened"
    connection: str
    """`<run>-<n>`, n counting the run's admissions."""
    subprotocol: str | None = None
    """`ocpp1.6`, `ocpp2.0.1` or `ocpp2.1`; none for an agreed exception."""
    security: str = "none"
    """How the station proved who it is: `basic`, `mtls` or `none`."""
    certificate: str | None = None
    """The serial of its client certificate."""
    tls: str | None = None
    """The TLS version, if the gateway itself ended TLS."""
    ping_interval: float
    """0: never pinged."""
    ping_timeout: float
    """How long a ping may go unanswered."""
    silence: float
    """How long it may stay silent if it is never pinged."""


@frozen(kw_only=True)
class ConnectionPingTimedOut(Event):
    """A station did not answer in time, though we looked; or one that is never pinged was silent too long."""

    kind: ClassVar[str] = "connection.ping_timed_out"
    connection: str
    """`<run>-<n>`."""
    alive_at: Micros
    """The last proof of life."""
    pinged_at: Micros | None = None
    """When the ping was written; none if the station is never pinged."""
    interval: float
    """The ping interval in force; 0: never pinged."""
    timeout: float
    """How long it could have answered, or been silent."""
    lag: float
    """How late our own loop was when it looked."""
    path: Reach | None = None
    """What our kernel knew of the path then: `acknowledged`, the other end's took our ping, but nobody answered;
    `silent`, not even that; none if it cannot be said. Behind a proxy the other end is the proxy."""


@frozen(kw_only=True)
class ConnectionClosed(Event):
    """A connection ended. There is exactly one for each `connection.opened`, unless its run was lost."""

    kind: ClassVar[str] = "connection.closed"
    connection: str
    """`<run>-<n>`."""
    side: Side
    """Who ended it."""
    code: int | None = None
    """The WebSocket close code on the wire (RFC 6455, 7.4), if there was one."""
    reason: str = ""
    """The close reason on the wire."""
    cause: Cause
    """Why it ended."""
    alive_at: Micros
    """The last proof of life."""
    received: int = 0
    """Messages from the station."""
    sent: int = 0
    """Messages to the station."""


@frozen(kw_only=True)
class HandshakeRefused(Event):
    """Somebody was not let in. Repeats are summed up, so that strangers cannot fill the log."""

    kind: ClassVar[str] = "handshake.refused"
    claimed: str
    """The id that was claimed, cut at 255 bytes. It is nobody's id until it is proven."""
    reason: str
    """For programs: `unknown_station`, `wrong_credentials`, `no_subprotocol`, ..."""
    status: int
    """The HTTP status of the answer; 101 for a refusal after the upgrade."""
    hint: str = ""
    """For a technician: what to change."""
    count: int = 1
    """How many refusals this event stands for."""
    first_at: Micros
    """When the first of them was."""
    last_at: Micros
    """When the last of them was."""


# --- stations --------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Validity:
    """A credential's id, and when it may be used. What the credential is stands in the secrets file alone."""

    id: str
    """Random, and never used again."""
    not_before: Micros | None = None
    """It may be used from then on; none: at once."""
    not_after: Micros | None = None
    """It may be used until then; none: for ever."""


@frozen(kw_only=True)
class PingSettings:
    """How one station is watched where it differs from the gateway's settings."""

    ping_interval: float | None = None
    """Seconds; 0 means never ping."""
    ping_timeout: float | None = None
    """Seconds that a ping may go unanswered."""
    silence: float | None = None
    """Seconds that it may stay silent if it is never pinged."""


@frozen(kw_only=True)
class StationRecord(Event):
    """All that the registry knows of a station; `registered` and `updated` carry it whole."""

    protocol: str | None = None
    """The subprotocol of a station that offers none."""
    security: str = "basic"
    """How it must prove who it is: `basic`, `mtls` or `none`."""
    credentials: tuple[Validity, ...] = ()
    """Any of them lets it in."""
    liveness: PingSettings | None = None
    """None: as the gateway's settings say."""
    name: str = ""
    """For people."""
    site: str = ""
    """Where it stands, for people."""
    profile: int | None = None
    """The OCPP security profile that it must arrive with: 1 (Basic), 2 (Basic over TLS), 3 (client certificate). None:
    any that `security` allows."""
    serial: str | None = None
    """The serial number that the common name of its client certificate may be instead of its id (A00.FR.405)."""
    lenient: tuple[str, ...] = ()
    """What is forgiven it, of: `username` (its Basic user name is not its id), `upgrade` (its request lacks
    `Connection: Upgrade`), `subprotocol` (it offers foreign subprotocols alone, and is taken for `protocol`), `origin`
    (it sends a foreign Origin)."""


@frozen(kw_only=True)
class StationRegistered(StationRecord):
    kind: ClassVar[str] = "station.registered"


@frozen(kw_only=True)
class StationUpdated(StationRecord):
    kind: ClassVar[str] = "station.updated"


@frozen(kw_only=True)
class StationRemoved(Event):
    kind: ClassVar[str] = "station.removed"


@frozen(kw_only=True)
class StationSettled(Event):
    """A station stayed offline at one version for the settling time."""

    kind: ClassVar[str] = "station.settled"
    version: int
    """The version at which it was offline; without effect if that has moved on."""
    settling: float
    """The settling time in force."""


# --- webhooks --------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class WebhookRecord(Event):
    """All that is known of a subscription; `added` and `updated` carry it whole. Its subject is the webhook."""

    url: str
    """Where messages are posted."""
    events: tuple[str, ...] = ("chargestation.online", "chargestation.offline")
    """The types that it asks for."""
    stations: tuple[str, ...] = ("*",)
    """Patterns of station ids, as a shell's: `*`, `?`, `[...]`."""
    secrets: tuple[str, ...] = ()
    """Ids of its signing secrets, newest first. The secrets stand in the secrets file alone."""
    initial: Literal["none", "state"] = "none"
    """`state`: it is first told the state of each station that ever connected."""
    name: str = ""
    """For people; what stands in the configuration file is known by it."""
    sites: tuple[str, ...] = ("*",)
    """Patterns of the sites whose stations it is told of; a station without a site fits `*` alone."""
    mode: Mode = "every"
    """`latest`: of a station that flipped while messages waited, only the newest state is sent."""
    format: Format = "standard"
    """How bodies are written: as Standard Webhooks has them, or as CloudEvents 1.0."""
    keys: tuple[str, ...] = ()
    """Ids of its Ed25519 signing keys, newest first; none: no `v1a` signatures."""
    retired_at: Micros | None = None
    """From when on only the newest secret and the newest key sign; none: older ones sign on."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names of headers that each request bears, with the ids of their values, which stand in the secrets file."""
    identity: str = ""
    """Id of the certificate and key by which we prove to the receiver who we are; empty: none."""
    authorities: str = ""
    """Id of the certificates of the authorities that the receiver is believed by; empty: the system's."""
    rate: float | None = None
    """Messages a second, at most; none: as many as it takes."""
    concurrency: int | None = None
    """Attempts in flight, at most; none: what is set for all webhooks."""


@frozen(kw_only=True)
class WebhookAdded(WebhookRecord):
    kind: ClassVar[str] = "webhook.added"


@frozen(kw_only=True)
class WebhookUpdated(WebhookRecord):
    kind: ClassVar[str] = "webhook.updated"


@frozen(kw_only=True)
class WebhookRemoved(Event):
    kind: ClassVar[str] = "webhook.removed"


@frozen(kw_only=True)
class WebhookPaused(Event):
    kind: ClassVar[str] = "webhook.paused"


@frozen(kw_only=True)
class WebhookEnabled(Event):
    kind: ClassVar[str] = "webhook.enabled"


@frozen(kw_only=True)
class WebhookDisabled(Event):
    kind: ClassVar[str] = "webhook.disabled"
    reason: str
    """In words: that it answered 410 twice, or failed for too long."""
    since: Micros
    """When it last accepted a message, or was added."""
    status: int | None = None
    """Its last answer."""


@frozen(kw_only=True)
class WebhookFailed(Event):
    """A webhook that was well began to fail."""

    kind: ClassVar[str] = "webhook.failed"
    since: Micros
    """When the first of the attempts began that failed."""
    reason: str
    """In words."""
    status: int | None = None
    """The answer; none if there was none."""


@frozen(kw_only=True)
class WebhookSuspended(Event):
    """So many messages of a webhook failed that it is left alone, but for one probe at a time."""

    kind: ClassVar[str] = "webhook.suspended"
    since: Micros
    """When the first of the attempts began that failed."""
    reason: str
    """In words, of the last of them."""
    status: int | None = None
    """The answer; none if there was none."""


@frozen(kw_only=True)
class WebhookResumed(Event):
    """A webhook that failed, or was suspended, accepted a message again."""

    kind: ClassVar[str] = "webhook.resumed"


@frozen(kw_only=True)
class WebhookTested(Event):
    """Someone asked for a `webhook.ping`."""

    kind: ClassVar[str] = "webhook.tested"


@frozen(kw_only=True)
class WebhookRecovered(Event):
    """Someone asked that what was parked or skipped between two positions be owed again."""

    kind: ClassVar[str] = "webhook.recovered"
    since: int
    """The first position of a cause that counts."""
    until: int
    """Positions of causes, both included."""


# --- deliveries ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class DeliveryOutcome(Event):
    """How the delivery of a message ended. Its subject is the message's station (empty: the webhook's own message)."""

    message: str
    """The message's id."""
    webhook: str
    """The webhook's id."""
    position: int
    """Of the event that caused the message."""
    round: int
    """0, then one more with each request for redelivery."""
    attempts: int
    """How many there were in this round."""
    attempted_at: Micros
    """When the last of them began."""
    latency: float
    """Seconds from its begin to the end of the answer's head."""


@frozen(kw_only=True)
class DeliverySucceeded(DeliveryOutcome):
    """A receiver accepted a message."""

    kind: ClassVar[str] = "delivery.succeeded"
    status: int
    """The HTTP status of its answer: 2xx."""


@frozen(kw_only=True)
class DeliveryParked(DeliveryOutcome):
    """A message was given up, until someone asks for it."""

    kind: ClassVar[str] = "delivery.parked"
    status: int | None = None
    """The HTTP status of the last answer; none if there was no answer."""
    reason: str
    """What went wrong, in words."""


@frozen(kw_only=True)
class DeliveryRequested(Event):
    """Someone asked that a delivered, parked or skipped message be sent again."""

    kind: ClassVar[str] = "delivery.requested"
    message: str
    """The message's id: the same again."""
    webhook: str
    """The webhook's id."""
    type: str
    """The message's type."""
    position: int
    """Of the event that caused the message."""
    round: int
    """The round that this begins."""
    format: Format = "standard"
    """How its body is written, as its webhook had it when it was caused."""


@frozen(kw_only=True)
class DeliverySkipped(Event):
    """Someone asked that a pending message be sent no more, so that its lane goes on. Its subject is the station."""

    kind: ClassVar[str] = "delivery.skipped"
    message: str
    """The message's id."""
    webhook: str
    """The webhook's id."""
    position: int
    """Of the event that caused the message."""
    round: int
    """The round in which it is skipped."""


@frozen(kw_only=True)
class LogRestored(Event):
    """The log was taken up again from a copy; versions step forward, past all that subscribers may have seen."""

    kind: ClassVar[str] = "log.restored"
    checkpoint_size: int
    """How many events the newest checkpoint beside the log spoke of; where there was none, how many the copy held."""
    checkpoint_root: str
    """The root of their hashes, in hexadecimal. Another root of the log as it is now tells what was lost or changed."""


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        GatewayStarted,
        GatewayStopped,
        GatewayLost,
        GatewayLapsed,
        GatewayStalled,
        GatewayClockSet,
        ConnectionOpened,
        ConnectionPingTimedOut,
        ConnectionClosed,
        HandshakeRefused,
        StationRegistered,
        StationUpdated,
        StationRemoved,
        StationSettled,
        WebhookAdded,
        WebhookUpdated,
        WebhookRemoved,
        WebhookPaused,
        WebhookEnabled,
        WebhookDisabled,
        WebhookFailed,
        WebhookSuspended,
        WebhookResumed,
        WebhookTested,
        WebhookRecovered,
        DeliverySucceeded,
        DeliveryParked,
        DeliveryRequested,
        DeliverySkipped,
        LogRestored,
    )
}
"""Every kind that this release knows."""

"""What happened, in words for people: causes, events, spans of time."""

from __future__ import annotations

from typing import Final

from ..engine.clock import rfc3339
from ..engine.codec import decode
from ..engine.entry import Recorded
from ..engine.errors import UnreadableEvent
from ..engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    DeliveryParked,
    DeliveryRequested,
    DeliverySkipped,
    DeliverySucceeded,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    HandshakeRefused,
    LogRestored,
    Micros,
    StationRecord,
    StationRegistered,
    StationRemoved,
    StationSettled,
    WebhookAdded,
    WebhookDisabled,
    WebhookEnabled,
    WebhookFailed,
    WebhookPaused,
    WebhookRecovered,
    WebhookRemoved,
    WebhookResumed,
    WebhookSuspended,
    WebhookTested,
    WebhookUpdated,
)
from ..projections.conflicts import Conflict
from .reasons import meaning

CAUSES: Final = {
    "station_closed": "the station closed the connection",
    "network_lost": "the network connection broke",
    "ping_timeout": "it did not answer our ping",
    "superseded": "a newer connection of it took over",
    "shutdown": "our gateway was stopped",
    "gateway_lost": "our gateway was lost",
    "lapsed": "our gateway went, and it did not come back",
    "protocol_error": "it broke the WebSocket protocol",
    "message_too_big": "it sent too large a message",
    "stalled_frame": "a message of it stopped half-way",
    "slow_reader": "it stopped reading what we sent",
    "overrun": "it sent faster than messages could be taken",
    "handshake_aborted": "it left during the handshake",
    "removed": "it was removed from the registry",
    "kicked": "somebody disconnected it",
    "credential_revoked": "its credential was revoked",
    "internal_error": "of a fault of ours",
}
"""Cause -> the rest of a sentence that begins with "because"."""

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def because(cause: str) -> str:
    """Return a cause in words."""
    return CAUSES.get(cause, cause.replace("_", " "))


def duration(seconds: float) -> str:
    """Write a span of time in its two largest units: `2 min 5 s`, `3 d 4 h`."""
    left = round(seconds)
    if left <= 0:
        return "0 s" if seconds <= 0 else f"{round(seconds * 1000)} ms" if seconds < 0.5 else "1 s"
    parts: list[str] = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def ago(at: Micros, now: Micros) -> str:
    """Write how long ago something was, or how soon it will be, in its largest unit: `5 min ago`, `in 2 h`."""
    seconds = abs(now - at) // 1_000_000
    if seconds < 1:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{seconds // size} {unit} ago" if at < now else f"in {seconds // size} {unit}"


def clock(at: Micros) -> str:
    """Write a time to the second: `2026-11-22 09:00:00 UTC`."""
    return rfc3339(at)[:19].replace("T", " ") + " UTC"


def number(value: int) -> str:
    """Write a number with its thousands apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def count(value: int, one: str) -> str:
    """Write a number of things: `1 station`, `2 stations`."""
    return f"{number(value)} {one if value == 1 else one + 's'}"


def fight(conflict: Conflict) -> str:
    """Say of a conflict what is going on, and what to do."""
    times = count(conflict.takeovers, "time")
    return (
        "Two devices use its identity, or one opens a second connection while it has one: it was taken over "
        f"{times} since {clock(conflict.since)}, most lately at {clock(conflict.last)}. "
        "Give one of the two another id, or switch it off; if there is but one, tell its vendor."
    )


def told(recorded: Recorded) -> str:
    """Return an event in words, as a line of a station's history."""
    try:
        event = decode(recorded)
    except UnreadableEvent:
        return "something that this release cannot read"
    return _tell(event) or recorded.kind.replace(".", " ").replace("_", " ")


def _tell(event: Event) -> str:
    match event:
        case ConnectionOpened():
            return f"Connected{_with(event.subprotocol)}{_by(event.security)}"
        case ConnectionClosed():
            return f"Connection ended because {because(event.cause)}{_wire(event)}"
        case ConnectionPingTimedOut():
            return _timed_out(event)
        case StationRecord():
            return "Registered" if isinstance(event, StationRegistered) else "Registration changed"
        case StationRemoved():
            return "Removed from the registry"
        case HandshakeRefused():
            times = "" if event.count == 1 else f" {event.count} times"
            return f"Turned away{times} ({event.reason}): {event.hint or meaning(event.reason)}"
        case StationSettled():
            return f"Still offline after {duration(event.settling)}"
        case _:
            return _tell_of_gateways(event) or _tell_of_deliveries(event) or _tell_of_webhooks(event)


def _tell_of_gateways(event: Event) -> str:
    match event:
        case GatewayStarted():
            return "Our gateway started"
        case GatewayStopped():
            return "Our gateway stopped; the flag stays until it returns"
        case GatewayLost():
            return "Our gateway was lost; the flag stays until it returns"
        case GatewayLapsed():
            return f"The time to come back ({duration(event.grace)}) was over"
        case LogRestored():
            return "The log was restored from a copy, and every version stepped far forward"
        case _:
            return ""


def _tell_of_deliveries(event: Event) -> str:
    match event:
        case DeliverySucceeded():
            return f"A message was delivered to {event.webhook}: {event.status}{_attempts(event.attempts)}"
        case DeliveryParked():
            return f"A message to {event.webhook} was given up{_attempts(event.attempts)}: {event.reason}"
        case DeliveryRequested():
            return f"A message to {event.webhook} was asked for again"
        case DeliverySkipped():
            return f"A message to {event.webhook} was skipped: somebody asked for that"
        case _:
            return ""


def _tell_of_webhooks(event: Event) -> str:
    match event:
        case WebhookAdded():
            return "Subscribed"
        case WebhookUpdated():
            return "Subscription changed"
        case WebhookRemoved():
            return "Unsubscribed"
        case WebhookPaused():
            return "Paused"
        case WebhookEnabled():
            return "Enabled"
        case WebhookDisabled():
            return f"Disabled: {event.reason}"
        case WebhookFailed():
            return f"Began to fail: {event.reason}"
        case WebhookSuspended():
            return f"So many messages failed that one at a time is tried: {event.reason}"
        case WebhookResumed():
            return "Accepts messages again"
        case WebhookTested():
            return "A test was asked for"
        case WebhookRecovered():
            return f"What was given up or skipped of the events {event.since} to {event.until} is owed again"
        case _:
            return ""


_REACHED: Final[dict[str | None, str]] = {
    "acknowledged": ": its network acknowledged what we sent, so the device, or what stands before it, hangs",
    "silent": ": not even its network answered",
}


def _timed_out(event: ConnectionPingTimedOut) -> str:
    if event.pinged_at is None:
        return f"It was silent for too long{_REACHED.get(event.path, '')}"
    return f"No answer to a ping within {duration(event.timeout)}{_REACHED.get(event.path, '')}"


def _wire(event: ConnectionClosed) -> str:
    said = [f"code {event.code}"] if event.code is not None else []
    if event.reason:
        said.append(f"\u201c{event.reason}\u201d")
    return f" ({', '.join(said)})" if said else ""


def _with(subprotocol: str | None) -> str:
    return f" with {subprotocol}" if subprotocol else ""


def _by(security: str) -> str:
    proofs: dict[str, str] = {"basic": ", by password", "mtls": ", by certificate"}
    return proofs.get(security, ", without credentials")


def _attempts(number: int) -> str:
    return "" if number == 1 else f" at attempt {number}"

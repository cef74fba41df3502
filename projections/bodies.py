"""What a webhook message says, and what it is called: functions of the log up to the event that caused it."""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256
from typing import Final

import msgspec

from ..engine.events import Micros
from .chargestation import render, time
from .fleet import Station
from .registry import Registration
from .webhooks import Webhook

ONLINE: Final = "chargestation.online"
OFFLINE: Final = "chargestation.offline"
CONFIRMED: Final = "chargestation.offline.confirmed"
DISABLED: Final = "webhook.disabled"
PING: Final = "webhook.ping"

FLIPS: Final = frozenset({ONLINE, OFFLINE})
"""In a lane, of messages of one position, these come first."""

_encode: Final = msgspec.json.Encoder().encode


class StationScene(msgspec.Struct, frozen=True, tag="station"):
    """A station as of the event that a message tells of."""

    at: Micros
    """When we knew."""
    station: Station
    registration: Registration | None
    observed: bool


class WebhookScene(msgspec.Struct, frozen=True, tag="webhook"):
    """A webhook as of the event that a message tells of."""

    at: Micros
    webhook: Webhook


Scene = StationScene | WebhookScene


def message_id(webhook: str, event: str, type: str, station: str) -> str:
    """Name a message, by the webhook, the id of the event that caused it, its type and its station (O12)."""
    words = [word.encode() for word in ("stationkeeper outbox 1", webhook, event, type, station)]
    digest = sha256(b"".join([len(word).to_bytes(4, "big") + word for word in words])).digest()
    # 26 characters of base32 are 130 bits; 20 bytes are whole groups of it.
    return "msg_" + b32encode(digest[:20]).decode()[:26]


def render_body(type: str, scene: Scene) -> bytes:
    """Write a message's body: compact JSON, its keys always in the same order."""
    if isinstance(scene, StationScene):
        data = render(scene.station, scene.registration, observed=scene.observed)
    else:
        data = _webhook(scene.webhook)
    return _encode({"type": type, "timestamp": time(scene.at), "data": data})


def _webhook(webhook: Webhook) -> dict[str, object]:
    """Write a webhook out, without its URL: that may hold a secret, and this is read by other receivers."""
    disabled = webhook.disabled
    return {
        "id": webhook.id,
        "object": "webhook",
        "name": webhook.record.name,
        "state": webhook.state,
        "disabled": None
        if disabled is None
        else {
            "reason": disabled.reason,
            "since": time(disabled.since),
            "status": disabled.status,
            "at": time(disabled.at),
        },
    }

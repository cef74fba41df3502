"""What a webhook message says, and what it is called: functions of the log up to the event that caused it."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from itertools import product
from struct import Struct
from typing import Final
from urllib.parse import quote

import msgspec

from ..engine.events import Micros
from ..engine.sending import Owed
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

RULE: Final = "stationkeeper outbox 1"
"""What every message's id is made of besides: ids of another rule are others."""

_encode: Final = msgspec.json.Encoder().encode
_size: Final = Struct(">I").pack
_PAIRS: Final = [one + other for one, other in product("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", repeat=2)]
"""Of base32 (RFC 4648, 6)."""


_NONCHARACTERS: Final = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_FORBIDDEN: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
"""What no string of CloudEvents may hold (1.0.2, "Type System"). A station's id that does is told by `source`, where
it is percent-encoded, and by the data alone."""


class StationScene(msgspec.Struct, frozen=True, gc=False, tag="station"):
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


def message_id(webhook: str, event: str, type: str, station: str, base: int = 0) -> str:
    """Name a message, by the webhook, the id of the event that caused it, its type and its station (O12).

    *base*: the fleet's base version as of that event, above 0 after a restore. Ids of events may be computed, like
    `<run>:lapsed`, so what the lost log has told may come again with another body: under another id (ADR 0016).
    """
    cause, of = event.encode(), station.encode()
    restored = _framed(str(base)) if base else b""
    fields = (_framed(RULE, webhook), _size(len(cause)), cause, _framed(type), _size(len(of)), of, restored)
    digest = sha256(b"".join(fields)).digest()
    return write_id(int.from_bytes(digest[:17], "big") >> 6)


def write_id(n: int) -> str:
    """Write the 130 bits of a message's id out."""
    # 26 characters of base32 are 13 pairs of 10 bits. `base64.b32encode` takes three times as long.
    pairs = _PAIRS
    return (
        f"msg_{pairs[n >> 120]}{pairs[n >> 110 & 1023]}{pairs[n >> 100 & 1023]}{pairs[n >> 90 & 1023]}"
        f"{pairs[n >> 80 & 1023]}{pairs[n >> 70 & 1023]}{pairs[n >> 60 & 1023]}{pairs[n >> 50 & 1023]}"
        f"{pairs[n >> 40 & 1023]}{pairs[n >> 30 & 1023]}{pairs[n >> 20 & 1023]}{pairs[n >> 10 & 1023]}{pairs[n & 1023]}"
    )


@lru_cache(maxsize=1024)
def _framed(*words: str) -> bytes:
    """Return words, each behind its length; kept, because a webhook's messages share most of theirs."""
    return b"".join([_size(len(word)) + word for word in map(str.encode, words)])


def render_body(message: Owed, scene: Scene) -> bytes:
    """Write a message's body in the message's format: compact JSON, its keys always in the same order."""
    if isinstance(scene, StationScene):
        data = render(scene.station, scene.registration, observed=scene.observed)
    else:
        data = _webhook(scene.webhook)
    if message.format == "cloudevents":
        return _encode(_cloud_event(message, scene, data))
    return _encode({"type": message.type, "timestamp": time(scene.at), "data": data})


def _cloud_event(message: Owed, scene: Scene, data: dict[str, object]) -> dict[str, object]:
    """Put data into the envelope of CloudEvents 1.0, in its JSON format (structured mode)."""
    of, id = ("chargestations", scene.station.id) if isinstance(scene, StationScene) else ("webhooks", scene.webhook.id)
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": message.id,
        "source": f"/{of}/{quote(id, safe='')}",
        "type": message.type,
    }
    if isinstance(scene, StationScene) and id and not _FORBIDDEN.search(id):
        event["subject"] = id
    event["time"] = time(scene.at)
    if isinstance(scene, StationScene) and message.type in FLIPS:
        # The extension "sequence" of CloudEvents: compared as text, so all are of one length.
        event["sequence"] = f"{scene.station.version:020}"
    return event | {"datacontenttype": "application/json", "data": data}


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

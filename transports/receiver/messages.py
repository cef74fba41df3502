"""What a message says: a small value, whether its body is written as Standard Webhooks or as CloudEvents have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from attrs import field, frozen

FLIPS: Final = frozenset({"chargestation.online", "chargestation.offline"})
"""The types that tell that a station's flag changed, each with a version of its own; others speak of one of these."""
ONCE: Final = frozenset({"chargestation.offline.confirmed"})
"""The other types of which a flip has one message at most, so that a second is a repeat."""
_LARGEST: Final = 2**63 - 1
"""What databases can hold; versions grow by one with each flip."""


class BadMessage(Exception):
    """What came is not to be believed, or makes no sense. The text says why; it holds no secret.

    Whatever a stranger may send ends in this and in no other exception.
    """


@frozen(kw_only=True)
class Message:
    """A message that was told to us."""

    id: str
    """The same for each attempt and each redelivery."""
    type: str
    """Such as `chargestation.online`. New ones may come; pass over what you do not know."""
    timestamp: datetime
    """When Stationkeeper knew; the last proof of life is `data["disconnect"]["lastAliveAt"]`."""
    data: Mapping[str, Any] = field(hash=False)
    """For a station the Chargestation as of that moment."""
    station: str | None = None
    """The station's id; none for messages about no station."""
    version: int | None = None
    """Counts the flips of the station's flag, for ever; none for messages about no station."""
    online: bool | None = None
    """The flag; none for messages about no station."""

    @property
    def flip(self) -> bool:
        """Does it tell that the flag changed, and not merely speak of a change that was told?"""
        return self.type in FLIPS


def read_body(id: str, body: bytes) -> Message:
    """Read the body of a message whose signature was found genuine.

    Raises:
        BadMessage: it is not what Stationkeeper writes.
    """
    try:
        # Not `loads(body)`, which would also guess at UTF-16.
        fields = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"the body is no JSON: {error}"[:200]) from None
    if not isinstance(fields, dict):
        raise BadMessage("the body is no JSON object")
    return read_fields(id, cast("dict[str, object]", fields))


def read_fields(id: str, fields: Mapping[str, object]) -> Message:
    """Read a message from its fields.

    Raises:
        BadMessage: they are not what Stationkeeper writes.
    """
    time = "timestamp"
    if "specversion" in fields:  # CloudEvents 1.0, structured
        time = "time"
        if fields.get("id") != id:
            raise BadMessage("the event has another id than the message that carries it")
    type = _text(fields, "type")
    data = fields.get("data")
    if not isinstance(data, dict):
        raise BadMessage("`data` is no object")
    found = cast("dict[str, Any]", data)
    about = _station(type, found) if type.startswith("chargestation.") else {}
    return Message(id=id, type=type, timestamp=_time(_text(fields, time), time), data=found, **about)


def _station(type: str, data: Mapping[str, object]) -> dict[str, Any]:
    station, version, online = _text(data, "id"), data.get("version"), data.get("online")
    # A bool is an int, but no version.
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= _LARGEST:
        raise BadMessage("`version` is no version")
    if not isinstance(online, bool):
        raise BadMessage("`online` is neither true nor false")
    if type in FLIPS and online != (type == "chargestation.online"):
        raise BadMessage(f"it is a {type}, but `online` says otherwise")
    return {"station": station, "version": version, "online": online}


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"`{name}` is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can escape half a character; no database would take it.
        raise BadMessage(f"`{name}` is no Unicode text") from None
    return value


def _time(text: str, name: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadMessage(f"`{name}` is no time") from None
    if time.tzinfo is None:
        raise BadMessage(f"`{name}` has no zone")
    return time

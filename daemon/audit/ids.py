"""Computed ids: whether they say the same as the events that bear them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...engine.codec import decode
from ...engine.entry import Recorded
from ...engine.errors import UnreadableEvent
from ...engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    StationSettled,
    Unknown,
)
from ...engine.names import closed_id, lapsed_id, lost_id, opened_id, settled_id, timed_out_id

CONTRADICTS: Final = "an id that contradicts its event"

_COMPUTED: Final[dict[str, Callable[[Recorded, Any], str]]] = {
    ConnectionOpened.kind: lambda recorded, event: opened_id(event.connection),
    ConnectionPingTimedOut.kind: lambda recorded, event: timed_out_id(event.connection),
    ConnectionClosed.kind: lambda recorded, event: closed_id(event.connection),
    GatewayStarted.kind: lambda recorded, event: recorded.run,
    GatewayLost.kind: lambda recorded, event: lost_id(event.run),
    GatewayLapsed.kind: lambda recorded, event: lapsed_id(event.run),
    StationSettled.kind: lambda recorded, event: settled_id(recorded.subject, event.version),
}
"""Kind -> the id that an event of it must bear, so that nobody can append it twice."""


def contradicts(recorded: Recorded) -> bool:
    """Return whether an event bears another id than follows from it."""
    computed = _COMPUTED.get(recorded.kind)
    if computed is None or _names_its_connection(recorded):
        return False
    try:
        event = decode(recorded)
    except UnreadableEvent:
        return False  # the replay says so
    return not isinstance(event, Unknown) and computed(recorded, event) != recorded.id


def _names_its_connection(recorded: Recorded) -> bool:
    """Return whether the bytes say at a glance that the id is right: most events are about connections.

    Inside a JSON string quotes are escaped, so these bytes can only be the field itself.
    """
    connection, _, what = recorded.id.rpartition(":")
    return recorded.kind == f"connection.{_KINDS.get(what)}" and (
        f'"connection":"{connection}"'.encode() in recorded.body
    )


_KINDS: Final = {"opened": "opened", "timed_out": "ping_timed_out", "closed": "closed"}

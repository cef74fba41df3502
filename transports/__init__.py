"""The edges: stations in over WebSocket or in memory, webhooks out over HTTP.

Names are handed out lazily (PEP 562), so that none of the protocol libraries is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .admission import Admit as Admit
    from .admission import AnyStation as AnyStation
    from .admission import Knock as Knock
    from .admission import Refusal as Refusal
    from .admission import Welcome as Welcome
    from .dense.stations import DenseStations as DenseStations
    from .gate.gate import Gate as Gate
    from .memory import Closed as Closed
    from .memory import MemoryStation as MemoryStation
    from .memory import MemoryStations as MemoryStations
    from .memory import NotLetIn as NotLetIn
    from .responder import Responder as Responder
    from .webhooks.sender import WebhookSender as WebhookSender
    from .websocket.stations import WebSocketStations as WebSocketStations

_HOMES = {
    "Admit": "admission",
    "AnyStation": "admission",
    "Closed": "memory",
    "DenseStations": "dense.stations",
    "Gate": "gate.gate",
    "Knock": "admission",
    "MemoryStation": "memory",
    "MemoryStations": "memory",
    "NotLetIn": "memory",
    "Refusal": "admission",
    "Responder": "responder",
    "WebSocketStations": "websocket.stations",
    "WebhookSender": "webhooks.sender",
    "Welcome": "admission",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)

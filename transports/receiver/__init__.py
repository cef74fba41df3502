"""For those who receive our webhooks, or pull our messages: check what is genuine, read it, drop what is stale.

It needs no event loop and nothing of the daemon, and fits any web framework. Four words do the work:

    verifier = Verifier("whsec_...")                 # whom to believe
    order = Order(SQLiteVersions("versions.db"))     # what is known already
    message = verifier.read(headers, body)           # or BadMessage: answer 401, and believe nothing
    if order.keep(message): ...                      # news, and the newest of its station

`Witness` keeps the newest signed checkpoint of the log, and shouts if the log's past is ever changed; `pages` pulls
what no webhook brings. Names are handed out lazily (PEP 562), so that nobody pays for what is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import BadMessage as BadMessage
    from .messages import Message as Message
    from .messages import read_body as read_body
    from .ordering import MemoryVersions as MemoryVersions
    from .ordering import Order as Order
    from .ordering import Versions as Versions
    from .pulling import Page as Page
    from .pulling import pages as pages
    from .remembering import SQLiteVersions as SQLiteVersions
    from .verifying import Verifier as Verifier
    from .witnessing import Contradiction as Contradiction
    from .witnessing import Witness as Witness

_HOMES = {
    "BadMessage": "messages",
    "Contradiction": "witnessing",
    "MemoryVersions": "ordering",
    "Message": "messages",
    "Order": "ordering",
    "Page": "pulling",
    "SQLiteVersions": "remembering",
    "Verifier": "verifying",
    "Versions": "ordering",
    "Witness": "witnessing",
    "pages": "pulling",
    "read_body": "messages",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)

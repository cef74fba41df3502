"""What happened, kept, folded, run: the engine's public names.

Names are handed out lazily (PEP 562), so that an audit (`fold`, `read_log`) imports no trio. The function `fold` alone
is imported at once: it bears its module's name, which would else stand in its place once anybody imports that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .fold import fold as fold

if TYPE_CHECKING:
    from .core import Engine as Engine
    from .events import Event as Event
    from .fold import Projection as Projection
    from .log import Log as Log
    from .log.reading import read_log as read_log
    from .log.sealing import SecretsKey as SecretsKey
    from .log.secrets_key import KeyFile as KeyFile
    from .run import open_engine as open_engine
    from .settings import EngineSettings as EngineSettings
    from .settings import Liveness as Liveness
    from .settings import Retry as Retry

_HOMES = {
    "Engine": "core",
    "EngineSettings": "settings",
    "Event": "events",
    "KeyFile": "log.secrets_key",
    "Liveness": "settings",
    "Log": "log",
    "Projection": "fold",
    "Retry": "settings",
    "SecretsKey": "log.sealing",
    "open_engine": "run",
    "read_log": "log.reading",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "fold"])

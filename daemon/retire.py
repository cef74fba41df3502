"""The timer behind rotations: what signed beside its successor until its time came leaves the record, and is forgotten.

Nothing signs a moment longer for it: whoever signs looks at the time himself.
"""

from __future__ import annotations

from typing import Final

import trio

from ..engine.core import Engine
from ..engine.errors import Conflict, LogUnavailable
from ..projections import webhooks
from .registry.registrar import Registrar

LOOK: Final = 60.0
"""Seconds between looks: little beside a day."""


async def retire_secrets(engine: Engine, registrar: Registrar) -> None:
    """Drop each secret and key whose time has come, for as long as this runs; and forget what could not be then."""
    while True:
        now = engine.now()
        ripe = [id for id, webhook in engine.state(webhooks).items() if 0 < (webhook.record.retired_at or 0) <= now]
        for id in ripe if engine.ready else ():
            try:
                await registrar.retire(id)
            except (Conflict, LogUnavailable):
                break  # the next look finds out
        await registrar.forget_left()
        await trio.sleep(LOOK)

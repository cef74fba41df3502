"""The vault: secrets written without holding up the event loop.

A secrets file syncs several times for each change, some 10 ms on a slow disk, in which no station would be answered;
so a worker thread writes, one change at a time. Reading stays where it is: it is quick, and answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from ...engine.log.secrets import MemorySecrets


class SecretStore(Protocol):
    """Secrets under ids: `engine.log.secrets.Secrets`, or its like in memory."""

    def keep(self, id: str, secret: bytes) -> None: ...
    def get(self, id: str) -> bytes | None: ...
    def forget(self, id: str) -> None: ...


class Vault:
    """A secret store, to be written from the event loop."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._turn = trio.CapacityLimiter(1)

    def get(self, id: str) -> bytes | None:
        """Return a secret; none if there is none of that id."""
        return self._store.get(id)

    async def keep(self, id: str, secret: bytes) -> None:
        """Keep a secret; durable on return, and not to be cancelled half way."""
        if isinstance(self._store, MemorySecrets):
            self._store.keep(id, secret)
        else:
            await trio.to_thread.run_sync(self._store.keep, id, secret, limiter=self._turn)

    async def forget(self, ids: Iterable[str]) -> None:
        """Forget secrets, for good."""
        for id in ids:
            if isinstance(self._store, MemorySecrets):
                self._store.forget(id)
            else:
                await trio.to_thread.run_sync(self._store.forget, id, limiter=self._turn)

"""The vault: secrets written without holding up the event loop.

A secrets file syncs several times for each change, some 10 ms on a slow disk, in which no station would be answered;
so a worker thread writes, one change at a time. Reading stays where it is: it is quick, and answers at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, Protocol

import trio

from ...engine.errors import LogError
from ...engine.log.secrets import MemorySecrets

_LOG: Final = logging.getLogger(__name__)


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
        self._left: set[str] = set()

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
        """Forget secrets, for good.

        What names them no more is recorded by now, so it is no error where one cannot be forgotten: nobody uses it, and
        it is tried again (`forget_left`).
        """
        ids = list(ids)
        # All of them at first: whoever waits for this may be cancelled half way.
        self._left.update(ids)
        failed: list[LogError] = []
        for id in ids:
            try:
                await self._forget(id)
            except LogError as error:
                failed.append(error)
            else:
                self._left.discard(id)
        if failed:
            _LOG.warning("secrets that nothing names any more are not forgotten yet (%d): %s", len(failed), failed[0])

    async def forget_left(self) -> None:
        """Forget what could not be forgotten before."""
        # Ids are random, and none is given out twice: what was to be forgotten once is so for ever.
        await self.forget(self._left)

    async def _forget(self, id: str) -> None:
        if isinstance(self._store, MemorySecrets):
            self._store.forget(id)
        else:
            await trio.to_thread.run_sync(self._store.forget, id, limiter=self._turn)

"""The registrar: the one place where stations and webhooks are changed.

The HTTP API of a running daemon, the command line on a log that nobody serves, and an import all come here, so that
they refuse the same things, and keep the same order: secrets first, then the event that names them.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from .books import Book
from .credentials import Credentials
from .enrolment import CREDENTIAL_PREFIX, Enrolment
from .messages import Messages
from .profiles import Rules
from .vault import Vault
from .wardrobe import PREFIXES, Wardrobe
from .webhook_requests import UrlPolicy


class Registrar(Enrolment, Messages):
    """Changes stations (`Enrolment`), webhooks (`Subscriptions`) and what these are owed (`Messages`) of a book, one
    change at a time."""

    def __init__(
        self,
        book: Book,
        *,
        credentials: Credentials | None = None,
        policy: UrlPolicy | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._book = book
        self._policy = policy or UrlPolicy()
        self._rules = rules or Rules()
        self._turn = trio.Lock()
        self._vault = Vault(book.secrets)
        self._wardrobe = Wardrobe(book, self._vault)
        self.credentials = credentials or Credentials(book.secrets)

    async def sweep(self, ids: Iterable[str]) -> int:
        """Forget what a crash left behind: those of the secrets *ids* that nothing names. Return how many they were."""
        named = self.credentials_named() | self.webhook_secrets_named()
        orphans = [id for id in ids if id.startswith((CREDENTIAL_PREFIX, *PREFIXES)) and id not in named]
        await self._vault.forget(orphans)
        return len(orphans)

    async def forget_left(self) -> None:
        """Forget what nothing names any more, and could not be forgotten when that was recorded."""
        await self.credentials.forget_left()
        await self._vault.forget_left()

"""What a webhook's record names and the vault holds: signing secrets, keys, values of headers, certificates.

Each stands in the vault under a random id, durably, before an event names that id, and is forgotten after the event
that names it no more. What is said anew and is the same keeps its id, so that a change that is none changes nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from attrs import evolve, field, frozen

from ...engine.events import WebhookRecord
from ...engine.names import new_id
from .books import Book
from .errors import SecretsMissing
from .requests import KEEP, Keep
from .signing import draw_secret, read_secret
from .vault import Vault
from .webhook_requests import WebhookChanges

SIGNING_PREFIX: Final = "sign_"
SEED_PREFIX: Final = "seed_"
HEADER_PREFIX: Final = "head_"
IDENTITY_PREFIX: Final = "cert_"
AUTHORITIES_PREFIX: Final = "auth_"
PREFIXES: Final = (SIGNING_PREFIX, SEED_PREFIX, HEADER_PREFIX, IDENTITY_PREFIX, AUTHORITIES_PREFIX)

OLDER: Final = 3
"""Secrets, and keys, that sign beside the newest while rotations overlap, at most: each costs a signature a message."""

_PLAIN: Final = ("url", "events", "stations", "sites", "name", "mode", "format", "rate", "concurrency")
"""Fields that stand in the record as they were said."""


@frozen
class Dressed:
    """A record whose secrets are kept, and the signing secret that was new for it."""

    record: WebhookRecord
    secret: bytes | None = field(default=None, repr=False)


class Wardrobe:
    """Keeps what webhooks' records name, and tells what they name."""

    def __init__(self, book: Book, vault: Vault) -> None:
        self._book = book
        self._vault = vault

    async def change(self, before: WebhookRecord, changes: WebhookChanges) -> Dressed:
        """Return a record with changes made, once all that it names is kept.

        Raises:
            Invalid: the secret that is given is none.
            SecretsMissing: the log is a copy without its secrets, and something would have to be kept.
        """
        plain = {field: said for field in _PLAIN if (said := getattr(changes, field)) is not KEEP}
        signed = await self._sign(evolve(before, **plain), changes)
        record = evolve(
            signed.record,
            headers=before.headers if changes.headers is KEEP else await self._put_on(before.headers, changes.headers),
            identity=await self._exchange(before.identity, changes.client_certificate, IDENTITY_PREFIX),
            authorities=await self._exchange(before.authorities, changes.authorities, AUTHORITIES_PREFIX),
        )
        return Dressed(record, signed.secret)

    async def rotate(
        self, before: WebhookRecord, secret: bytes | None, *, overlap: float, with_key: bool = True
    ) -> Dressed:
        """Return a record with a new secret, a new key, or both, as it signs; those before sign on for *overlap*
        seconds. *secret* is drawn if none is given. Without *with_key* its key stays what it is.

        What an earlier rotation left to sign on does so, too: a receiver may know no other, where that rotation's
        answer was lost. A record has one time for all of them, the latest; and `OLDER` of each are kept, at most.

        Raises:
            SecretsMissing: the log is a copy without its secrets.
        """
        now = self._book.now()
        until, earlier = now + round(overlap * 1_000_000), before.retired_at or 0
        left = 0 if not overlap else OLDER if earlier > now else 1
        kept, keys = before.secrets[:left], before.keys[: left if with_key else max(left, 1)]
        if before.secrets or not before.keys:
            secret = secret or draw_secret()
            kept = (await self._keep(secret, SIGNING_PREFIX), *kept)
        if before.keys and with_key:
            keys = (await self._keep(draw_secret(), SEED_PREFIX), *keys)
        retired_at = max(until, earlier) if len(kept) > 1 or len(keys) > 1 else None
        return Dressed(evolve(before, secrets=kept, keys=keys, retired_at=retired_at), secret)

    async def forget(self, before: WebhookRecord, now: WebhookRecord | None = None) -> None:
        """Forget, for good, what one record named and the one after it does not."""
        await self._vault.forget(named(before) - (set() if now is None else named(now)))

    def holds(self, id: str, value: bytes) -> bool:
        """Return whether this is what is kept under an id."""
        kept = self._vault.get(id) if id else None
        return kept is not None and hmac.compare_digest(kept, value)

    async def _sign(self, before: WebhookRecord, changes: WebhookChanges) -> Dressed:
        if changes.signatures is KEEP:
            return Dressed(before)
        secret: bytes | None = None
        secrets = before.secrets if "v1" in changes.signatures else ()
        if "v1" in changes.signatures and not secrets:
            secret = draw_secret() if changes.secret is KEEP else read_secret(changes.secret)
            secrets = (await self._keep(secret, SIGNING_PREFIX),)
        keys = before.keys if "v1a" in changes.signatures else ()
        if "v1a" in changes.signatures and not keys:
            keys = (await self._keep(draw_secret(), SEED_PREFIX),)
        until = before.retired_at if len(secrets) > 1 or len(keys) > 1 else None
        return Dressed(evolve(before, secrets=secrets, keys=keys, retired_at=until), secret)

    async def _put_on(
        self, before: tuple[tuple[str, str], ...], said: Mapping[str, str | None]
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers with those that were named set, or taken away; capitals of names do not count."""
        headers = {name.lower(): (name, id) for name, id in before}
        for name, value in said.items():
            _, id = headers.pop(name.lower(), ("", ""))
            if value is not None:
                headers[name.lower()] = name, await self._exchange(id, value, HEADER_PREFIX)
        # In one order, so that the same headers are the same record.
        return tuple(headers[name] for name in sorted(headers))

    async def _exchange(self, before: str, said: str | Keep | None, prefix: str) -> str:
        """Return the id of what was said: the one before it, if that holds the same. Empty: nothing."""
        if said is KEEP:
            return before
        if said is None:
            return ""
        value = said.encode()
        return before if self.holds(before, value) else await self._keep(value, prefix)

    async def _keep(self, value: bytes, prefix: str) -> str:
        if self._book.copied:
            raise SecretsMissing
        id = prefix + new_id(self._book.now())
        await self._vault.keep(id, value)
        return id


def named(record: WebhookRecord) -> set[str]:
    """Return the ids of all that a record names in the vault."""
    ids = {*record.secrets, *record.keys, *(id for _, id in record.headers), record.identity, record.authorities}
    return ids - {""}

"""Subscriptions: the one place where webhooks are added, changed, paused, tested and removed.

A signing secret is kept, durably, before the event that names its id is recorded, and is handed out once.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from secrets import token_bytes
from typing import Final

import trio
from attrs import frozen

from ...engine.events import (
    DeliveryRequested,
    Event,
    WebhookAdded,
    WebhookEnabled,
    WebhookPaused,
    WebhookRecord,
    WebhookRecovered,
    WebhookRemoved,
    WebhookTested,
    WebhookUpdated,
)
from ...engine.names import new_id
from ...engine.sending import Owed
from ...projections import outbox, webhooks
from .books import Book
from .errors import Invalid, NotFound, SecretsMissing, StillPending
from .forgotten import find_forgotten
from .requests import KEEP
from .vault import Vault
from .webhook_requests import NewWebhook, UrlPolicy, WebhookChanges

SECRET_PREFIX: Final = "whsec_"
SIGNING_PREFIX: Final = "sign_"
_SECRET_BYTES: Final = 32
_SHORTEST_SECRET: Final = 24
_LONGEST_SECRET: Final = 64
"""Bytes (Standard Webhooks 1.0.0, "Signature scheme")."""


@frozen(kw_only=True)
class Subscribed:
    """What came of a subscription, or of a new secret for one."""

    id: str
    secret: str
    """`whsec_...`: shown this once."""
    position: int
    """Of the event."""


class Subscriptions:
    """Webhooks: who is told what. One change at a time."""

    _book: Book
    _policy: UrlPolicy
    _turn: trio.Lock
    _vault: Vault

    async def subscribe(self, webhook: NewWebhook, *, actor: str, id_prefix: str = "wh_") -> Subscribed:
        """Add a webhook, and return its id and secret; durable on return.

        Raises:
            Invalid: a field cannot be as it is.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        webhook.check(self._policy)
        secret = draw_secret() if webhook.secret is None else read_secret(webhook.secret)
        id = id_prefix + new_id(self._book.now())
        async with self._turn:
            event = WebhookAdded(
                url=webhook.url,
                events=webhook.events,
                stations=webhook.stations,
                secrets=(await self._keep(secret),),
                initial=webhook.initial,
                name=webhook.name,
            )
            position = await self._book.record(event, subject=id, actor=actor)
        return Subscribed(id=id, secret=write_secret(secret), position=position)

    async def update_webhook(self, id: str, changes: WebhookChanges, *, actor: str) -> int:
        """Change a webhook: pending messages go to the new URL at once. Return the event's position.

        Raises:
            NotFound: there is no such webhook.
            Invalid: a field cannot be as it is.
            LogUnavailable: the log cannot be written now.
        """
        changes.check(self._policy)
        async with self._turn:
            before = self.webhook_record(id)
            return await self._update(id, before, changes, before.secrets, actor)

    async def rotate_secret(
        self, id: str, *, actor: str, secret: str | None = None, at_once: bool = False
    ) -> Subscribed:
        """Give a webhook a new secret; durable on return.

        The one before signs beside it until the next rotation, so that the receiver can change over in between. With
        *at_once*, for a secret that leaked, it signs no more.

        Raises:
            NotFound: there is no such webhook.
            Invalid: *secret* is no secret of Standard Webhooks.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        drawn = draw_secret() if secret is None else read_secret(secret)
        async with self._turn:
            before = self.webhook_record(id)
            secrets = (await self._keep(drawn), *(() if at_once else before.secrets[:1]))
            position = await self._update(id, before, WebhookChanges(), secrets, actor)
            await self._vault.forget(set(before.secrets) - set(secrets))
        return Subscribed(id=id, secret=write_secret(drawn), position=position)

    async def remove_webhook(self, id: str, *, actor: str) -> int:
        """Remove a webhook, cancel what it is owed, and forget its secrets. Return the event's position.

        Raises:
            NotFound: there is no such webhook.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            before = self.webhook_record(id)
            position = await self._book.record(WebhookRemoved(), subject=id, actor=actor)
            await self._vault.forget(before.secrets)
        return position

    async def pause(self, id: str, *, actor: str) -> int:
        """Send a webhook nothing for now; what it is owed gathers. Return the event's position."""
        return await self._record(id, WebhookPaused(), actor)

    async def enable(self, id: str, *, actor: str) -> int:
        """Send to a webhook that was paused or disabled again. Return the event's position."""
        return await self._record(id, WebhookEnabled(), actor)

    async def test(self, id: str, *, actor: str) -> int:
        """Owe a webhook a `webhook.ping`. Return the event's position."""
        return await self._record(id, WebhookTested(), actor)

    async def recover(self, id: str, *, since: int, until: int | None = None, actor: str) -> int:
        """Owe a webhook again what was parked or skipped of the events from *since* to *until* (positions, both
        included; without *until* up to now). Return the event's position.

        Raises:
            NotFound: there is no such webhook.
            Invalid: the range is empty.
            LogUnavailable: the log cannot be written now.
        """
        last = self._book.position if until is None else until
        if not 1 <= since <= last:
            raise Invalid("since", f"from {since} to {last} there is nothing; positions count from 1 to now")
        return await self._record(id, WebhookRecovered(since=since, until=last), actor)

    async def redeliver(self, message: str, *, actor: str) -> int:
        """Owe a settled message again: the same id and body, ahead of younger ones. Return the event's position.

        Raises:
            NotFound: there is no such message, or its webhook is gone.
            StillPending: it is on its way.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            owed = self._book.state(outbox).find(message) or await trio.to_thread.run_sync(self._forgotten, message)
            if owed is None:
                raise NotFound(f"there is no message {message!r}")
            if owed.state == "pending":
                raise StillPending(f"message {message!r} is on its way; only a settled one can be asked for again")
            self.webhook_record(owed.webhook)
            event = DeliveryRequested(
                message=owed.id, webhook=owed.webhook, type=owed.type, position=owed.position, round=owed.round + 1
            )
            return await self._book.record(event, subject=owed.subject, actor=actor)

    def webhook_record(self, id: str) -> WebhookRecord:
        """Return what is known of a webhook.

        Raises:
            NotFound: there is no such webhook.
        """
        webhook = self._book.state(webhooks).get(id)
        if webhook is None:
            raise NotFound(f"there is no webhook {id!r}")
        return webhook.record

    def has_secret(self, id: str, secret: str) -> bool:
        """Return whether this is the newest secret of a webhook."""
        newest = self.webhook_record(id).secrets[:1]
        kept = self._book.secrets.get(newest[0]) if newest else None
        return kept is not None and hmac.compare_digest(kept, read_secret(secret))

    def signing_secrets_named(self) -> set[str]:
        """Return the ids of all signing secrets that a webhook has."""
        return {secret for webhook in self._book.state(webhooks).values() for secret in webhook.record.secrets}

    async def _update(
        self, id: str, before: WebhookRecord, changes: WebhookChanges, secrets: tuple[str, ...], actor: str
    ) -> int:
        event = WebhookUpdated(
            url=before.url if changes.url is KEEP else changes.url,
            events=before.events if changes.events is KEEP else changes.events,
            stations=before.stations if changes.stations is KEEP else changes.stations,
            secrets=secrets,
            initial=before.initial,
            name=before.name if changes.name is KEEP else changes.name,
        )
        return await self._book.record(event, subject=id, actor=actor)

    async def _record(self, id: str, event: Event, actor: str) -> int:
        async with self._turn:
            self.webhook_record(id)
            return await self._book.record(event, subject=id, actor=actor)

    def _forgotten(self, message: str) -> Owed | None:
        with self._book.reader() as log:
            return find_forgotten(log, message)

    async def _keep(self, secret: bytes) -> str:
        if self._book.copied:
            raise SecretsMissing
        id = SIGNING_PREFIX + new_id(self._book.now())
        await self._vault.keep(id, secret)
        return id


def draw_secret() -> bytes:
    """Draw a signing secret."""
    return token_bytes(_SECRET_BYTES)


def write_secret(secret: bytes) -> str:
    """Write a signing secret as Standard Webhooks does."""
    return SECRET_PREFIX + b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Read a signing secret.

    Raises:
        Invalid: it is none of Standard Webhooks; the message does not repeat it.
    """
    try:
        secret = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (Base64Error, ValueError):
        secret = b""
    if not text.startswith(SECRET_PREFIX) or not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
        raise Invalid("secret", f"wanted is whsec_ and {_SHORTEST_SECRET} to {_LONGEST_SECRET} bytes in base64")
    return secret

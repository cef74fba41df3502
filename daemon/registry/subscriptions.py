"""Subscriptions: the one place where webhooks are added, changed, paused, tested and removed.

What is secret is kept, durably, before the event that names its id is recorded (`wardrobe`), and a signing secret is
handed out once.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, Literal, cast

import trio
from attrs import asdict, evolve, field, frozen

from ...engine.events import (
    Event,
    WebhookAdded,
    WebhookEnabled,
    WebhookPaused,
    WebhookRecord,
    WebhookRemoved,
    WebhookTested,
    WebhookUpdated,
)
from ...engine.names import new_id
from ...projections import webhooks
from .books import Book
from .errors import InConfiguration, Invalid, NotFound
from .signing import public_key, read_secret, write_secret
from .wardrobe import Dressed, Wardrobe, named
from .webhook_requests import NewWebhook, UrlPolicy, WebhookChanges

STANDING_PREFIX: Final = "conf_"
"""Of the ids of webhooks that stand in the configuration."""
OVERLAP: Final = 24 * 3600.0
"""Seconds for which a secret that was replaced signs on: a day, in which somebody is at work."""
LONGEST_OVERLAP: Final = 30 * 24 * 3600.0


@frozen(kw_only=True)
class Subscribed:
    """What came of a subscription, of a change to one, or of a new secret for one."""

    id: str
    secret: str | None = field(repr=False)
    """`whsec_...`: shown this once. None: there is no new one."""
    position: int
    """Of the event."""


class Subscriptions:
    """Webhooks: who is told what. One change at a time."""

    _book: Book
    _policy: UrlPolicy
    _turn: trio.Lock
    _wardrobe: Wardrobe

    async def subscribe(self, webhook: NewWebhook, *, actor: str, id_prefix: str = "wh_") -> Subscribed:
        """Add a webhook, and return its id and secret; durable on return.

        Raises:
            Invalid: a field cannot be as it is.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        webhook.check(self._policy, standing=id_prefix == STANDING_PREFIX)
        initial = cast('Literal["none", "state"]', webhook.initial)
        id = id_prefix + new_id(self._book.now())
        async with self._turn:
            blank = WebhookRecord(url=webhook.url, initial=initial)
            made = await self._wardrobe.change(blank, webhook.as_changes())
            position = await self._book.record(WebhookAdded(**_fields(made.record)), subject=id, actor=actor)
        return _subscribed(id, made, position)

    async def update_webhook(
        self, id: str, changes: WebhookChanges, *, actor: str, standing: bool = False
    ) -> Subscribed:
        """Change a webhook: pending messages go to the new URL at once. A change that changes nothing is not recorded.

        Args:
            standing: the configuration asks, which alone changes what stands in it.

        Raises:
            NotFound: there is no such webhook.
            InConfiguration: it stands in the configuration, which would take the change back.
            Invalid: a field cannot be as it is.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        changes.check(self._policy, standing=standing)
        async with self._turn:
            before = self.webhook_record(id)
            if not standing:
                _check_free(id, before)
            made = await self._wardrobe.change(before, changes)
            return await self._update(id, before, made, actor)

    async def rotate_secret(
        self, id: str, *, actor: str, secret: str | None = None, overlap: float = OVERLAP
    ) -> Subscribed:
        """Give a webhook a new secret, and a new key if it has one; durable on return.

        The ones before sign beside them for *overlap* seconds, so that the receiver can change over in between; 0, for
        a secret that leaked, ends them at once.

        Raises:
            NotFound: there is no such webhook.
            Invalid: *secret* is no secret of Standard Webhooks, or the webhook does not sign with one.
            InConfiguration: its secret stands in a file of the configuration, and *secret* is not that one.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        if not (isfinite(overlap) and 0 <= overlap <= LONGEST_OVERLAP):
            raise Invalid("overlap", f"{overlap:g} s is wrong; up to 30 days, e.g. 24h, or 0s to end the old at once")
        given = None if secret is None else read_secret(secret)
        async with self._turn:
            before = self.webhook_record(id)
            if given is not None and before.keys and not before.secrets:
                raise Invalid("secret", "the webhook signs with v1a alone, whose keys are drawn; leave it out")
            self._check_own(id, before, given)
            made = await self._wardrobe.rotate(before, given, overlap=overlap)
            return await self._update(id, before, made, actor)

    async def take_secret(self, id: str, secret: str, *, actor: str) -> None:
        """Let a webhook sign with a secret that it was given elsewhere, if it does not yet; durable on return.

        The one before signs beside it for a day. Its key, if it has one, was not given anew, and stays.

        Raises:
            NotFound: there is no such webhook.
            Invalid: *secret* is no secret of Standard Webhooks.
            SecretsMissing: the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        given = read_secret(secret)
        async with self._turn:
            before = self.webhook_record(id)
            if not self._newest(before, given):
                made = await self._wardrobe.rotate(before, given, overlap=OVERLAP, with_key=False)
                await self._update(id, before, made, actor)

    async def retire(self, id: str) -> None:
        """Drop the secrets and keys of a webhook whose time has come, and forget them.

        Raises:
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            webhook = self._book.state(webhooks).get(id)
            if webhook is None or webhook.record.retired_at is None or self._book.now() < webhook.record.retired_at:
                return
            before = webhook.record
            now = evolve(before, secrets=before.secrets[:1], keys=before.keys[:1], retired_at=None)
            await self._update(id, before, Dressed(now), "")

    async def remove_webhook(self, id: str, *, actor: str, standing: bool = False) -> int:
        """Remove a webhook, cancel what it is owed, and forget its secrets. Return the event's position.

        Args:
            standing: the configuration asks, which alone removes what stands in it.

        Raises:
            NotFound: there is no such webhook.
            InConfiguration: it stands in the configuration, which would bring it back under another id.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            before = self.webhook_record(id)
            if not standing:
                _check_free(id, before)
            position = await self._book.record(WebhookRemoved(), subject=id, actor=actor)
            await self._wardrobe.forget(before)
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
        return self._newest(self.webhook_record(id), read_secret(secret))

    def webhook_secrets_named(self) -> set[str]:
        """Return the ids of all that webhooks have in the vault."""
        return {id for webhook in self._book.state(webhooks).values() for id in named(webhook.record)}

    def public_key(self, id: str) -> str | None:
        """Return `whpk_...` of a webhook's newest key; none if it has none, or its key is not to be had.

        Raises:
            NotFound: there is no such webhook.
        """
        newest = self.webhook_record(id).keys[:1]
        seed = self._book.secrets.get(newest[0]) if newest else None
        return None if seed is None else public_key(seed)

    def _newest(self, record: WebhookRecord, secret: bytes) -> bool:
        return bool(record.secrets) and self._wardrobe.holds(record.secrets[0], secret)

    def _check_own(self, id: str, record: WebhookRecord, given: bytes | None) -> None:
        """Raise `InConfiguration` if the next start would take a rotation back, and sign as before."""
        if id.startswith(STANDING_PREFIX) and record.secrets and not (given and self._newest(record, given)):
            raise InConfiguration(
                f"webhook {id!r} stands in the configuration, and its secret in the secret_file of [[webhook]] "
                f"{record.name!r}; change it there: put another one into that file, or remove it, and restart"
            )

    async def _update(self, id: str, before: WebhookRecord, made: Dressed, actor: str) -> Subscribed:
        position = self._book.position
        if made.record != before:
            position = await self._book.record(WebhookUpdated(**_fields(made.record)), subject=id, actor=actor)
            await self._wardrobe.forget(before, made.record)
        return _subscribed(id, made, position)

    async def _record(self, id: str, event: Event, actor: str) -> int:
        async with self._turn:
            self.webhook_record(id)
            return await self._book.record(event, subject=id, actor=actor)


def _check_free(id: str, record: WebhookRecord) -> None:
    """Raise `InConfiguration` if the next start would take a change back: messages would be lost by that."""
    if id.startswith(STANDING_PREFIX):
        raise InConfiguration(
            f"webhook {id!r} stands in the configuration as {record.name!r}; change it there, and restart"
        )


def _fields(record: WebhookRecord) -> dict[str, Any]:
    return asdict(record, recurse=False)


def _subscribed(id: str, made: Dressed, position: int) -> Subscribed:
    return Subscribed(id=id, secret=None if made.secret is None else write_secret(made.secret), position=position)

"""The subscriptions: who asked to be told what, where, and whether sending is on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias, cast

import msgspec
from attrs import fields
from msgspec.structs import replace

from ..engine.entry import Recorded
from ..engine.events import (
    Event,
    Micros,
    WebhookAdded,
    WebhookDisabled,
    WebhookEnabled,
    WebhookFailed,
    WebhookPaused,
    WebhookRecord,
    WebhookRemoved,
    WebhookResumed,
    WebhookSuspended,
    WebhookUpdated,
)
from ..engine.fold import Below, Projection
from ..engine.sending import Health

__all__ = ["Change", "Disabled", "Trouble", "Webhook", "Webhooks", "webhooks"]

WebhookState: TypeAlias = Literal["active", "paused", "disabled"]

TWICE: Final = "a webhook added that was there"
UNKNOWN: Final = "a change of a webhook that was not there"
NO_WEBHOOK: Final = "a subscription of no webhook"


class Disabled(msgspec.Struct, frozen=True):
    """Why a webhook was disabled."""

    reason: str
    since: Micros
    """When it last accepted a message, or was added."""
    status: int | None
    """Its last answer."""
    at: Micros
    """When it was disabled."""


class Trouble(msgspec.Struct, frozen=True):
    """What a webhook that is not well suffers from."""

    reason: str
    """In words."""
    since: Micros
    """When the first of the attempts began that failed."""
    status: int | None
    """The answer; none if there was none."""
    at: Micros
    """When it was recorded."""


class Webhook(msgspec.Struct, frozen=True):
    """A subscription."""

    id: str
    record: WebhookRecord
    state: WebhookState
    added: int
    """The position of its `webhook.added`: it is owed what came after."""
    created_at: Micros
    updated_at: Micros
    disabled: Disabled | None = None
    """Why, as long as it is disabled."""
    health: Health = "well"
    """Whether it failed, or was suspended for that, and accepted nothing since. It says nothing about what is owed."""
    trouble: Trouble | None = None
    """Why, as long as it is not well."""

    def asks_for(self, type: str) -> bool:
        """Does it want messages of this type?"""
        return type in self.record.events

    def covers(self, station: str, site: str = "") -> bool:
        """Does a pattern of its match the station's id, and one the station's site? Case counts, as in OCPP.

        *site*: empty for a station without one, or that nobody registered: these fit `*` alone.
        """
        stations, sites = self.record.stations, self.record.sites
        return _match(stations, station) and (_match(sites, site) if site else "*" in sites)


def _match(patterns: tuple[str, ...], word: str) -> bool:
    return "*" in patterns or any(fnmatchcase(word, pattern) for pattern in patterns)


class Change(msgspec.Struct, frozen=True):
    """What one event did to one subscription; none: it does not exist."""

    webhook: str
    before: Webhook | None
    now: Webhook | None


class _Kept(msgspec.Struct, frozen=True):
    """The subscriptions as they are written down."""

    present: dict[str, Webhook]
    odd: dict[str, int]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class Webhooks(Mapping[str, Webhook]):
    """The subscriptions, by id. Removed ones are forgotten."""

    def __init__(self) -> None:
        self._present: dict[str, Webhook] = {}
        self.odd: Counter[str] = Counter()
        """Events that make no sense where they stand and changed nothing, by reason; for `verify`."""

    def __getitem__(self, webhook: str) -> Webhook:
        return self._present[webhook]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present)

    def __len__(self) -> int:
        return len(self._present)

    def __repr__(self) -> str:
        return f"<{len(self)} webhooks>"

    def put(self, now: Webhook) -> None:
        """Let a subscription be so."""
        self._present[now.id] = now

    def remove(self, webhook: str) -> None:
        """Forget a subscription."""
        del self._present[webhook]

    def dump(self) -> bytes:
        """Write them down; equal ones give equal bytes."""
        return _encode(_Kept(self._present, dict(self.odd)))

    @staticmethod
    def load(kept: bytes) -> Webhooks:
        """Read what `dump` wrote."""
        read = _decode(kept)
        webhooks = Webhooks()
        webhooks._present, webhooks.odd = read.present, Counter(read.odd)
        return webhooks


def _record(event: WebhookRecord) -> WebhookRecord:
    """Return what an event records, without which kind of event it was."""
    return WebhookRecord(**{field.name: getattr(event, field.name) for field in fields(WebhookRecord)})


def _apply(webhooks: Webhooks, recorded: Recorded, event: Event, below: Below) -> Sequence[Change]:
    webhook = recorded.subject
    before = webhooks.get(webhook)
    odd = _odd(webhook, event, before)
    if odd:
        webhooks.odd[odd] += 1
        return ()
    if before is None:
        now = Webhook(
            id=webhook,
            record=_record(cast(WebhookAdded, event)),
            state="active",
            added=recorded.position,
            created_at=recorded.at,
            updated_at=recorded.at,
        )
    elif isinstance(event, WebhookRemoved):
        webhooks.remove(webhook)
        return (Change(webhook, before, None),)
    else:
        now = _moved(before, event, recorded.at)
        if now is before:
            return ()
    webhooks.put(now)
    return (Change(webhook, before, now),)


def _odd(webhook: str, event: Event, before: Webhook | None) -> str:
    if not webhook:
        return NO_WEBHOOK
    if isinstance(event, WebhookAdded):
        return TWICE if before is not None else ""
    return UNKNOWN if before is None else ""


def _moved(webhook: Webhook, event: Event, at: Micros) -> Webhook:
    match event:
        case WebhookFailed() | WebhookSuspended() | WebhookResumed():
            return _fared(webhook, event, at)
        case WebhookUpdated():
            updated = replace(webhook, record=_record(event), updated_at=at)
            return replace(updated, health="well", trouble=None) if mended(webhook, updated) else updated
        case WebhookPaused():
            return replace(webhook, state="paused", disabled=None, updated_at=at)
        case WebhookDisabled():
            why = Disabled(event.reason, event.since, event.status, at)
            return replace(webhook, state="disabled", disabled=why, updated_at=at)
        case _:
            return replace(webhook, state="active", disabled=None, health="well", trouble=None, updated_at=at)


def _fared(webhook: Webhook, event: WebhookFailed | WebhookSuspended | WebhookResumed, at: Micros) -> Webhook:
    """Follow how its deliveries fare. Nobody changed the subscription, so `updated_at` stays."""
    if isinstance(event, WebhookResumed):
        return webhook if webhook.health == "well" else replace(webhook, health="well", trouble=None)
    now: Health = "failing" if isinstance(event, WebhookFailed) else "suspended"
    if webhook.health == now or webhook.health == "suspended":
        return webhook  # the first word of a trouble stands; a failed probe does not take a suspension back
    return replace(webhook, health=now, trouble=Trouble(event.reason, event.since, event.status, at))


def mended(before: Webhook, now: Webhook) -> bool:
    """Did something change that may have been to blame when the receiver refused? Then it is tried afresh.

    Of secrets and keys the newest counts: that an older one is retired mends nothing.
    """

    def blamed(record: WebhookRecord) -> tuple[object, ...]:
        newest = record.secrets[:1], record.keys[:1]
        return record.url, newest, record.headers, record.identity, record.authorities

    return blamed(before.record) != blamed(now.record)


webhooks: Projection[Webhooks, Change] = Projection(
    name="webhooks",
    version=2,
    kinds=frozenset(
        kind.kind
        for kind in (
            WebhookAdded,
            WebhookUpdated,
            WebhookRemoved,
            WebhookPaused,
            WebhookEnabled,
            WebhookDisabled,
            WebhookFailed,
            WebhookSuspended,
            WebhookResumed,
        )
    ),
    initial=Webhooks,
    apply=_apply,
    dump=Webhooks.dump,
    load=Webhooks.load,
)
"""Who is told what, and where. Its state is `Webhooks`, its changes are `Change`."""

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
    WebhookPaused,
    WebhookRecord,
    WebhookRemoved,
    WebhookUpdated,
)
from ..engine.fold import Below, Projection

__all__ = ["Change", "Disabled", "Webhook", "Webhooks", "webhooks"]

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

    def asks_for(self, type: str) -> bool:
        """Does it want messages of this type?"""
        return type in self.record.events

    def covers(self, station: str) -> bool:
        """Does one of its patterns match the station's id? Case counts, as in OCPP."""
        patterns = self.record.stations
        return "*" in patterns or any(fnmatchcase(station, pattern) for pattern in patterns)


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
        case WebhookUpdated():
            return replace(webhook, record=_record(event), updated_at=at)
        case WebhookPaused():
            return replace(webhook, state="paused", disabled=None, updated_at=at)
        case WebhookDisabled():
            why = Disabled(event.reason, event.since, event.status, at)
            return replace(webhook, state="disabled", disabled=why, updated_at=at)
        case _:
            return replace(webhook, state="active", disabled=None, updated_at=at)


webhooks: Projection[Webhooks, Change] = Projection(
    name="webhooks",
    version=1,
    kinds=frozenset(
        kind.kind
        for kind in (WebhookAdded, WebhookUpdated, WebhookRemoved, WebhookPaused, WebhookEnabled, WebhookDisabled)
    ),
    initial=Webhooks,
    apply=_apply,
    dump=Webhooks.dump,
    load=Webhooks.load,
)
"""Who is told what, and where. Its state is `Webhooks`, its changes are `Change`."""

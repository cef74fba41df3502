"""What was changed about a subscription, in words: one record compared with the one before. It holds nothing secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...engine.events import WebhookRecord
from ..words import clock

_NAMED: Final = {
    "url": "its URL",
    "name": "its name",
    "events": "what it asks for",
    "stations": "its stations",
    "sites": "its sites",
    "mode": "its mode",
    "format": "its format",
    "initial": "what it is told at first",
    "rate": "its messages a second",
    "concurrency": "its attempts in flight",
}


def changed(before: WebhookRecord, now: WebhookRecord) -> str:
    """Say what was changed."""
    said = "; ".join((*_plain(before, now), *_signing(before, now), *_kept(before, now)))
    return f"Changed: {said}" if said else "Recorded anew; nothing about it changed"


def _plain(before: WebhookRecord, now: WebhookRecord) -> Iterator[str]:
    for field, name in _NAMED.items():
        was, new = getattr(before, field), getattr(now, field)
        if was != new:
            yield f"{name} from {_text(was)} to {_text(new)}"


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, "") else str(value)


def _signing(before: WebhookRecord, now: WebhookRecord) -> Iterator[str]:
    rotated = f"the old one signs until {clock(now.retired_at)}" if now.retired_at else "the old one signs no more"
    for article, name, was, new in (
        ("a", "secret", before.secrets, now.secrets),
        ("an", "Ed25519 key", before.keys, now.keys),
    ):
        if was[:1] == new[:1]:
            if len(new) < len(was):
                yield f"the old {name} was forgotten"
        elif not was:
            yield f"signed with {article} {name}, too"
        elif not new:
            yield f"signed with {article} {name} no more"
        else:
            yield f"{name} rotated; {rotated if len(new) > 1 else 'the old one signs no more'}"


def _kept(before: WebhookRecord, now: WebhookRecord) -> Iterator[str]:
    """Tell of what stands in the vault: that it changed, and never what it is."""
    was, new = dict(before.headers), dict(now.headers)
    for name in sorted({*was, *new}):
        if was.get(name) != new.get(name):
            yield f"header {name} {_verb(was.get(name, ''), new.get(name, ''))}"
    for name, old, kept in (
        ("client certificate", before.identity, now.identity),
        ("authorities", before.authorities, now.authorities),
    ):
        if old != kept:
            yield f"{name} {_verb(old, kept)}"


def _verb(was: str, now: str) -> str:
    return "added" if not was else "removed" if not now else "replaced"

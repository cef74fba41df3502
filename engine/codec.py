"""Events to stored bytes and back.

A body is JSON with sorted keys and no white space: an auditor reads it with any tool, and the same event always
gives the same bytes. What is stored is never encoded again. Unknown kinds survive: they decode to `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_bytes
from typing import Any, Final

import msgspec

from .entry import Entry, Recorded, leaf
from .errors import UnreadableEvent
from .events import KINDS, Event, Micros, Unknown
from .names import Entropy

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decoders: Final[dict[tuple[str, int], Callable[[bytes], Event]]] = {
    (kind, cls.schema): msgspec.json.Decoder(cls).decode for kind, cls in KINDS.items()
}
_parse: Final = msgspec.json.Decoder(dict[str, Any]).decode

UPCASTERS: Final[dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""(kind, schema) -> how a body of that schema becomes one of the next. Filled when a kind first changes."""


def seal(
    event: Event,
    *,
    id: str,
    at: Micros,
    subject: str = "",
    gateway: str = "",
    run: str = "",
    actor: str = "",
    private: bytes = b"",
    entropy: Entropy = token_bytes,
) -> Entry:
    """Put an event into its envelope, ready for a log.

    Raises:
        UnreadableEvent: it bears a value that could not be read back (a float that is no number, a wrong type). A log
            is for ever, and what a projection cannot read stops it: better that the caller fails.
    """
    entry = Entry(
        id=id,
        at=at,
        kind=event.kind,
        schema=event.schema,
        subject=subject,
        gateway=gateway,
        run=run,
        actor=actor,
        body=_encode(event),
        private=private,
        salt=entropy(16) if private else b"",
        digest=b"",
        leaf=b"",
    )
    decode(entry)
    return msgspec.structs.replace(entry, leaf=leaf(entry))


def decode(recorded: Recorded | Entry) -> Event:
    """Return the event in an envelope; `Unknown` where a newer release wrote it.

    Raises:
        UnreadableEvent: the bytes are no event of that kind.
    """
    decoder = _decoders.get((recorded.kind, recorded.schema))
    try:
        if decoder is not None:
            return decoder(recorded.body)
        return _decode_other_schema(recorded)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = f"position {recorded.position}" if isinstance(recorded, Recorded) else f"event {recorded.id!r}"
        raise UnreadableEvent(f"{place} is no {recorded.kind} of schema {recorded.schema}: {error}") from error


def _decode_other_schema(recorded: Recorded | Entry) -> Event:
    known = KINDS.get(recorded.kind)
    if known is None or recorded.schema > known.schema:
        return Unknown(written_kind=recorded.kind, written_schema=recorded.schema)
    body = _parse(recorded.body)
    try:
        for schema in range(recorded.schema, known.schema):
            body = UPCASTERS[recorded.kind, schema](body)
    except Exception as error:
        # Upcasters are written for what was once released; they may trip over anything else in any way.
        raise msgspec.ValidationError(f"it cannot be brought to schema {known.schema} ({error!r})") from error
    return msgspec.convert(body, known)

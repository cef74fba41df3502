"""A message in forty bytes, so that a webhook may be owed a million of them.

A record holds what `Owed` holds, but for the webhook and the subject, which whoever keeps it knows; and the time of the
cause. Records of one lane sort as they must be sent by their first bytes (O2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final

from ..engine.events import Format, Micros
from ..engine.sending import MessageState, Owed
from .bodies import CONFIRMED, DISABLED, FLIPS, OFFLINE, ONLINE, PING, write_id

TYPES: Final = (ONLINE, OFFLINE, CONFIRMED, DISABLED, PING)
"""By their numbers. New ones go behind these; the projection's version is raised with them."""
ROUNDS: Final = 1 << 31
"""A round from here on is no round: the rest of its field is for those that a recovery begins."""

_STATES: Final[tuple[MessageState, ...]] = ("pending", "delivered", "parked", "skipped")
_FORMATS: Final[tuple[Format, ...]] = ("standard", "cloudevents")

_RECORD: Final = Struct(">QB17sBBIq")
"""Position, rank within it, id, type, flags, round, time of the cause."""
SIZE: Final = _RECORD.size
ORDER: Final = slice(0, 9)
"""Of a record: by what it has its place in its lane."""
_ID: Final = slice(9, 26)
_FLAGS: Final = 27
_STATE, _FORMAT, _REQUESTED = 0b0011, 0b0100, 0b1000

_UNKNOWN: Final = -(1 << 63)
"""In place of a time that nobody remembers."""
_LATEST: Final = (1 << 63) - 1

_is_id: Final = re.compile(r"msg_[A-Z2-7]{26}", re.ASCII).fullmatch
_DIGITS: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv")
"""From base32 as RFC 4648 has it to the digits that `int` takes for it."""
_RANKS: Final = {type: 0 if type in FLIPS else 1 for type in TYPES}
_NUMBERS: Final = {type: number for number, type in enumerate(TYPES)}


def pack_id(id: str) -> bytes | None:
    """Return a message's id in 17 bytes; none if no message can bear it (O12)."""
    return int(id[4:].translate(_DIGITS), 32).to_bytes(17, "big") if _is_id(id) else None


def pack(message: Owed, at: Micros | None, *, requested: bool = False) -> bytes | None:
    """Return a pending message's record; none if no log derives such a message.

    Args:
        at: the time of its cause, if that is known.
        requested: somebody asked for this very message.
    """
    id, number = pack_id(message.id), _NUMBERS.get(message.type)
    if id is None or number is None or not (0 < message.position <= _LATEST and 0 <= message.round < ROUNDS):
        return None
    flags = (_FORMAT if message.format == "cloudevents" else 0) | (_REQUESTED if requested else 0)
    time = _UNKNOWN if at is None else min(max(at, 1 - _LATEST), _LATEST)
    return _RECORD.pack(message.position, _RANKS[message.type], id, number, flags, message.round, time)


def unpack(record: bytes, webhook: str, subject: str) -> Owed:
    """Return the message that a record holds."""
    position: int
    id: bytes
    number: int
    flags: int
    round: int
    position, _, id, number, flags, round, _ = _RECORD.unpack(record)
    return Owed(
        write_id(int.from_bytes(id, "big")), webhook, subject, TYPES[number], position, round,
        _STATES[flags & _STATE], _FORMATS[(flags & _FORMAT) >> 2],
    )  # fmt: skip


def id_of(record: bytes) -> bytes:
    """Return a record's id, packed."""
    return record[_ID]


def place_of(record: bytes) -> bytes:
    """Return by what records of a webhook are listed: position, then id."""
    return record[:8] + record[_ID]


def position_of(record: bytes) -> int:
    """Return the position of the cause."""
    return int.from_bytes(record[:8], "big")


def at_of(record: bytes) -> Micros | None:
    """Return the time of the cause; none if nobody remembers it."""
    at: Micros = _RECORD.unpack(record)[6]
    return None if at == _UNKNOWN else at


def round_of(record: bytes) -> int:
    """Return the round."""
    return int.from_bytes(record[28:32], "big")


def state_of(record: bytes) -> MessageState:
    """Return the state."""
    return _STATES[record[_FLAGS] & _STATE]


def is_flip(record: bytes) -> bool:
    """Does it tell that a station went online or offline?"""
    return record[8] == 0


def was_requested(record: bytes) -> bool:
    """Did somebody ask for this very message, in this round?"""
    return bool(record[_FLAGS] & _REQUESTED)


def moved(record: bytes, state: MessageState) -> bytes:
    """Return the record in another state."""
    flags = record[_FLAGS] & ~(_STATE | _REQUESTED) | _STATES.index(state)
    return record[:_FLAGS] + bytes((flags,)) + record[_FLAGS + 1 :]


def again(record: bytes, *, requested: bool) -> bytes:
    """Return the record, pending in the next round."""
    flags = record[_FLAGS] & _FORMAT | (_REQUESTED if requested else 0)
    return record[:_FLAGS] + bytes((flags,)) + (round_of(record) + 1).to_bytes(4, "big") + record[32:]


def find(lane: bytes, id: bytes) -> int:
    """Return where the record of an id begins in a lane of records; -1 if it is not there."""
    at = lane.find(id)
    while at >= 0 and at % SIZE != _ID.start:
        at = lane.find(id, at + 1)
    return at - _ID.start if at >= 0 else -1


def records_of(lane: bytes) -> Iterator[bytes]:
    """Return the records of a lane, in order."""
    return (lane[at : at + SIZE] for at in range(0, len(lane), SIZE))


def behind(lane: bytes, least: bytes) -> bytes:
    """Return a lane from the first record on whose place is behind another."""
    at = 0
    while at < len(lane) and place_of(lane[at : at + SIZE]) <= least:
        at += SIZE
    return lane[at:]

"""Refused handshakes, recorded without letting strangers fill the log (semantics 2).

The first refusal of a (reason, claimed id) is told at once; repeats are counted and told once a minute. In the whole
log at most `BUDGET` a minute are told; what is over the budget is summed up by reason, under no id. Memory is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from attrs import define, evolve, frozen

from ..events import HandshakeRefused, Micros
from ..stations import Hint

_LOG: Final = logging.getLogger(__name__)

MINUTE = 60.0
BUDGET = 60
"""Events a minute: a stranger adds at most some 75 MB a day, however hard it tries."""
RESERVED = 10
"""Of those, kept for the summaries at the minute's end."""
REMEMBERED = 1000
"""(reason, id) pairs remembered within a minute."""
CLAIM_BYTES = 255
HINT_LENGTH = 200
ASKED = 10
"""Hints a minute that are asked for because they are dear; the others of that minute stay empty."""


@frozen(kw_only=True)
class Refusal:
    """A refusal to be recorded, and whom it concerned."""

    event: HandshakeRefused
    remote: str


@define
class _Count:
    status: int
    hint: Hint
    remote: str
    first_at: Micros
    last_at: Micros
    count: int = 0


class Refusals:
    """Decides which refusals become events."""

    def __init__(self, now: float) -> None:
        self._window = now
        self._told = 0
        self._asked = 0
        self._counts: dict[tuple[str, str], _Count] = {}

    def note(self, claimed: str, *, reason: str, status: int, hint: Hint, remote: str, at: Micros) -> Refusal | None:
        """Count a refusal; return it if it is to be recorded at once."""
        claimed = claimed.encode(errors="backslashreplace")[:CLAIM_BYTES].decode(errors="ignore")
        key = (reason, claimed)
        if isinstance(hint, str):
            hint = hint[:HINT_LENGTH]
        if key not in self._counts and len(self._counts) >= REMEMBERED:
            key, hint = (reason, ""), _of_all(hint)
        known = self._counts.get(key)
        if known is not None:
            known.count += 1
            known.last_at = at
            return None
        if self._told >= BUDGET - RESERVED:
            self._counts[key] = _Count(status, hint, remote, at, at, 1)
            return None
        hint = self._said(hint)
        self._counts[key] = _Count(status, hint, remote, at, at)
        self._told += 1
        return _refusal(key, _Count(status, hint, remote, at, at, 1))

    def minute(self, now: float) -> list[Refusal]:
        """Return the summaries that are due at *now*, at most once a minute; to be called now and then."""
        if now - self._window < MINUTE:
            return []
        untold = {key: count for key, count in self._counts.items() if count.count}
        summaries = [
            _refusal(key, evolve(count, hint=self._said(count.hint)))
            for key, count in _within(untold, BUDGET - self._told)
        ]
        self._window, self._told, self._asked, self._counts = now, 0, 0, {}
        return summaries

    def _said(self, hint: Hint) -> str:
        """Return a hint's words, cut to a length; a dear one is asked, within the budget. Never raises."""
        if callable(hint):
            if self._asked >= ASKED:
                return ""
            self._asked += 1
            try:
                hint = hint()
            except Exception:
                _LOG.exception("finding a hint for a refused handshake failed")
                return ""
        return hint[:HINT_LENGTH]


def _within(untold: dict[tuple[str, str], _Count], budget: int) -> Iterator[tuple[tuple[str, str], _Count]]:
    """Yield at most *budget* summaries: the largest counts by id, the rest by reason alone."""
    largest = sorted(untold.items(), key=lambda item: (-item[1].count, item[0]))
    reasons = {reason for reason, _ in untold}
    own = largest if len(largest) <= budget else largest[: max(0, budget - len(reasons))]
    yield from own
    rest: dict[str, _Count] = {}
    for (reason, _), count in largest[len(own) :]:
        hint = _of_all(count.hint)
        summed = rest.setdefault(reason, _Count(count.status, hint, "", count.first_at, count.last_at))
        summed.hint = hint if summed.hint == hint else ""
        summed.count += count.count
        summed.first_at = min(summed.first_at, count.first_at)
        summed.last_at = max(summed.last_at, count.last_at)
    for reason, count in sorted(rest.items())[:budget]:
        yield (reason, ""), count


def _of_all(hint: Hint) -> str:
    """Return what of a hint holds for many ids together: what is found out about one says nothing of the others."""
    return hint if isinstance(hint, str) else ""


def _refusal(key: tuple[str, str], count: _Count) -> Refusal:
    reason, claimed = key
    assert isinstance(count.hint, str)
    event = HandshakeRefused(
        claimed=claimed,
        reason=reason,
        status=count.status,
        hint=count.hint,
        count=count.count,
        first_at=count.first_at,
        last_at=count.last_at,
    )
    return Refusal(event=event, remote=count.remote)

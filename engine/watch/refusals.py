"""Refused handshakes, recorded without letting strangers fill the log (semantics 2).

The first refusal of a (reason, claimed id) is told at once; repeats are counted and told once a minute. In the whole
log at most `BUDGET` a minute are told; what is over the budget is summed up by reason, under no id. Memory is bounded.

Of all that, refusals that anybody can cause under any id get half at most, and are summed up by reason first: strangers
hide no station that is registered.
"""

from __future__ import annotations

import logging
from collections import Counter
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
BY_ADDRESS = "too many refused handshakes from one address"
"""The hint of the one 429 that anybody can cause under any id; all others take an id that is registered."""
_ANYBODY: Final = frozenset({400, 404, 405, 408, 426, 431})
"""The statuses of refusals before it is known whether the claimed id is registered, or because it is not."""
_ANYBODYS: Final = frozenset({"foreign_origin", "crowded"})
"""Reasons of the same sort, whose status others have, too."""


@frozen(kw_only=True)
class Refusal:
    """A refusal to be recorded, and whom it concerned."""

    event: HandshakeRefused
    remote: str


@define
class _Count:
    """Refusals of one reason and id: how many, and what was newest of them."""

    status: int
    hint: Hint
    remote: str
    first_at: Micros
    last_at: Micros
    count: int = 0
    anybody: bool = False
    """Whether it takes no registered id to be refused so."""

    def add(self, newer: _Count, *, many: bool) -> None:
        """Count others in; of *many* ids together, only what holds for all is said."""
        same = self.hint == newer.hint
        self.hint = newer.hint if same or not many else ""
        self.remote = "" if many else newer.remote
        self.status = newer.status
        self.first_at = min(self.first_at, newer.first_at) if self.count else newer.first_at
        self.last_at = max(self.last_at, newer.last_at)
        self.count += newer.count
        self.anybody = self.anybody and newer.anybody


class Refusals:
    """Decides which refusals become events."""

    def __init__(self, now: float) -> None:
        self._window = now
        self._counts: dict[tuple[str, str], _Count] = {}
        self._remembered: Counter[bool] = Counter()
        # Of all, by whether anybody can cause them.
        self._told: Counter[bool] = Counter()
        self._asked: Counter[bool] = Counter()

    def note(self, claimed: str, *, reason: str, status: int, hint: Hint, remote: str, at: Micros) -> Refusal | None:
        """Count a refusal; return it if it is to be recorded at once."""
        claimed = claimed.encode(errors="backslashreplace")[:CLAIM_BYTES].decode(errors="ignore")
        key = (reason, claimed)
        anybody = status in _ANYBODY or reason in _ANYBODYS or (status == 429 and hint == BY_ADDRESS)
        if isinstance(hint, str):
            hint = hint[:HINT_LENGTH]
        many = key not in self._counts and not _room(self._remembered, REMEMBERED, anybody)
        if many:
            key, hint = (reason, ""), _of_all(hint)
        one = _Count(status, hint, remote, at, at, 1, anybody)
        known = self._counts.get(key)
        if known is not None:
            known.add(one, many=many)
            return None
        self._counts[key] = one
        self._remembered[anybody] += 1
        if not _room(self._told, BUDGET - RESERVED, anybody):
            return None
        self._told[anybody] += 1
        told = evolve(one, hint=self._said(one))
        one.count = 0
        return _refusal(key, told)

    def minute(self, now: float, *, over: bool = False) -> list[Refusal]:
        """Return the summaries that are due at *now*, at most once a minute; to be called now and then.

        Args:
            over: nothing comes after this, and all is due.
        """
        if not over and now - self._window < MINUTE:
            return []
        untold = {key: count for key, count in self._counts.items() if count.count}
        budget = BUDGET - self._told.total()
        summaries = [_refusal(key, evolve(count, hint=self._said(count))) for key, count in _within(untold, budget)]
        self._counts, self._remembered = {}, Counter()
        if over:
            self._told[False] += len(summaries)  # so that the bound of this minute holds for stragglers, too
        else:
            self._window, self._told, self._asked = now, Counter(), Counter()
        return summaries

    def _said(self, count: _Count) -> str:
        """Return a hint's words, cut to a length; a dear one is asked, within the budget. Never raises."""
        hint = count.hint
        if callable(hint):
            if not _room(self._asked, ASKED, count.anybody):
                return ""
            self._asked[count.anybody] += 1
            try:
                hint = hint()
            except Exception:
                _LOG.exception("finding a hint for a refused handshake failed")
                return ""
        return hint[:HINT_LENGTH]


def _room(taken: Counter[bool], most: int, anybody: bool) -> bool:
    """Return whether there is room for one more; what anybody can cause gets half of it."""
    return taken.total() < most and not (anybody and taken[True] >= most // 2)


def _within(untold: dict[tuple[str, str], _Count], budget: int) -> Iterator[tuple[tuple[str, str], _Count]]:
    """Yield at most *budget* summaries: the largest counts by id, the rest by reason alone.

    By id go first those that take a registered one.
    """
    ordered = sorted(untold.items(), key=lambda item: (item[1].anybody, -item[1].count, item[0]))
    reasons = {reason for reason, _ in untold}
    own = ordered if len(ordered) <= budget else ordered[: max(0, budget - len(reasons))]
    yield from own
    rest: dict[str, _Count] = {}
    for (reason, _), count in ordered[len(own) :]:
        one = evolve(count, hint=_of_all(count.hint), remote="")
        if reason in rest:
            rest[reason].add(one, many=True)
        else:
            rest[reason] = one
    for reason, count in sorted(rest.items(), key=lambda item: (item[1].anybody, item[0]))[:budget]:
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

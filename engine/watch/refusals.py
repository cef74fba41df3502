"""Refused handshakes, recorded without letting strangers fill the log (semantics 2).

The first refusal of a (reason, claimed id) is told at once; repeats are counted and told once a minute. In the whole
log at most `BUDGET` a minute are told; what is over the budget is summed up by reason, under no id. Memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, frozen

from ..events import HandshakeRefused, Micros

MINUTE = 60.0
BUDGET = 60
"""Events a minute: a stranger adds at most some 75 MB a day, however hard it tries."""
RESERVED = 10
"""Of those, kept for the summaries at the minute's end."""
REMEMBERED = 1000
"""(reason, id) pairs remembered within a minute."""
CLAIM_BYTES = 255
HINT_LENGTH = 200


@frozen(kw_only=True)
class Refusal:
    """A refusal to be recorded, and whom it concerned."""

    event: HandshakeRefused
    remote: str


@define
class _Count:
    status: int
    hint: str
    remote: str
    first_at: Micros
    last_at: Micros
    count: int = 0


class Refusals:
    """Decides which refusals become events."""

    def __init__(self, now: float) -> None:
        self._window = now
        self._told = 0
        self._counts: dict[tuple[str, str], _Count] = {}

    def note(self, claimed: str, *, reason: str, status: int, hint: str, remote: str, at: Micros) -> Refusal | None:
        """Count a refusal; return it if it is to be recorded at once."""
        claimed = claimed.encode(errors="backslashreplace")[:CLAIM_BYTES].decode(errors="ignore")
        hint = hint[:HINT_LENGTH]
        key = (reason, claimed)
        if key not in self._counts and len(self._counts) >= REMEMBERED:
            key = (reason, "")
        known = self._counts.get(key)
        if known is not None:
            known.count += 1
            known.last_at = at
            return None
        if self._told >= BUDGET - RESERVED:
            self._counts[key] = _Count(status, hint, remote, at, at, 1)
            return None
        self._counts[key] = _Count(status, hint, remote, at, at)
        self._told += 1
        return _refusal(key, _Count(status, hint, remote, at, at, 1))

    def minute(self, now: float) -> list[Refusal]:
        """Return the summaries that are due at *now*, at most once a minute; to be called now and then."""
        if now - self._window < MINUTE:
            return []
        untold = {key: count for key, count in self._counts.items() if count.count}
        summaries = list(_within(untold, BUDGET - self._told))
        self._window, self._told, self._counts = now, 0, {}
        return summaries


def _within(untold: dict[tuple[str, str], _Count], budget: int) -> Iterator[Refusal]:
    """Yield at most *budget* summaries: the largest counts by id, the rest by reason alone."""
    largest = sorted(untold.items(), key=lambda item: (-item[1].count, item[0]))
    reasons = {reason for reason, _ in untold}
    own = largest if len(largest) <= budget else largest[: max(0, budget - len(reasons))]
    for key, count in own:
        yield _refusal(key, count)
    rest: dict[str, _Count] = {}
    for (reason, _), count in largest[len(own) :]:
        summed = rest.setdefault(reason, _Count(count.status, count.hint, "", count.first_at, count.last_at))
        summed.count += count.count
        summed.first_at = min(summed.first_at, count.first_at)
        summed.last_at = max(summed.last_at, count.last_at)
    for reason, count in sorted(rest.items())[:budget]:
        yield _refusal((reason, ""), count)


def _refusal(key: tuple[str, str], count: _Count) -> Refusal:
    reason, claimed = key
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

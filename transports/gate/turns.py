"""Turns: who of many is let in first when they come faster than they can be let in.

Tokens come at a steady rate; each lets one in. Who finds none gets a number, as at a counter, and is told to come back
when that will be served. Numbers are served at nine tenths of the rate, whether their holders are there or not; a
holder whose number was served takes from tokens that are kept for such, and, where these lack, from the others. So who
comes back when it was told to finds a token. Newcomers, and those who come before their time, however many and however
often, share the last tenth and what nobody came for. Where holders come late and all at once, the numbers wait for
them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from random import random
from typing import Final

from attrs import define

_SHARE: Final = 0.9
"""Of the tokens, for those who come back. Who is new has the rest, and a number if that is gone."""
_HELD: Final = 1.0
"""Seconds' worth of tokens that may gather: the burst after a quiet moment ..."""
_HELD_LEAST: Final = 5.0
"""... and tokens that may gather however slowly they come, so that one who is a little late finds its own."""
_SPREAD: Final = 1.0
"""Seconds by which those who were turned away in one moment are told apart at least. Retry-After has whole seconds."""
_STRAY: Final = 0.05
"""Of the time that one is told to wait, by which it is told to wait longer at most: nobody's clock is that exact."""
_KEPT: Final = 300.0
"""Seconds for which a number is good after its holder was told to be back. Who has more patience begins anew."""


@define
class _Number:
    number: int
    back: float
    """When its holder should be back."""


class Turns:
    """Tokens for those who want to come in, and numbers for those who have to come back.

    Args:
        per_second: tokens.
        most: numbers remembered; once so many wait, who is new gets none, and has to try its luck again.
        chance: a random number from 0 to 1, evenly spread.

    Time is data: seconds of any clock that does not go back.
    """

    def __init__(self, per_second: float, *, most: int, chance: Callable[[], float] = random) -> None:
        self._rate = per_second
        self._most = most
        self._chance = chance
        self._at: float | None = None
        # It begins with one: after a start nothing is warm yet, and whoever is first need not come twice.
        self._common = 1.0
        self._kept = 0.0
        self._bound = max(per_second * _HELD, _HELD_LEAST)
        self._numbers: OrderedDict[str, _Number] = OrderedDict()
        """Key -> its number, in that order."""
        self._last = 0
        self._served = 0.0
        self._spoken_for = -inf
        """Until when the tokens go to holders whose number was served, who came late and all at once."""

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, key: str, now: float) -> float:
        """Take a token for *key*; return 0, or, if there is none for it, the seconds until it should come back."""
        self._fill(now)
        held = self._numbers.get(key)
        if held is not None and held.number <= self._served and self._kept >= 1:
            self._kept -= 1
        elif self._common >= 1:
            self._common -= 1
        else:
            return self._later(key, held, now)
        self._numbers.pop(key, None)
        return 0.0

    def _fill(self, now: float) -> None:
        """Let the tokens come, and the numbers go on."""
        since = 0.0 if self._at is None else now - self._at
        new = since * self._rate
        free = min(now - self._spoken_for, since) * self._rate * _SHARE
        self._at = now
        self._forget(now)
        kept = new * _SHARE if self._numbers else 0.0
        spilt = max(self._kept + kept - self._bound, 0.0)
        self._kept += kept - spilt
        self._common = min(self._common + new - kept + spilt, self._bound)
        self._served = min(self._served + max(free, 0.0), float(self._last))

    def _forget(self, now: float) -> None:
        """Forget numbers whose holders have not come for long."""
        while self._numbers:
            first = next(iter(self._numbers))
            if self._numbers[first].back + _KEPT >= now:
                return
            del self._numbers[first]

    def _later(self, key: str, held: _Number | None, now: float) -> float:
        """Give *key* a number, if it has none and one is to be had; return the seconds until it should come back."""
        if held is None and len(self._numbers) < self._most:
            self._last += 1
            held = self._numbers[key] = _Number(self._last, now)
        number = self._last + 1 if held is None else held.number
        pace = 1 / (self._rate * _SHARE)
        if number > self._served:
            wait = (number - self._served) * pace + max(self._spoken_for - now, 0.0)
        elif held is not None and now < held.back:
            wait = held.back - now
        else:
            self._spoken_for = max(self._spoken_for, now) + pace
            wait = self._spoken_for - now
        told = wait + max(_SPREAD, wait * _STRAY) * self._chance()
        if held is not None:
            held.back = now + told
        return told

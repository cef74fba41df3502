"""Passwords checked, and guesses slowed down.

A machine-made key costs microseconds to compare, and a password that was right before is remembered, so both are
answered at once, however many guesses at the same station are under way. Only what has to be stretched waits: for
those ahead of it at the same station, and for the time that wrong answers cost (`guesses`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from ...transports.admission import LAST_WORD
from .credentials import Credentials, Crowded
from .guesses import LONGEST, Guesses

PATIENCE: Final = 2 * LONGEST
"""Seconds that a password may wait to be checked: half of the time for a handshake, so that there is an answer."""
_WAITING_FOR_ONE: Final = 4
"""Passwords that may wait for one station, of which one at a time is stretched: whoever guesses at one station takes
one thread at most, and no place in the queue of the others."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a password."""

    credential: str | None = None
    """The one that it is right for; none: it is wrong."""
    delay: float = 0.0
    """Seconds for which the news that it is wrong is to be held back."""
    too_often: float | None = None
    """Seconds until another may be tried: there were so many wrong ones that this one was not looked at."""


class Checking:
    """Checks what stations present."""

    def __init__(self, credentials: Credentials, *, patience: float = PATIENCE) -> None:
        self._credentials = credentials
        self._patience = patience
        self._guesses = Guesses(longest=patience / 2)
        self._lines: dict[str, trio.Lock] = {}
        """The stations for which passwords wait."""

    def at_once(self, station: str, credentials: Sequence[str], presented: bytes) -> Checked | None:
        """Check a password against a station's credentials; None: that takes waiting."""
        undecided = False
        for id in credentials:
            known = self._credentials.known(id, presented)
            if known:
                self._guesses.right(station)
                return Checked(credential=id)
            undecided |= known is None
        if undecided:
            return None
        now = trio.current_time()
        delay = self._guesses.wrong(station, now, self._credentials.mark(station, presented))
        return self._too_often(station, now) if delay is None else Checked(delay=delay)

    async def wait(self, station: str, credentials: Sequence[str], presented: bytes) -> Checked:
        """Check a password that has to be stretched, once it is its turn.

        Raises:
            Crowded: so many wait to be stretched, for all stations, that it would come too late.
        """
        line = self._lines.setdefault(station, trio.Lock())
        ahead = line.statistics().tasks_waiting + line.locked()
        now = trio.current_time()
        patience = self._patience
        if self._guesses.suspected(station, now):
            # Who has guessed must not take so long over it that a 503 comes of it, which holds up the grace.
            patience = min(patience, trio.current_effective_deadline() - now - LAST_WORD)
        if ahead > _WAITING_FOR_ONE or self._guesses.wait(station, now, ahead=ahead) > patience:
            return self._too_often(station, now)
        try:
            with trio.move_on_after(max(0.0, patience)):
                async with line:
                    return await self._take_turn(station, credentials, presented)
        except Crowded:
            if self._guesses.suspected(station, trio.current_time()):
                return self._too_often(station, trio.current_time())
            raise
        finally:
            if not line.locked():
                self._lines.pop(station, None)
        return self._too_often(station, trio.current_time())

    async def _take_turn(self, station: str, credentials: Sequence[str], presented: bytes) -> Checked:
        await trio.sleep(self._guesses.wait(station, trio.current_time()))
        # Whoever was ahead may have presented the same: then it is known by now, and nothing is stretched.
        # To the end, also if the peer hangs up: a guess that was looked at is counted.
        with trio.CancelScope(shield=True):
            for id in credentials:
                if await self._credentials.matches(id, presented):
                    self._guesses.right(station)
                    return Checked(credential=id)
            self._guesses.wrong(station, trio.current_time(), self._credentials.mark(station, presented))
        return Checked()

    def _too_often(self, station: str, now: float) -> Checked:
        return Checked(too_often=max(1.0, self._guesses.wait(station, now, ahead=1)))

"""Passwords checked, and guesses slowed down.

A machine-made key costs microseconds to compare, and a password that was right before is remembered, so both are
answered at once, however many guesses at the same station are under way. Only what has to be stretched waits: for
those ahead of it at the same station, and for the time that wrong answers cost (`guesses`). An address never decides
whether a password is looked at, but when: each has one place in the line, and those from which wrong ones came let the
others go first, so that a guesser does not keep the station itself from its turn.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Final

import msgspec
import trio
from attrs import Factory, define

from ...transports.admission import LAST_WORD
from ...transports.gate.addresses import block_of
from .credentials import Credentials, Crowded
from .guesses import LONGEST, Guesses

_STRETCHED: Final = 0.5
"""Seconds in which a password is stretched, on a machine that has other things to do."""
PATIENCE: Final = 2 * LONGEST + _STRETCHED
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


@define
class _Line:
    """Those who wait for a password of one station to be stretched."""

    turn: trio.Lock = Factory(trio.Lock)
    suspects: trio.Lock = Factory(trio.Lock)
    """Taken first by those whose address wrong passwords came from, so that one of them at most is ahead of others."""
    blocks: set[str] = Factory(set[str])
    """Where they come from; as many as there are of them."""

    def ahead(self, *, suspect: bool) -> int:
        """Return how many a newcomer has to wait for."""
        return len(self.blocks) if suspect else self.turn.statistics().tasks_waiting + self.turn.locked()

    @asynccontextmanager
    async def place(self, *, suspect: bool) -> AsyncGenerator[None]:
        """Wait for a turn, which lasts as long as the block."""
        async with self.suspects if suspect else nullcontext(), self.turn:
            yield


class Checking:
    """Checks what stations present."""

    def __init__(self, credentials: Credentials, *, patience: float = PATIENCE) -> None:
        self._credentials = credentials
        self._patience = patience
        self._guesses = Guesses(longest=max(0.0, patience - _STRETCHED) / 2)
        self._lines: dict[str, _Line] = {}
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

    async def wait(self, station: str, credentials: Sequence[str], presented: bytes, remote: str) -> Checked:
        """Check a password that has to be stretched and came from an address, once it is its turn.

        Raises:
            Crowded: so many wait to be stretched, for all stations, that it would come too late.
        """
        now, block = trio.current_time(), block_of(remote)
        line = self._lines.get(station) or _Line()
        suspect = self._guesses.came_from(station, block, now)
        ahead = line.ahead(suspect=suspect)
        patience = self._patience
        if self._guesses.suspected(station, now):
            # Who has guessed must not take so long over it that a 503 comes of it, which holds up the grace.
            patience = min(patience, trio.current_effective_deadline() - now - LAST_WORD)
        late = ahead > _WAITING_FOR_ONE or self._guesses.wait(station, now, ahead=ahead) > patience
        if late or block in line.blocks:
            return self._too_often(station, now)
        self._lines[station] = line
        line.blocks.add(block)
        try:
            with trio.move_on_after(max(0.0, patience)):
                async with line.place(suspect=suspect):
                    return await self._take_turn(station, credentials, presented, block)
        except Crowded:
            if self._guesses.suspected(station, trio.current_time()):
                return self._too_often(station, trio.current_time())
            raise
        finally:
            line.blocks.remove(block)
            if not line.blocks:
                del self._lines[station]
        return self._too_often(station, trio.current_time())

    async def _take_turn(self, station: str, credentials: Sequence[str], presented: bytes, block: str) -> Checked:
        await trio.sleep(self._guesses.wait(station, trio.current_time()))
        # Whoever was ahead may have presented the same: then it is known by now, and nothing is stretched.
        # To the end, also if the peer hangs up: a guess that was looked at is counted.
        with trio.CancelScope(shield=True):
            for id in credentials:
                if await self._credentials.matches(id, presented):
                    self._guesses.right(station)
                    return Checked(credential=id)
            mark = self._credentials.mark(station, presented)
            self._guesses.wrong(station, trio.current_time(), mark, block=block)
        return Checked()

    def _too_often(self, station: str, now: float) -> Checked:
        return Checked(too_often=max(1.0, self._guesses.wait(station, now, ahead=1)))

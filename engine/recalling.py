"""Bodies of pending messages that the outbox has no room for: put by, found again, or told anew from the log.

The outbox keeps what the newest messages say. What it has to forget while somebody is owed it is put by in a
disposable file (`log.scenes`). What is asked for is looked for there; what is not there follows from the log, from the
share of it that tells of the one station, and the rest of that station's pending messages are put by with it: a lost
file costs one replay of each station, not one of each message (ADR 0024).

One task does it all, in a worker thread, and answers whoever waits; those who ask meanwhile are answered together next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeVar

import trio

from .fold import Retelling
from .log import Log
from .log.scenes import SceneFile
from .log.stations import life_of
from .sending import Owed, Owing, Place

T = TypeVar("T")

AT_ONCE: Final = 256
"""Scenes that are put by at once, rather than one by one."""
SWEEP: Final = 10_000
"""Scenes put by between two looks for those that nobody is owed any more."""
RETOLD: Final = 4
"""Stations told anew before those are looked after who asked meanwhile, and need no replay."""


class _Asked:
    """Somebody waits for a message's body."""

    def __init__(self, message: Owed) -> None:
        self.message = message
        self.answered = trio.Event()
        self.body: bytes | Exception = b""

    @property
    def place(self) -> Place:
        return self.message.position, self.message.subject

    def answer(self, body: bytes | Exception) -> None:
        self.body = body
        self.answered.set()


class Recalling:
    """What the outbox had to forget. Tell it `put_by` after each commit, `run` it, and ask it for bodies."""

    def __init__(
        self,
        retelling: Retelling,
        owing: Callable[[], Owing],
        reader: Callable[[], AbstractContextManager[Log]],
        file: SceneFile | None,
        *,
        inline: bool,
    ) -> None:
        """*file*: where to put things by; none: what is forgotten is always told anew.
        *inline*: work in the loop's own thread, as virtual time needs it.
        """
        self._retelling = retelling
        self._owing = owing
        self._reader = reader
        self._file = file
        self._inline = inline
        self._asked: list[_Asked] = []
        self._forgotten: dict[Place, bytes] = {}
        self._swept = 0
        self._news = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        """A thread that nobody else can hold up."""

    def put_by(self) -> None:
        """Take what the outbox had to forget since the last time."""
        for place, told in self._owing().evicted():
            if self._file is not None:
                self._forgotten[place] = told
        if len(self._forgotten) >= AT_ONCE:
            self._news.set()

    async def body(self, message: Owed) -> bytes:
        """Return a message's body.

        Raises:
            LookupError: the log derives no such message.
            LogError: the log cannot be read.
        """
        asked = _Asked(message)
        self._asked.append(asked)
        self._news.set()
        await asked.answered.wait()
        if isinstance(asked.body, Exception):
            raise asked.body
        return asked.body

    async def run(self) -> None:
        """Answer whoever asks, for as long as the engine runs."""
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                asked, self._asked = self._asked, []
                try:
                    await self._look_after(asked)
                except Exception as error:
                    # Whoever waits knows best what it means; and the next may have more luck.
                    for one in asked:
                        if not one.answered.is_set():
                            one.answer(error)
        finally:
            if self._file is not None:
                self._file.keep(self._forgotten)
                self._file.close(needed=self._owing().oldest_cause() is not None)

    # --- within ------------------------------------------------------------------------------------------------------

    async def _look_after(self, asked: Sequence[_Asked]) -> None:
        forgotten, self._forgotten = self._forgotten, {}
        missing = [one for one in asked if one.place not in forgotten or not self._told(one, forgotten[one.place])]
        if self._file is not None and (forgotten or missing):
            found = await self._apart(self._exchange, self._file, forgotten, [one.place for one in missing])
            missing = [one for one in missing if one.place not in found or not self._told(one, found[one.place])]
            await self._sweep(self._file, len(forgotten))
        stations = list(dict.fromkeys(one.message.subject for one in missing))
        for station in stations[:RETOLD]:
            await self._retell(station, [one for one in missing if one.message.subject == station])
        later = [one for one in missing if not one.answered.is_set()]
        if later:
            self._asked += later
            self._news.set()

    async def _sweep(self, file: SceneFile, more: int) -> None:
        """Now and then let go of what nobody is owed any more."""
        self._swept += more
        if self._swept >= SWEEP:
            self._swept = 0
            oldest = self._owing().oldest_cause()
            if oldest is not None:
                await self._apart(file.let_go, oldest)

    async def _retell(self, station: str, asked: Sequence[_Asked]) -> None:
        """Make from the log what is asked for of a station, and put by all that it is going to be asked for."""
        places = {one.place for one in asked}
        if self._file is not None:
            places.update(self._owing().untold(station))
        told = await self._apart(self._replay, station, places)
        for one in asked:
            if one.place not in told or not self._told(one, told[one.place]):
                message = one.message
                one.answer(LookupError(f"the log derives no message {message.id} at position {message.position}"))

    def _told(self, asked: _Asked, told: bytes) -> bool:
        """Answer with what was told, if it is what was asked for; return whether it was."""
        try:
            asked.answer(self._retelling.render(asked.message, told))
        except LookupError:
            return False  # of another log, or another time of this one, that stood here before
        return True

    def _exchange(
        self, file: SceneFile, forgotten: dict[Place, bytes], wanted: Collection[Place]
    ) -> dict[Place, bytes]:
        file.keep(forgotten)
        return file.find(wanted)

    def _replay(self, station: str, places: Collection[Place]) -> dict[Place, bytes]:
        with self._reader() as log:
            until = max(position for position, _ in places)
            life = life_of(log, station, until=until, kinds=self._retelling.kinds)
            told = dict(self._retelling.retell(life, places))
        if self._file is not None:
            self._file.keep(told)
        return told

    async def _apart(self, work: Callable[..., T], *given: object) -> T:
        if self._inline:
            await trio.lowlevel.checkpoint()
            return work(*given)
        return await trio.to_thread.run_sync(work, *given, limiter=self._limiter)

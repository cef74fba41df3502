"""Waiting for a condition that another process or peer brings about, with a deadline and a name for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

PAUSE = 0.02
"""Seconds between looks."""


class NeverCame(Exception):
    """A condition did not come true in its time."""


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within: float, what: str) -> None:
    """Return once the condition holds.

    Raises:
        NeverCame: it did not within so many seconds; the message says *what* it was.
    """
    with trio.move_on_after(within):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await trio.sleep(PAUSE)
    raise NeverCame(f"{what}: not within {within:g} s")

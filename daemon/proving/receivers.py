"""Webhook receivers that fail by script: a sender (`engine.sending.Sender`) without a wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Final, Literal, TypeAlias

import trio

from ...engine.sending import Answer, Attempt
from .history import History, Told

Mood: TypeAlias = Literal[
    "well",
    "ill",
    "hanging",
    "slow",
    "gone",
    "away",
    "forgetful",
    "cut off",
    "busy",
    "throttling",
    "moved",
    "no network",
]
"""well       takes it, 200                      away       cannot be reached
ill        500                                forgetful  takes it, and answers 500: it will come again
hanging    answers nothing, for 15 s          cut off    takes it, and its answer is lost: it will come again
slow       takes it, 200 after some seconds   busy       503 with Retry-After
gone       410                                throttling 429 with Retry-After
moved      302                                no network it cannot be reached from here, which is our fault"""

TIMEOUT: Final = 15.0
"""Seconds that an answer is awaited."""
_TAKES: Final = frozenset({"well", "slow", "forgetful", "cut off"})
_STATUS: Final[dict[str, int | None]] = {
    "well": 204,
    "slow": 204,
    "forgetful": 500,
    "ill": 500,
    "gone": 410,
    "busy": 503,
    "throttling": 429,
    "moved": 302,
}


class Receivers:
    """All receivers of a world; each has a mood."""

    def __init__(
        self, history: History, random: Random, *, run: Callable[[], str], ask: Callable[[str], tuple[bool, int]],
        durable: Callable[[], int],
    ) -> None:  # fmt: skip
        self.moods: dict[str, Mood] = {}
        """By webhook; who is not named is well."""
        self._history = history
        self._random = random
        self._run = run
        self._ask = ask
        self._durable = durable

    async def send(self, attempt: Attempt) -> Answer:
        webhook = attempt.url.rpartition("/")[2]
        mood = self.moods.get(webhook, "well")
        begun = trio.current_time()
        await trio.sleep(0.02 + 0.2 * self._random.random())
        if mood == "away":
            return Answer(status=None, error="connection refused")
        if mood == "no network":
            return Answer(status=None, error="no network", local=True)
        status = _STATUS.get(mood)
        self._note(webhook, attempt, begun, taken=mood in _TAKES, status=status)
        match mood:
            case "hanging" | "cut off":
                await trio.sleep(TIMEOUT)
                return Answer(status=None, error=f"no answer for {TIMEOUT:.0f} s")
            case "slow":
                await trio.sleep(1 + 8 * self._random.random())
            case _:
                await trio.sleep(0.1 * self._random.random())
        return Answer(status=status, latency=0.1, retry_after=60.0 if mood in ("busy", "throttling") else None)

    async def aclose(self) -> None:
        pass

    def _note(self, webhook: str, attempt: Attempt, begun: float, *, taken: bool, status: int | None) -> None:
        body = json.loads(attempt.body)
        data = body["data"]
        self._history.note(
            Told(
                at=trio.current_time(),
                begun=begun,
                run=self._run(),
                webhook=webhook,
                message=attempt.message,
                type=body["type"],
                station=data["id"],
                version=data["version"],
                online=data["online"],
                taken=taken,
                status=status,
                durable=self._durable(),
                asked=self._ask(data["id"]),
            )
        )

"""Subscriptions to a projection's changes, within the process. A slow subscriber cannot hold the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import trio

from .errors import FellBehind
from .fold import Below, Projection

C = TypeVar("C")


class Changes(Generic[C]):
    """The changes of one projection, in order, from the subscription on: an async iterator.

    One event may change many stations at once; its changes come together or not at all. While `capacity` changes
    wait for the subscriber no more are taken: it still gets those that wait, then `FellBehind` with the position after
    which to read on.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[tuple[int, C]] = deque()
        self._behind: int | None = None
        self._closed = False
        self._news = trio.Event()

    def __aiter__(self) -> Changes[C]:
        return self

    async def __anext__(self) -> C:
        while not self._waiting:
            if self._behind is not None:
                raise FellBehind(self._behind)
            if self._closed:
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._waiting.popleft()[1]

    def publish(self, position: int, changes: Sequence[C]) -> None:
        """Take what an event changed: all of it, or, where it does not fit, none of it and nothing ever after."""
        if self._behind is not None or self._closed:
            return
        if len(self._waiting) >= self._capacity:
            self._behind = position - 1
        else:
            self._waiting.extend((position, change) for change in changes)
        self._news.set()

    def close(self) -> None:
        """Let the subscriber come to its end after what waits for it."""
        self._closed = True
        self._news.set()


class Publisher:
    """The subscriptions of one engine, and who waits for its next event."""

    def __init__(self) -> None:
        self._by_projection: dict[Projection[Any, Any], set[Changes[Any]]] = {}
        self._moved = trio.Event()

    def subscribe(self, projection: Projection[Any, C], changes: Changes[C]) -> None:
        """Begin to publish a projection's changes to a subscriber."""
        self._by_projection.setdefault(projection, set()).add(changes)

    def unsubscribe(self, projection: Projection[Any, C], changes: Changes[C]) -> None:
        """Stop doing so."""
        self._by_projection[projection].discard(changes)

    def publish(self, position: int, below: Below) -> None:
        """Hand what an event changed to everybody who listens to that."""
        for projection, subscribers in self._by_projection.items():
            if subscribers and (changes := below.changes(projection)):
                for subscriber in subscribers:
                    subscriber.publish(position, changes)

    def moved(self) -> None:
        """Wake whoever waits for news."""
        self._moved.set()
        self._moved = trio.Event()

    async def news(self) -> None:
        """Return after the next commit."""
        await self._moved.wait()

    def close(self) -> None:
        """Let every subscriber come to its end."""
        for subscribers in self._by_projection.values():
            for subscriber in subscribers:
                subscriber.close()

"""Hosts: however many webhooks point at one, it gets no more than its share of the attempts, and they take turns.

A webhook that finds its host busy waits in the host's queue. A slot that becomes free is promised to the one that has
waited for longest (`called`), so that nobody who happens to come at the right moment gets in before it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .queues import Queue


class Host:
    """One host that webhooks point at."""

    __slots__ = ("called", "flying", "name", "users", "waiting")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.flying = 0
        """Attempts in flight at it."""
        self.users = 0
        """Webhooks that point at it."""
        self.called = 0
        """Slots that are promised."""
        self.waiting: deque[Queue] = deque()
        """Webhooks that could begin something, were it not for this host."""


class Hosts:
    """All hosts that webhooks point at. One that no webhook points at any more is forgotten."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._hosts: dict[str, Host] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def move(self, queue: Queue, url: str, turn: deque[Queue]) -> None:
        """Let a webhook point at the host of a URL; empty: at none."""
        name, before = host_of(url), queue.host
        if name == before.name:
            return
        queue.host = self._hosts.setdefault(name, Host(name)) if name else Host()
        queue.host.users += 1
        before.users -= 1
        if queue.called:
            queue.called = False
            before.called -= 1
        elif queue.turning and queue in before.waiting:
            before.waiting.remove(queue)
            queue.turning = False
        self.call(before, turn)
        self._drop_unused(before)

    def landed(self, host: Host, turn: deque[Queue]) -> None:
        """Note that an attempt at a host ended."""
        host.flying -= 1
        if host.waiting:
            self.call(host, turn)
        elif not host.users:
            self._drop_unused(host)

    def admits(self, queue: Queue) -> bool:
        """Return whether a webhook whose turn it is may begin something; if not, it waits until it is called."""
        host = queue.host
        if queue.called:
            queue.called = False
            host.called -= 1
            return True
        if host.waiting or host.flying + host.called >= self._share:
            host.waiting.append(queue)
            return False
        return True

    def call(self, host: Host, turn: deque[Queue]) -> None:
        """Promise free slots to those that wait, and let them take their turn."""
        while host.waiting and host.flying + host.called < self._share:
            queue = host.waiting.popleft()
            queue.called = True
            host.called += 1
            turn.append(queue)

    def _drop_unused(self, host: Host) -> None:
        if not host.users and not host.flying:
            self._hosts.pop(host.name, None)


def host_of(url: str) -> str:
    """Return the host that a URL points at, as the cap counts it: without port, case and final dot.

    What cannot be read as a URL is a host of its own; the sender says what is wrong with it.
    """
    try:
        return (urlsplit(url).hostname or url).rstrip(".")
    except ValueError:
        return url

"""Webhook receivers in memory: the sender's own code, without a kernel between, so that virtual time is exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.connecting.pipes import Pipe
from stationkeeper.transports.webhooks.targets import Target
from stationkeeper.transports.webhooks.wires import Wire, route_of

Script = Callable[[trio.abc.Stream], Awaitable[None]]
ROOM = 65_536
"""Bytes that wait unread before a writer must wait."""


class Way:
    """Bytes in one direction."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.ended = self.gone = False
        self._changed = trio.Event()

    def changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def put(self, data: bytes | memoryview) -> int:
        if self.gone or self.ended:
            raise trio.BrokenResourceError
        taken = data[: ROOM - len(self.waiting)]
        self.waiting += taken
        self.changed()
        return len(taken)

    async def put_all(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            if taken := self.put(rest):
                rest = rest[taken:]
            else:
                await self._changed.wait()

    async def get(self, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self.waiting or self.ended or self.gone):
            await self._changed.wait()
        if self.gone:
            raise trio.BrokenResourceError
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        self.changed()
        return data


class End(trio.abc.Stream):
    """The receiver's end."""

    def __init__(self, inward: Way, outward: Way) -> None:
        self._inward, self._outward = inward, outward

    async def send_all(self, data: Any) -> None:
        await self._outward.put_all(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._inward.get(max_bytes or ROOM)

    async def aclose(self) -> None:
        self._outward.ended = True
        self._inward.gone = True
        self._outward.changed()
        self._inward.changed()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Break the connection off; what is on the way is lost."""
        self._inward.gone = self._outward.gone = True
        self._outward.changed()
        self._inward.changed()


class MemoryPipe(Pipe):
    """The sender's end."""

    def __init__(self) -> None:
        self.outward, self.inward = Way(), Way()
        self.closed = False

    def send_now(self, data: Any) -> memoryview | None:
        taken = self.outward.put(bytes(data))
        return memoryview(bytes(data))[taken:] if taken < len(data) else None

    async def send_rest(self, rest: memoryview | None) -> None:
        if rest is not None:
            await self.outward.put_all(rest)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.inward.get(max_bytes or ROOM)

    def readable(self) -> bool:
        return bool(self.inward.waiting) or self.inward.ended or self.inward.gone

    def close(self) -> None:
        self.closed = True
        self.outward.ended = self.inward.gone = True
        self.outward.changed()
        self.inward.changed()


class Exchange:
    """Who is behind which host. Make a sender with `sender`, which reaches these and nobody else."""

    def __init__(self, nursery: trio.Nursery, scripts: dict[str, Script]) -> None:
        self._nursery = nursery
        self._scripts = scripts
        self.dialled: list[MemoryPipe] = []

    def sender(self, **limits: float) -> WebhookSender:
        sender = WebhookSender(**limits)  # type: ignore[arg-type]
        sender._connector = self  # type: ignore[assignment]
        return sender

    async def connect(self, target: Target, enter: Callable[[str], None], *_: bytes) -> Wire:
        enter("connecting")
        await trio.lowlevel.checkpoint()
        pipe = MemoryPipe()
        self.dialled.append(pipe)
        self._nursery.start_soon(self._serve, self._scripts[target.origin[1]], End(pipe.outward, pipe.inward))
        return Wire(route_of(target.origin, b"", b""), None, pipe)  # type: ignore[arg-type]

    @property
    def open(self) -> int:
        """Connections that the sender has not closed."""
        return sum(not pipe.closed for pipe in self.dialled)

    async def _serve(self, script: Script, end: End) -> None:
        try:
            await script(end)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await end.aclose()

"""Bytes to and from a receiver, at the price of the system calls."""

from __future__ import annotations

import os
import select
from typing import Final

import trio

READ: Final = 16 * 1024
"""Bytes read at once: more than nearly all answers have."""

Data = bytes | bytearray | memoryview


class Pipe(trio.abc.Stream):
    """A connected socket as a stream that is cheap for questions and answers.

    `trio.SocketStream` yields to the loop at each write, and tries each read once before it waits. Here a write that
    the kernel takes at once does not yield, and a read waits first: who asks reads next, and the answer is not there
    yet. So each exchange yields once.
    """

    def __init__(self, raw: trio.SocketStream) -> None:
        self._raw = raw
        self._fd = raw.socket.fileno()
        self._question = select.poll()
        self._question.register(self._fd, select.POLLIN)

    def send_now(self, data: Data) -> memoryview | None:
        """Write what the kernel takes at once; return the rest for `send_rest`, if there is one.

        Raises:
            trio.BrokenResourceError: the receiver is gone.
        """
        return self._write(data)

    async def send_rest(self, rest: memoryview | None) -> None:
        """Write what `send_now` left, however long that takes.

        Raises:
            trio.BrokenResourceError: the receiver is gone.
        """
        while rest:
            await trio.lowlevel.wait_writable(self._fd)
            rest = self._write(rest)

    async def send_all(self, data: Data) -> None:
        await self.send_rest(self.send_now(data))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for what comes next and return it; empty: the receiver has ended its side.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return self._read(max_bytes or READ)
            except BlockingIOError:
                continue

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.wait_writable(self._fd)

    def readable(self) -> bool:
        """Return whether there is something to read, or the receiver is gone."""
        return bool(self._question.poll(0))

    def disturbed(self) -> bool:
        """Return whether the receiver closed the connection, or said something, while it should be idle."""
        return self.readable()

    def close(self) -> None:
        """Close it at once, without waiting for the receiver."""
        self._raw.socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def _read(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            raise
        except OSError as error:
            raise trio.BrokenResourceError from error

    def _write(self, data: Data) -> memoryview | None:
        """Write what the kernel takes at once; return the rest, if there is one."""
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            return memoryview(data)
        except OSError as error:
            raise trio.BrokenResourceError from error
        return memoryview(data)[sent:] if sent < len(data) else None

"""TLS to a receiver, over memory instead of a stream of its own.

`ssl.SSLObject` between two buffers: a request is encrypted and written in one go, and what came in one read is
decrypted in one go. `trio.SSLStream` does the same with locks and checkpoints for uses that we do not have, several
writers and readers at once.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import trio

from ..targets import Trouble
from .pipes import READ, Data, Pipe

IDLE_TALK: Final = 256 * 1024
"""Bytes of TLS in a row that hold no content: tickets, key updates. More are a flood."""
TALK_AT_REST: Final = 64 * 1024
"""Bytes of that between two exchanges; usual are some tickets of 250 bytes."""
_HEADER: Final = 5
"""Bytes before each TLS record: its type, a version, and in the last two its length (RFC 8446, 5.1)."""


async def encrypt(raw: trio.SocketStream, context: ssl.SSLContext, host: str, *, timeout: float = 5.0) -> Encrypted:
    """Do the TLS handshake on a connection, as the client, and return the stream inside. On failure *raw* is closed.

    Args:
        raw: the connection, to the receiver or through a proxy that leads to it.
        context: whom we believe, and how we prove who we are.
        host: the name or address that the receiver's certificate must bear; also told to it (SNI) if it is a name.
        timeout: seconds for the handshake.

    Raises:
        Trouble: it took too long.
        trio.BrokenResourceError: it failed; the cause is the `ssl.SSLError` or the `OSError`.
    """
    secured = Encrypted(raw, context, host)
    done = False
    try:
        with trio.move_on_after(timeout):
            await secured.handshake()
            done = True
    finally:
        if not done:
            secured.close()
    if not done:
        raise Trouble(f"the TLS handshake took more than {timeout:g} s")
    return secured


class Encrypted(Pipe):
    """The stream inside a TLS connection."""

    def __init__(self, raw: trio.SocketStream, context: ssl.SSLContext, host: str) -> None:
        super().__init__(raw)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self) -> None:
        """Agree on keys with the receiver, and be sure that it is the one.

        Raises:
            trio.BrokenResourceError: it failed.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as error:
                with suppress(trio.BrokenResourceError):
                    self._write(self._outgoing.read())  # the alert that tells the receiver why
                raise trio.BrokenResourceError from error
            self._take(await super().receive_some(READ))
        await self._flush()

    def send_now(self, data: Data) -> memoryview | None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        return self._write(self._outgoing.read())

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        talk = 0
        while True:
            if self._incoming.pending or self._incoming.eof or self._tls.pending():
                content = self._decrypt(max_bytes or READ)
                if content is not None:
                    return content
                await self._flush()
            data = await super().receive_some(READ)
            talk += len(data)
            if talk > IDLE_TALK:
                raise Trouble("the receiver sends TLS messages without content, and does not stop")
            self._take(data)

    def disturbed(self) -> bool:
        if not self.readable():
            return bool(self._incoming.pending or self._tls.pending())
        # A ticket for later sessions, or new keys, may come at any time and are not meant for us (RFC 8446, 4.6).
        try:
            said = self._incoming.read()
            while self.readable():
                data = self._read(READ)
                if not data or len(said) > TALK_AT_REST:
                    return True
                said += data
            # The rest of a record would come after the next request, and be read as its answer.
            if self._tls.pending() or not _are_whole(said):
                return True
            self._take(said)
            return self._decrypt(1) is not None or bool(self._outgoing.pending and self._write(self._outgoing.read()))
        except trio.BrokenResourceError:
            return True

    def _decrypt(self, size: int) -> bytes | None:
        """Return content that is there; empty: there will be no more; none: more must be read first."""
        try:
            return self._tls.read(size)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Many servers close without taking leave (RFC 9112, 9.8); what HTTP itself counts cannot be cut short.
            return b""
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error

    def _take(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self.send_rest(self._write(self._outgoing.read()))


def _are_whole(records: bytes) -> bool:
    """Return whether TLS records end where they should: OpenSSL does not tell of a part that it holds."""
    place = 0
    while place + _HEADER <= len(records):
        place += _HEADER + int.from_bytes(records[place + 3 : place + _HEADER], "big")
    return place == len(records)

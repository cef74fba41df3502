"""TLS to a receiver."""

from __future__ import annotations

import ssl

import trio

from .targets import Trouble


async def encrypt(
    raw: trio.SocketStream, context: ssl.SSLContext, host: str, *, timeout: float = 5.0
) -> trio.abc.Stream:
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
    secured = trio.SSLStream(raw, context, server_hostname=host, https_compatible=True)
    done = False
    try:
        with trio.move_on_after(timeout):
            await secured.do_handshake()
            done = True
    finally:
        if not done:
            raw.socket.close()
    if not done:
        raise Trouble(f"the TLS handshake took more than {timeout:g} s")
    return secured

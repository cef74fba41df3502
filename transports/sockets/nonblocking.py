"""A socket that is written and read without waiting: TCP, or TLS on it."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Final

WOULD_BLOCK: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_DISCARDED: Final = 16
"""Reads in a row of what nobody wants: who floods us must not keep the loop."""
_RST_ON_CLOSE: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""SO_LINGER with a time of 0: what is unsent is thrown away, and the peer gets a reset (socket(7))."""


def peek(sock: socket.socket) -> bytes | None:
    """Return a byte that waits, unread, in the socket; None if nothing does; empty if the peer is gone."""
    if sock.fileno() < 0:
        return b""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return b"\0"
    # Nothing does, nearly always, and an exception for that is dearer than a question.
    question = select.poll()
    question.register(sock, select.POLLIN)
    if not question.poll(0):
        return None
    try:
        # The plain socket's recv, also under TLS, which has no peek: bytes of a half record are bytes as well.
        return socket.socket.recv(sock, 1, socket.MSG_PEEK)
    except WOULD_BLOCK:
        return None
    except OSError:
        return b""


def discard(sock: socket.socket) -> bool:
    """Read some of what has come, raw, and throw it away; return whether that was the end."""
    try:
        for _ in range(_DISCARDED):
            if not socket.socket.recv(sock, 16_384):
                return True
    except WOULD_BLOCK:
        return False
    except OSError:
        return True
    return False


def half_close(sock: socket.socket) -> None:
    """Close our side: nothing is written after this."""
    with suppress(OSError, ValueError):
        if isinstance(sock, ssl.SSLSocket):
            sock.unwrap()
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def reset_on_close(sock: socket.socket) -> None:
    """See that closing throws away what is unsent, and tells a peer that still listens by a reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)

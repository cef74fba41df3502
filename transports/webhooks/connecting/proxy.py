"""A proxy on the way to receivers: the only way out of some networks, and a guard of addresses of its own.

A tunnel (CONNECT, RFC 9110, 9.3.6) for https and http alike: what is sent is then the same with a proxy and without,
and connections are kept in the same way. The receiver's name goes to the proxy, which resolves it, so that it is the
proxy that has to guard what the name leads to.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final
from urllib.parse import unquote

import h11
import trio
from attrs import field, frozen

from ..targets import LocalTrouble, Trouble, host_and_port
from .proof import Proof

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of the proxy's answer."""
INTERIM_LIMIT: Final = 8

_URL: Final = re.compile(r"http://(?:([^@/?#\\]*)@)?([^@/?#\\]+)/?", re.IGNORECASE)

_OURS: Final = frozenset({400, 401, 405, 407, 429, 501})
"""What a proxy says of us. The rest it says of the receiver: 403 that it must not be reached, 502 and 504 that it
cannot be; for that squid has 503, too, and tinyproxy 500."""


@frozen
class Proxy:
    """Where a proxy is, and how it knows us."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {f'[{self.host}]' if ':' in self.host else self.host} port {self.port}"


def read_proxy(url: str) -> Proxy:
    """Return the proxy that a URL names: `http://[USER:PASSWORD@]HOST:PORT`.

    Raises:
        ValueError: it names none; the message does not repeat it, since it may hold a password.
    """
    parts = _URL.fullmatch(url) if url.isprintable() and " " not in url else None
    if parts is None:
        raise ValueError("a proxy is given as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
    host, port = host_and_port(parts[2])
    if port is None:
        raise ValueError("a proxy is given with its port: http://HOST:PORT")
    if parts[1] is None:
        return Proxy(host, port)
    user, colon, password = parts[1].partition(":")
    if not user or not colon:
        raise ValueError(
            "a proxy's credentials are given as USER:PASSWORD, percent-encoded: http://USER:PASSWORD@HOST:PORT"
        )
    credentials = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")
    return Proxy(host, port, f"Basic {credentials}")


async def open_tunnel(proxy: Proxy, stream: trio.SocketStream, receiver: str, timeout: float, proof: Proof) -> None:
    """Have a proxy connect to a receiver: what is said on *stream* from then on goes there. On failure it is closed.

    Args:
        proxy: whom we speak to.
        stream: a new connection to it.
        receiver: host and port, the host in brackets if it is an IPv6 address.
        timeout: seconds for all of it.
        proof: the receivers that the proxy led to lately.

    Raises:
        Trouble: the proxy cannot reach the receiver, or must not; or is silent, though it lately led to another one.
        LocalTrouble: it does not let us, or does not answer as a proxy.
    """
    opened = False
    try:
        with trio.move_on_after(timeout):
            await _ask(proxy, stream, receiver)
            opened = True
    except trio.BrokenResourceError:
        raise LocalTrouble(f"{proxy} broke the connection") from None
    except h11.RemoteProtocolError:
        raise LocalTrouble(f"{proxy} does not answer in HTTP") from None
    finally:
        if not opened:
            stream.socket.close()
    if not opened:
        kind = Trouble if proof.another_than(receiver) else LocalTrouble
        raise kind(f"{proxy} did not reach {receiver} within {timeout:g} s")
    proof.served(receiver)


async def _ask(proxy: Proxy, stream: trio.SocketStream, receiver: str) -> None:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    headers = [("host", receiver)]
    if proxy.authorization:
        headers.append(("proxy-authorization", proxy.authorization))
    asked = http.send(h11.Request(method="CONNECT", target=receiver, headers=headers)) or b""
    http.send(h11.EndOfMessage())
    await stream.send_all(asked)
    interim = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(HEAD_LIMIT)))
        elif isinstance(event, h11.InformationalResponse) and interim < INTERIM_LIMIT:
            interim += 1
        elif isinstance(event, h11.Response):
            break
        else:
            raise LocalTrouble(f"{proxy} closed the connection, or does not answer as a proxy")
    if not 200 <= event.status_code < 300:
        kind = LocalTrouble if event.status_code in _OURS else Trouble
        raise kind(f"{proxy} answered {event.status_code} when asked for {receiver}")
    if http.trailing_data[0]:
        raise LocalTrouble(f"{proxy} said more than it was asked for")

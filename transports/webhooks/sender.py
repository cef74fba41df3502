"""Webhooks over HTTP/1.1: one attempt, whatever the receiver does.

A small pool of connections and no client library, because their pools cost more the more connections they hold. A
receiver is a stranger: everything it sends is bounded in bytes and in time, a redirect is not followed, and each of
its misdeeds becomes an `Answer` that says in words what happened.
"""

from __future__ import annotations

import ssl
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Final

import trio

from ...engine.sending import Answer, Attempt
from .answers import ClosedEarly, Reading
from .connecting.connector import Connector, in_words, is_local
from .connecting.pipes import READ
from .connecting.proxy import read_proxy
from .patience import Patience
from .requests import opening, request
from .targets import Target, Trouble, target_of
from .wires import Wire, Wires, route_of

BODY_TIMEOUT: Final = 5.0
"""Seconds for the body once the head has told all that matters."""
ERROR_LIMIT: Final = 300
"""Characters of an error; h11 quotes what it cannot read, all of it."""
OPENINGS: Final = 1024
"""Webhooks whose begin of a request is kept."""


class WebhookSender:
    """Sends webhook messages over HTTP, signed as Standard Webhooks says.

    Args:
        timeout: seconds for a whole attempt, from the name's resolution to the end of the answer. Standard Webhooks
            recommends 15 to 30.
        connect_timeout: seconds of that for one address to accept a connection.
        tls_timeout: seconds for the TLS handshake.
        write_timeout: seconds for the receiver to take the request.
        answer_timeout: seconds from there to the first byte of its answer.
        allow_http: send to `http://` URLs too; their content can be read and changed on the way.
        allow_private_networks: send to loopback, private and other special addresses too.
        ports: those that may be sent to, if not the usual ones (`check_url`).
        proxy: by which receivers are reached, `http://[USER:PASSWORD@]HOST:PORT`; none: directly.
        tls: how receivers prove who they are, if not by the system's authorities.
    """

    def __init__(
        self,
        *,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        tls_timeout: float = 5.0,
        write_timeout: float = 5.0,
        answer_timeout: float = 15.0,
        allow_http: bool = False,
        allow_private_networks: bool = False,
        ports: frozenset[int] | None = None,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout
        self._write_timeout = write_timeout
        self._answer_timeout = answer_timeout
        self._target_of = partial(
            target_of, allow_http=allow_http, allow_private_networks=allow_private_networks, ports=ports
        )
        self._connector = Connector(
            timeout=connect_timeout,
            tls_timeout=tls_timeout,
            allow_private_networks=allow_private_networks,
            tls=tls,
            proxy=read_proxy(proxy) if proxy else None,
        )
        self._wires = Wires()
        self._user_agent = f"Stationkeeper/{version('stationkeeper')}"
        self._opening = lru_cache(maxsize=OPENINGS)(self._open)

    async def send(self, attempt: Attempt) -> Answer:
        """Make one attempt. Whatever the receiver does becomes an answer; only cancellation leaves this."""
        exchange = _Exchange(Patience(self._timeout))
        patience = exchange.patience
        with patience.scope:
            try:
                target, begin = self._opening(attempt.url, attempt.content_type, attempt.headers)
                await self._exchange(target, attempt, request(begin, attempt), exchange)
            except Exception as error:
                exchange.trouble, exchange.local = in_words(error), is_local(error)
        if patience.scope.cancelled_caught:
            exchange.trouble = patience.overdue()
        return exchange.answer(attempt.at)

    def tidy(self) -> None:
        """Close the connections that were idle for too long."""
        self._wires.tidy()

    async def aclose(self) -> None:
        """Close the idle connections. Attempts in flight go on, and theirs are closed when they end."""
        self._wires.close()

    def _open(self, url: str, content_type: str, headers: tuple[tuple[str, str], ...]) -> tuple[Target, bytes]:
        """Return where a webhook's requests go, and how they begin."""
        target = self._target_of(url)
        return target, opening(target, self._user_agent, content_type, headers)

    async def _exchange(self, target: Target, attempt: Attempt, asked: bytes, exchange: _Exchange) -> None:
        wire = self._wires.take(route_of(target.origin, attempt.identity, attempt.authorities))
        if wire is not None:
            try:
                await self._converse(wire, asked, exchange)
                return
            except (trio.BrokenResourceError, ClosedEarly):
                # The receiver closed a connection that had been idle, as it may at any moment (RFC 9112, 9.3.1). It
                # may have read the request: at least once is what we promise, and the id is the same.
                if exchange.reading.heard:
                    raise
        exchange.patience.enter("connecting")
        wire = await self._connector.connect(target, exchange.patience.enter, attempt.identity, attempt.authorities)
        await self._converse(wire, asked, exchange)

    async def _converse(self, wire: Wire, asked: bytes, exchange: _Exchange) -> None:
        """Send a request and read its answer; the wire is kept for the next one, or closed."""
        reusable = False
        try:
            taken = await self._ask(wire, asked, exchange.patience)
            await self._hear(wire, exchange)
            reusable = taken and exchange.reading.reusable
        finally:
            if reusable:
                self._wires.keep(wire)
            else:
                wire.close()

    async def _ask(self, wire: Wire, asked: bytes, patience: Patience) -> bool:
        """Send a request; return whether the receiver took it whole.

        It may answer early and close, say with 413, or answer and read no more: its answer may still be readable.
        """
        patience.enter("sending the request")
        taken = False
        try:
            rest = wire.pipe.send_now(asked)
            if rest is None:
                return True
            with trio.move_on_after(self._write_timeout):
                await wire.pipe.send_rest(rest)
                taken = True
        except trio.BrokenResourceError:
            return False
        if not taken and not wire.pipe.readable():
            raise Trouble(f"sending the request took more than {self._write_timeout:g} s")
        return taken

    async def _hear(self, wire: Wire, exchange: _Exchange) -> None:
        """Read an answer."""
        reading, patience = exchange.reading, exchange.patience
        patience.enter("waiting for the first byte of the answer", self._answer_timeout)
        while True:
            data = await wire.pipe.receive_some(READ)
            known = reading.status is not None
            try:
                reading.take(data)
            finally:
                if not known and reading.status is not None:
                    exchange.latency = trio.current_time() - patience.began
            if reading.whole:
                return
            if reading.status is None:
                patience.enter("reading the head of the answer")
            elif not known:
                patience.enter("reading the answer's body", BODY_TIMEOUT)


class _Exchange:
    """One attempt, as far as it has come."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.reading = Reading()
        self.trouble = ""
        self.local = False
        self.latency: float | None = None

    def answer(self, at: int) -> Answer:
        """Return what came of it: a bad status says more than whatever went wrong after it."""
        reading, error = self.reading, self.trouble
        status = reading.status
        if status is not None and 300 <= status < 400:
            error = (
                f"answered {status}, a redirect to {reading.location[:255]!r}; "
                "give the webhook the URL that it should have"
            )
        elif status is not None and not 200 <= status < 300:
            error = f"answered {status}"
        return Answer(
            status=status,
            error=error[:ERROR_LIMIT],
            latency=trio.current_time() - self.patience.began if self.latency is None else self.latency,
            retry_after=seconds_to_wait(reading.retry_after, at) if reading.retry_after else None,
            local=self.local and status is None,
            excerpt=reading.excerpt,
        )


def seconds_to_wait(retry_after: str, at: int) -> float | None:
    """Return what a Retry-After header asks for (RFC 9110, 10.2.3), in seconds from *at*; none if it cannot be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - at)
    except (ValueError, OverflowError, OSError):
        return None

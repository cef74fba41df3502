"""Webhooks over HTTP/1.1: one attempt, whatever the receiver does.

h11 over trio streams, with a small pool of idle connections; no client library, because their pools cost more the
more connections they hold. A receiver is a stranger: everything it sends is bounded in bytes and in time, a redirect
is not followed, and each of its misdeeds becomes an `Answer` that says in words what happened.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

import h11
import trio

from ...engine.sending import Answer, Attempt
from .connector import Connector, in_words
from .standard_webhooks import signed_headers
from .targets import Target, Trouble, target_of
from .wires import Wire, Wires, route_of

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of an answer's head; receivers behind several proxies stay under 8 KiB."""
BODY_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read at all."""
EXCERPT_LIMIT: Final = 4 * 1024
"""Bytes of it that are kept for people."""
BODY_TIMEOUT: Final = 5.0
"""Seconds for the body once the head has told all that matters."""
ERROR_LIMIT: Final = 300
"""Characters of an error; h11 quotes what it cannot read, all of it."""
INTERIM_LIMIT: Final = 8
"""Interim answers (1xx) before the final one; more are a flood."""
READ: Final = 16 * 1024


class WebhookSender:
    """Sends webhook messages over HTTP, signed as Standard Webhooks says.

    Args:
        timeout: seconds for a whole attempt, from the name's resolution to the end of the answer. Standard Webhooks
            recommends 15 to 30.
        connect_timeout: seconds of that for one address to accept a connection.
        allow_http: send to `http://` URLs too; their content can be read and changed on the way.
        allow_private_networks: send to loopback, private and other special addresses too.
        tls: how receivers prove who they are, if not by the system's authorities.
    """

    def __init__(
        self,
        *,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        allow_http: bool = False,
        allow_private_networks: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout
        self._allow_http = allow_http
        self._connector = Connector(
            timeout=connect_timeout, allow_private_networks=allow_private_networks, tls=tls, head_limit=HEAD_LIMIT
        )
        self._wires = Wires()
        self._user_agent = f"Stationkeeper/{version('stationkeeper')}"

    async def send(self, attempt: Attempt) -> Answer:
        """Make one attempt. Whatever the receiver does becomes an answer; only cancellation leaves this."""
        reply = _Reply()
        with trio.move_on_after(self._timeout) as scope:
            try:
                target = target_of(attempt.url, allow_http=self._allow_http)
                await self._exchange(target, attempt, reply)
            except Exception as error:
                reply.error = reply.error or in_words(error)
        if scope.cancelled_caught:
            reply.error = reply.error or f"{reply.stage} took more than {self._timeout:g} s"
        return reply.answer(attempt.at)

    async def aclose(self) -> None:
        """Close the idle connections. Attempts in flight go on, and theirs are closed when they end."""
        self._wires.close()

    async def _exchange(self, target: Target, attempt: Attempt, reply: _Reply) -> None:
        request = self._request(target, attempt)
        wire = self._wires.take(route_of(target.origin, attempt.identity, attempt.authorities))
        if wire is not None:
            try:
                await self._converse(wire, request, attempt.body, reply)
                return
            except (trio.BrokenResourceError, _ClosedEarly):
                # The receiver closed a connection that had been idle, as it may at any moment (RFC 9112, 9.3.1). It
                # may have read the request: at least once is what we promise, and the id is the same.
                if reply.heard:
                    raise
        reply.stage = "connecting"
        wire = await self._connector.connect(target, reply.enter)
        await self._converse(wire, request, attempt.body, reply)

    async def _converse(self, wire: Wire, request: h11.Request, body: bytes, reply: _Reply) -> None:
        """Send a request and read its answer; the wire is kept for the next one, or closed."""
        reusable = False
        try:
            await self._ask(wire, request, body, reply)
            await self._read_head(wire, reply)
            with trio.move_on_after(BODY_TIMEOUT) as scope:
                await self._read_body(wire, reply)
            if scope.cancelled_caught:
                raise Trouble(f"the answer's body did not end within {BODY_TIMEOUT:g} s")
            reusable = wire.next_cycle()
        finally:
            if reusable:
                self._wires.keep(wire)
            else:
                wire.close()

    async def _ask(self, wire: Wire, request: h11.Request, body: bytes, reply: _Reply) -> None:
        reply.stage = "sending the request"
        content = [wire.http.send(event) or b"" for event in (request, h11.Data(data=body), h11.EndOfMessage())]
        with suppress(trio.BrokenResourceError):
            # A receiver may answer early and close, say with 413; its answer may still be readable.
            await wire.stream.send_all(b"".join(content))

    async def _read_head(self, wire: Wire, reply: _Reply) -> None:
        reply.stage = "waiting for the answer"
        interim = 0
        while True:
            event = wire.http.next_event()
            if event is h11.NEED_DATA:
                data = await wire.stream.receive_some(READ)
                if not data:
                    within = "within the head of its answer" if reply.heard else "without an answer"
                    raise _ClosedEarly(f"the receiver closed the connection {within}")
                if not reply.heard and data[:5] != b"HTTP/"[: len(data)]:
                    raise Trouble(f"its answer is not HTTP, it begins with {bytes(data[:20])!r}")
                reply.heard = True
                wire.http.receive_data(bytes(data))
            elif isinstance(event, h11.InformationalResponse):
                interim += 1
                if interim > INTERIM_LIMIT:
                    raise Trouble(f"more than {INTERIM_LIMIT} interim answers (1xx) and no final one")
            elif isinstance(event, h11.Response):
                reply.take_head(event)
                return

    async def _read_body(self, wire: Wire, reply: _Reply) -> None:
        reply.stage = "reading the answer's body"
        size = 0
        while True:
            event = wire.http.next_event()
            if event is h11.NEED_DATA:
                wire.http.receive_data(bytes(await wire.stream.receive_some(READ)))
            elif isinstance(event, h11.Data):
                size += len(event.data)
                reply.take_body(event.data)
                if size > BODY_LIMIT:
                    raise Trouble(f"the answer's body is longer than {BODY_LIMIT // 1024} KiB; the rest was not read")
            elif isinstance(event, h11.EndOfMessage):
                return

    def _request(self, target: Target, attempt: Attempt) -> h11.Request:
        return h11.Request(
            method="POST",
            target=target.path,
            headers=[
                ("host", target.authority),
                ("user-agent", self._user_agent),
                ("content-type", "application/json"),
                ("content-length", str(len(attempt.body))),
                *signed_headers(attempt.secrets, attempt.message, attempt.at, attempt.body, attempt.keys),
            ],
        )


class _ClosedEarly(Trouble):
    """The receiver closed the connection before a single byte of its answer, or in the middle of its head."""


class _Reply:
    """What has arrived of an answer so far."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.stage = "looking up the receiver"
        self.heard = False
        self.error = ""
        self._status: int | None = None
        self._latency: float | None = None
        self._retry_after = ""
        self._body = bytearray()

    def enter(self, stage: str) -> None:
        self.stage = stage

    def take_head(self, response: h11.Response) -> None:
        self._latency = trio.current_time() - self.began
        self._status = response.status_code
        headers = {bytes(name): bytes(value) for name, value in response.headers}
        self._retry_after = headers.get(b"retry-after", b"").decode("latin-1")
        if 300 <= self._status < 400:
            where = headers.get(b"location", b"").decode("latin-1")[:255]
            self.error = (
                f"answered {self._status}, a redirect to {where!r}; give the webhook the URL that it should have"
            )
        elif not 200 <= self._status < 300:
            self.error = f"answered {self._status}"

    def take_body(self, data: bytes | bytearray) -> None:
        self._body += data[: EXCERPT_LIMIT - len(self._body)]

    def answer(self, at: int) -> Answer:
        return Answer(
            status=self._status,
            error=self.error[:ERROR_LIMIT],
            latency=trio.current_time() - self.began if self._latency is None else self._latency,
            retry_after=seconds_to_wait(self._retry_after, at),
            excerpt=self._body.decode("utf-8", "replace"),
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

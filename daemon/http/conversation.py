"""One HTTP connection: its requests, one after the other, each answered by an ASGI application.

`Conversation` reads requests and writes bytes; `Exchange` is one request and its answer, with the `receive` and `send`
that ASGI names. Rules that the rest depends on:

* A body is read when the application asks for it, so that a stranger is refused before a byte of it is kept.
* `receive()` says `http.disconnect` when the peer has gone, when the answer is complete, *and* when the server stops:
  a stream that watches it ends in order, and a long poll answers with what it has.
* `send()` to a peer that has gone does nothing; only `receive()` tells.
* Upgrades are never granted: the request is answered as if it had not asked (RFC 9110, 7.8).
* What the server itself refuses gets a problem document, and the connection ends behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

import h11
import trio
from attrs import field, frozen, mutable

from .problems import problem

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""What the end of a peer looks like from our side."""

_log: Final = logging.getLogger("stationkeeper.http")
_READ: Final = 64 * 1024
_REASONS: Final = {int(status): status.phrase.encode() for status in HTTPStatus}


@frozen(kw_only=True)
class HttpBounds:
    """What one peer, and all of them together, may cost."""

    head: float = 10.0
    """Seconds from a connection's accept, or from a later head's first byte, to the end of the head."""
    idle: float = 60.0
    """Seconds that a connection is kept between requests; longer than a browser or a poller pauses."""
    body: float = 30.0
    """Seconds for a request's body: 1 MB over a slow phone."""
    write: float = 30.0
    """Seconds that one write may wait for a reader."""
    linger: float = 1.0
    """Seconds in which unread input is discarded, so that a reset does not take our last answer with it."""
    max_head: int = 16 * 1024
    max_body: int = 1024 * 1024
    max_connections: int = 512
    """The next one is answered 503. Dashboards keep one open each."""


class Host(Protocol):
    """The server that a conversation belongs to."""

    app: App
    bounds: HttpBounds
    address: tuple[str, int]
    stopping: bool

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        ...


class Conversation:
    """One connection: its requests, one after the other."""

    def __init__(self, server: Host, stream: trio.SocketStream) -> None:
        self.server = server
        self.bounds = server.bounds
        self.peer: tuple[str, int] | None = None
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=server.bounds.max_head)
        self.gone = False
        self.carries_body = True
        """False while a HEAD request is answered."""
        self._stream = stream
        self._waiting: trio.CancelScope | None = None

    def stop_waiting(self) -> None:
        """Wake this connection if it does nothing but wait for its peer."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self) -> None:
        try:
            self.peer = self._stream.socket.getpeername()[:2]
        except OSError:
            return None
        if self.server.connections > self.bounds.max_connections:
            return await self.refuse(503, "Too many connections; try again in a moment.", retry_after=1)
        limit = self.bounds.head
        while await self._exchange(limit):
            self.h11.start_next_cycle()
            limit = self.bounds.head if self.h11.trailing_data[0] else self.bounds.idle
        return await self._linger()

    async def _exchange(self, limit: float) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await self._next_request(limit)
            if request is None:
                return False
            await Exchange(self, request).run()
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint, f"This is no HTTP request: {error}.")
            return False
        return (
            not self.gone
            and not self.server.stopping
            and self.h11.our_state is h11.DONE
            and self.h11.their_state is h11.DONE
        )

    async def _next_request(self, limit: float) -> h11.Request | None:
        with trio.move_on_after(limit) as self._waiting:
            if self.server.stopping:
                self._waiting.cancel()
            while True:
                event = self.h11.next_event()
                if isinstance(event, h11.Request):
                    # h11 bounds what it waits with; a head that came in one piece is measured here.
                    if _size(event) > self.bounds.max_head:
                        raise h11.RemoteProtocolError("its head is too large", error_status_hint=431)
                    return event
                if event is not h11.NEED_DATA:
                    return None
                begun = bool(self.h11.trailing_data[0])
                await self.read()
                if not begun:
                    # From a head's first byte on its own, shorter deadline counts.
                    head = trio.current_time() + self.bounds.head
                    self._waiting.deadline = min(self._waiting.deadline, head)
        if self.h11.trailing_data[0] and not self.server.stopping:
            await self.refuse(408, "The head of the request took too long.")
        self.gone = True
        return None

    async def read(self) -> None:
        """Read once from the peer, into h11."""
        try:
            data = await self._stream.receive_some(_READ)
        except GONE:
            data = b""
        self.gone = self.gone or not data
        self.h11.receive_data(data)

    async def write(self, data: bytes) -> None:
        """Write to the peer, unless it has gone; a reader that is too slow counts as gone."""
        if self.gone or not data:
            return
        try:
            with trio.fail_after(self.bounds.write):
                await self._stream.send_all(data)
        except GONE:
            self.gone = True
            self.stop_waiting()

    async def until_gone(self) -> None:
        """Wait until the peer has gone, the answer is complete, or the server stops."""
        with trio.CancelScope() as self._waiting:
            while not (self.gone or self.server.stopping):
                if len(self.h11.trailing_data[0]) > self.bounds.max_head:
                    # It sends ahead more than we keep: let the kernel hold it back.
                    await trio.sleep_forever()
                await self.read()

    async def refuse(self, status: int, detail: str, *, retry_after: int | None = None) -> None:
        """Answer with a problem document of the server's own, and no more after it."""
        if self.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = problem(status, detail)
        headers = [("content-type", "application/problem+json"), ("content-length", str(len(body)))]
        if retry_after is not None:
            headers.append(("retry-after", str(retry_after)))
        answer = h11.Response(status_code=status, headers=[*headers, ("date", _date()), ("connection", "close")])
        head = self.h11.send(answer)
        tail = self.h11.send(h11.Data(data=body)) if self.carries_body else b""
        await self.write((head or b"") + (tail or b"") + (self.h11.send(h11.EndOfMessage()) or b""))

    async def _linger(self) -> None:
        if self.gone:
            return
        with trio.move_on_after(self.bounds.linger):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(_READ):
                    pass
            except GONE:
                pass


@mutable(eq=False)
class Exchange:
    """One request and its answer: what ASGI calls `receive` and `send`."""

    conversation: Conversation
    request: h11.Request
    complete: bool = field(init=False, default=False)
    """The answer is, as far as we are concerned."""
    _body_read: bool = field(init=False, default=False)
    _body_length: int = field(init=False, default=0)
    _body_deadline: float = field(init=False, default=0.0)
    _start: Message | None = field(init=False, default=None)
    """The answer's head, held back until its body's first piece."""
    _head_sent: bool = field(init=False, default=False)

    async def run(self) -> None:
        conversation = self.conversation
        conversation.carries_body = self.request.method != b"HEAD"
        self._body_deadline = trio.current_time() + conversation.bounds.body
        length = int(dict(self.request.headers).get(b"content-length", b"0"))
        if length > conversation.bounds.max_body:
            return await self._refuse(413, self._too_large)
        target = _origin_form(self.request.target)
        if target is None:
            return await self._refuse(400, "The request's target must be a path.")
        try:
            await conversation.server.app(self._scope(*target), self.receive, self.send)
        except h11.RemoteProtocolError:
            raise
        except Exception:
            _log.exception("an HTTP request failed by a fault of ours: %s %s", self.request.method.decode(), target[0])
        if not self.complete:
            # A second status line is impossible; a connection that ends short tells the peer.
            await self._refuse(500, "This is a fault of ours, and it was logged.")
        return None

    async def receive(self) -> Message:
        """Return the next piece of the body; after it, wait until there is nobody to answer any more."""
        if self.complete or self.conversation.gone:
            return {"type": "http.disconnect"}
        if not self._body_read:
            return await self._receive_body()
        await self.conversation.until_gone()
        return {"type": "http.disconnect"}

    async def _receive_body(self) -> Message:
        conversation = self.conversation
        event: object = None
        with trio.move_on_at(self._body_deadline) as in_time:
            while (event := conversation.h11.next_event()) is h11.NEED_DATA:
                if conversation.h11.they_are_waiting_for_100_continue:
                    await conversation.write(
                        conversation.h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                await conversation.read()
        if in_time.cancelled_caught:
            await self._refuse(408, "The body of the request took too long.")
        elif isinstance(event, h11.Data):
            self._body_length += len(event.data)
            if self._body_length <= conversation.bounds.max_body:
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            await self._refuse(413, self._too_large)
        elif isinstance(event, h11.EndOfMessage):
            self._body_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take the answer's next part."""
        if self.complete or self.conversation.gone:
            # An application that goes on sending to nobody must still let others run, and be cancellable.
            return await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            more = bool(message.get("more_body")) and self.conversation.carries_body
            data = bytes(message.get("body", b""))
            machine = self.conversation.h11
            out = b"" if self._head_sent else machine.send(self._head()) or b""
            self._head_sent = True
            if data and self.conversation.carries_body:
                out += machine.send(h11.Data(data=data)) or b""
            if not more:
                out += machine.send(h11.EndOfMessage()) or b""
                self.complete = True
            await self.conversation.write(out)
            if self.complete:
                self.conversation.stop_waiting()
        return None

    def _head(self) -> h11.Response:
        if self._start is None:
            raise RuntimeError("the application sent a body before http.response.start")
        headers = [*self._start.get("headers", ()), (b"date", _date().encode())]
        if not self._skip_body() or self.conversation.server.stopping:
            headers.append((b"connection", b"close"))
        status = self._start["status"]
        return h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))

    def _skip_body(self) -> bool:
        """Pass over what is here of a body that nobody read; return whether the next request can follow."""
        machine = self.conversation.h11
        while machine.their_state is h11.SEND_BODY:
            if machine.next_event() is h11.NEED_DATA:
                return False
        self._body_read = True
        return machine.their_state is not h11.ERROR

    async def _refuse(self, status: int, detail: str) -> None:
        self.complete = True
        await self.conversation.refuse(status, detail)

    @property
    def _too_large(self) -> str:
        return f"A request's body may have {self.conversation.bounds.max_body} bytes."

    def _scope(self, path: bytes, query: bytes) -> Message:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.request.http_version.decode("ascii"),
            "method": self.request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self.request.headers),
            "client": self.conversation.peer,
            "server": self.conversation.server.address,
        }


def _origin_form(target: bytes) -> tuple[bytes, bytes] | None:
    """Return a request target's path and query; none if it is no path (RFC 9112, 3.2)."""
    if not target.startswith(b"/"):
        _, scheme, rest = target.partition(b"://")
        if not scheme:
            return None
        target = b"/" + rest.partition(b"/")[2]
    path, _, query = target.partition(b"?")
    return path, query.partition(b"#")[0]


def _size(request: h11.Request) -> int:
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def _date() -> str:
    return formatdate(usegmt=True)

"""A narrow HTTP/1.1 server: one ASGI application on h11, over trio.

Theory of operation. One task accepts; each connection has a task of its own (`conversation`). Every wait for a peer
has a deadline, every buffer a bound, and nothing that a peer or the application does leaves the connection's task: the
server ends only when it is told to stop, or cancelled.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from ...engine.errors import WrongSetting
from ..configuration.units import parse_address
from .conversation import GONE, Conversation
from .conversation import App as App
from .conversation import HttpBounds as HttpBounds
from .conversation import Message as Message
from .conversation import Receive as Receive
from .conversation import Send as Send

_log: Final = logging.getLogger("stationkeeper.http")


async def serve_http(
    app: App,
    listen: str,
    *,
    bounds: HttpBounds | None = None,
    task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application on *listen* (`HOST:PORT`; port 0 picks one) until stopped or cancelled.

    Start it with `server = await nursery.start(serve_http, app, listen)`; then `server.url` is its address and
    `server.stop()` ends it in order. No exception of a peer's or of the application's making leaves it.

    Raises:
        WrongSetting: the address cannot be used.
    """
    listeners = await _bind(listen)
    server = HttpServer(app, listeners, bounds or HttpBounds())
    try:
        await server.run(task_status)
    finally:
        server.ended.set()
        for listener in listeners:
            listener.socket.close()


class HttpServer:
    """A server that is listening."""

    def __init__(self, app: App, listeners: list[trio.SocketListener], bounds: HttpBounds) -> None:
        self.app = app
        self.bounds = bounds
        self.address: tuple[str, int] = listeners[0].socket.getsockname()[:2]
        self.stopping = False
        self.ended = trio.Event()
        """Set when the last request has been answered, or cut off, after `stop`."""
        self._listeners = listeners
        self._conversations: set[Conversation] = set()
        self._accepting = trio.CancelScope()
        self._answering = trio.CancelScope()

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:8080`."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return len(self._conversations)

    def stop(self, within: float = 5.0) -> None:
        """Take no more requests; let those in flight end *within* so many seconds; end open streams now.

        It returns at once; `ended` tells when that is done.
        """
        self.stopping = True
        self._answering.deadline = min(self._answering.deadline, trio.current_time() + within)
        self._accepting.cancel()
        for conversation in self._conversations:
            conversation.stop_waiting()

    async def run(self, task_status: trio.TaskStatus[HttpServer]) -> None:
        """Accept and answer until stopped; `serve_http` calls this."""
        with self._answering:
            async with trio.open_nursery() as talking:
                with self._accepting:
                    async with trio.open_nursery() as accepting:
                        for listener in self._listeners:
                            accepting.start_soon(self._accept, listener, talking)
                        task_status.started(self)
                for listener in self._listeners:
                    listener.socket.close()

    async def _accept(self, listener: trio.SocketListener, talking: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                # Out of file descriptors or memory: peers wait in the kernel's queue until some come free.
                _log.warning("cannot accept an HTTP connection for now: %s", error)
                await trio.sleep(0.1)
                continue
            talking.start_soon(self._talk, stream)

    async def _talk(self, stream: trio.SocketStream) -> None:
        conversation = Conversation(self, stream)
        self._conversations.add(conversation)
        try:
            await conversation.run()
        except* GONE:
            pass
        except* Exception:
            _log.exception("an HTTP connection ended by a fault of ours")
        finally:
            self._conversations.discard(conversation)
            stream.socket.close()


async def _bind(listen: str) -> list[trio.SocketListener]:
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise WrongSetting(f"[http] listen = {listen!r} cannot be used; write {error}") from None
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise WrongSetting(
            f"[http] listen = {listen!r} cannot be used: {error.strerror or error}; "
            "choose another address, or port 0 for any free one"
        ) from error
    if address.port == 0:
        # A name with several addresses would get another port on each.
        for extra in listeners[1:]:
            extra.socket.close()
        del listeners[1:]
    return listeners

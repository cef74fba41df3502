"""A station's end of a connection, against trio-websocket's server."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from stationkeeper.daemon.simulation.line import Caller, Hangup, Line, Refusal, dial

Handler = Callable[[WebSocketRequest], Awaitable[None]]
Serve = Callable[[Handler], Awaitable[str]]
Accepted = Callable[[str, Caller], Awaitable[Line]]


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    async def start(handler: Handler) -> str:
        server = await nursery.start(
            lambda task_status: serve_websocket(handler, "127.0.0.1", 0, ssl_context=None, task_status=task_status)
        )
        return f"ws://127.0.0.1:{server.port}/ocpp"

    return start


@pytest.fixture
async def accepted() -> AsyncIterator[Accepted]:
    """Dial in, and be let in; at the end of the test all sockets are closed."""
    async with AsyncExitStack() as lines:

        async def call(url: str, caller: Caller) -> Line:
            line = await dial(url, caller)
            assert isinstance(line, Line)
            lines.push_async_callback(line.cut)
            return line

        yield call


def soon() -> float:
    return trio.current_time() + 10


async def test_the_identity_is_percent_encoded_and_the_password_raw_bytes(serve: Serve, accepted: Accepted) -> None:
    seen: list[object] = []

    async def handler(request: WebSocketRequest) -> None:
        seen.extend([request.path, dict(request.headers)[b"authorization"], list(request.proposed_subprotocols)])
        await request.accept(subprotocol="ocpp1.6")

    url = await serve(handler)
    # The example of OCPP-J 1.6, 6.2.2.
    key = bytes.fromhex("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF")
    await accepted(url, Caller(station="AL1000", password=key))
    line = await accepted(url, Caller(station="RDAM|123", password=b"x", subprotocols=("ocpp2.1", "ocpp1.6")))

    assert seen[:2] == ["/ocpp/AL1000", b"Basic QUwxMDAwOgABAgMEBQYH////////////////"]
    assert (seen[3], seen[5]) == ("/ocpp/RDAM%7C123", ["ocpp2.1", "ocpp1.6"])
    assert line.subprotocol == "ocpp1.6"


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_refusal_bears_the_status(serve: Serve, status: int) -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(status, body=b"no")

    assert await dial(await serve(handler), Caller(station="CP-1")) == Refusal(status=status)


async def test_a_gateway_that_is_not_there_is_a_refusal_without_a_status() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    answer = await dial(f"ws://127.0.0.1:{port}/ocpp", Caller(station="CP-1"))

    assert isinstance(answer, Refusal)
    assert answer.status is None


async def test_a_gateway_that_says_nothing_is_given_up(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def say_nothing(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    nursery.start_soon(trio.serve_listeners, say_nothing, listeners)
    port = listeners[0].socket.getsockname()[1]

    answer = await dial(f"ws://127.0.0.1:{port}/ocpp", Caller(station="CP-1"), patience=0.05)

    assert answer == Refusal(status=None, reason="no answer within 0.05 s")


async def test_messages_come_whole_and_pings_are_answered_in_passing(serve: Serve, accepted: Accepted) -> None:
    ponged = trio.Event()

    async def handler(request: WebSocketRequest) -> None:
        ws = await request.accept(subprotocol="ocpp1.6")
        await ws.ping(b"alive?")
        ponged.set()
        await ws.send_message(await ws.get_message())

    line = await accepted(await serve(handler), Caller(station="CP-1"))
    await line.trickle("é" * 500, pieces=7, pause=0.001)

    assert await line.receive(deadline=soon()) == "é" * 500
    assert ponged.is_set()
    assert line.pings == 1


async def test_a_silent_line_answers_no_ping(serve: Serve, accepted: Accepted) -> None:
    pinged: list[str] = []

    async def handler(request: WebSocketRequest) -> None:
        ws = await request.accept(subprotocol="ocpp1.6")
        with trio.move_on_after(0.1) as patience:
            await ws.ping(b"alive?")
        pinged.append("timed out" if patience.cancelled_caught else "answered")
        await ws.aclose(1001, "newer")

    line = await accepted(await serve(handler), Caller(station="CP-1"))

    assert await line.receive(deadline=soon(), answer=False) == Hangup(side="gateway", code=1001, reason="newer")
    assert pinged == ["timed out"]


async def test_nothing_within_the_deadline_is_none_and_loses_nothing(serve: Serve, accepted: Accepted) -> None:
    go = trio.Event()

    async def handler(request: WebSocketRequest) -> None:
        ws = await request.accept(subprotocol="ocpp1.6")
        await go.wait()
        await ws.send_message("late")
        await ws.aclose()

    line = await accepted(await serve(handler), Caller(station="CP-1"))

    assert await line.receive(deadline=trio.current_time()) is None
    go.set()
    assert await line.receive(deadline=soon()) == "late"
    assert await line.receive(deadline=soon()) == Hangup(side="gateway", code=1000)


@pytest.mark.parametrize(("way", "code"), [("hang_up", 1000), ("cut", 1006), ("reset", 1006)])
async def test_a_line_ends_in_order_or_without_a_word(serve: Serve, accepted: Accepted, way: str, code: int) -> None:
    reasons: list[object] = []
    over = trio.Event()

    async def handler(request: WebSocketRequest) -> None:
        ws: WebSocketConnection = await request.accept(subprotocol="ocpp1.6")
        try:
            await ws.get_message()
        except ConnectionClosed as closed:
            reasons.append(closed.reason)
        over.set()

    line = await accepted(await serve(handler), Caller(station="CP-1"))
    await getattr(line, way)()
    with trio.fail_after(10):
        await over.wait()

    assert [getattr(reason, "code", None) for reason in reasons] == [code]


async def test_nothing_is_said_on_a_line_that_the_gateway_closed_at_once(serve: Serve, accepted: Accepted) -> None:
    async def handler(request: WebSocketRequest) -> None:
        ws = await request.accept()
        await ws.aclose(1002)

    line = await accepted(await serve(handler), Caller(station="CP-1", subprotocols=()))
    assert await line.receive(deadline=soon()) == Hangup(side="gateway", code=1002)
    await line.send("late")
    await line.trickle("late", pieces=3, pause=0)
    await line.hang_up()

    assert await line.receive(deadline=soon()) == Hangup(side="gateway", code=1002)


async def test_a_wss_gateway_is_believed_only_if_its_certificate_is(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def handler(request: WebSocketRequest) -> None:
        ws = await request.accept(subprotocol="ocpp1.6")
        await ws.send_message("over TLS")

    server = await nursery.start(
        lambda task_status: serve_websocket(handler, "127.0.0.1", 0, ssl_context=server_side, task_status=task_status)
    )
    url, caller = f"wss://127.0.0.1:{server.port}/ocpp", Caller(station="CP-1")
    refusal, line = await dial(url, caller), await dial(url, caller, trust=trusting)

    assert isinstance(refusal, Refusal)
    assert "CERTIFICATE_VERIFY_FAILED" in refusal.reason
    assert isinstance(line, Line)
    assert await line.receive(deadline=soon()) == "over TLS"
    await line.reset()

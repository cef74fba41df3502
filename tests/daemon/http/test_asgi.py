"""The HTTP server: what it answers, and that no peer and no application can harm it."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trio.testing
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stationkeeper.daemon.http.asgi import App, HttpBounds, HttpServer, Message, Receive, Send, serve_http
from stationkeeper.engine.errors import WrongSetting

QUICK = HttpBounds(head=0.2, idle=0.3, body=0.2, write=0.2, linger=0.2)
ASK = b"GET /x HTTP/1.1\r\nHost: t\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the method, the raw path and the length of the body."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    text = f"{scope['method']} {scope['raw_path'].decode()} {length}".encode()
    await answer(send, text)


async def answer(send: Send, text: bytes) -> None:
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def serving(app: App = echo, bounds: HttpBounds | None = None) -> AsyncIterator[HttpServer]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: serve_http(app, "127.0.0.1:0", bounds=bounds, task_status=task_status)
        )
        with trio.fail_after(30):
            yield server
        server.stop(0)


async def dial(server: HttpServer, data: bytes = b"") -> trio.SocketStream:
    stream = await trio.open_tcp_stream(*server.address)
    if data:
        await stream.send_all(data)
    return stream


async def all_of(stream: trio.SocketStream) -> bytes:
    """Return everything that the server still says, up to its end."""
    data = b""
    try:
        async with stream:
            async for piece in stream:
                data += piece
    except trio.BrokenResourceError:
        pass
    return data


async def said(server: HttpServer, data: bytes) -> bytes:
    """Return the server's whole answer to some bytes."""
    return await all_of(await dial(server, data))


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with serving() as server:
        both = await said(server, b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" + LAST)

    assert both.index(b"POST /a 3") < both.index(b"GET /x 0")


async def test_head_is_answered_without_a_body() -> None:
    async with serving() as server:
        both = await said(server, b"HEAD /h HTTP/1.1\r\nHost: t\r\n\r\n" + LAST)

    assert both.count(b"HTTP/1.1 200") == 2
    assert b"HEAD /h" not in both
    assert b"content-length: 9" in both.lower()


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    async with serving() as server:
        stream = await dial(server, b"PUT /p HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")

        await stream.send_all(b"ok")
        await stream.send_eof()
        assert (await all_of(stream)).endswith(b"PUT /p 2")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTT", b"408"),
        (b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc", b"408"),
    ],
)
async def test_a_bad_request_gets_a_problem_document_and_the_end(head: bytes, status: bytes) -> None:
    async with serving(bounds=QUICK) as server:
        text = await said(server, head)

    assert text.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in text
    assert b"connection: close" in text.lower()


async def test_a_later_head_that_has_begun_must_end_soon() -> None:
    async with serving(bounds=HttpBounds(head=0.2, idle=1000)) as server:
        text = await said(server, ASK + b"GET / HT")

    assert b"HTTP/1.1 200" in text
    assert b"HTTP/1.1 408" in text


async def test_a_peer_that_sends_far_ahead_is_held_back() -> None:
    async with serving(stream_until_gone) as server, await dial(server, ASK) as stream:
        with trio.move_on_after(0.5) as held_back:
            await stream.send_all(b"x" * 64 * 1024 * 1024)

    assert held_back.cancelled_caught


async def test_a_chunked_body_beyond_the_bound_is_refused() -> None:
    async with serving(bounds=HttpBounds(max_body=10)) as server:
        text = await said(
            server, b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + b"6\r\nabcdef\r\n" * 2
        )

    assert text.startswith(b"HTTP/1.1 413")
    assert text.count(b"HTTP/1.1") == 1


async def test_an_answer_that_ignores_the_body_ends_the_connection_but_arrives() -> None:
    async def refuses(scope: Message, receive: Receive, send: Send) -> None:
        await answer(send, b"no")

    async with serving(refuses) as server:
        text = await said(server, b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)

    assert text.endswith(b"no")
    assert b"connection: close" in text.lower()


async def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for() -> None:
    ask = b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x85garbage"
    async with serving(bounds=QUICK) as server:
        text = await said(server, ask)
        assert b"GET /ws 0" in text

        assert (await said(server, LAST)).endswith(b"GET /x 0")


async def test_an_application_that_fails_costs_one_answer() -> None:
    async def fails(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if scope["path"] != "/quiet":
            raise ExceptionGroup("two", [ValueError("secret"), KeyError("other")])

    async with serving(fails, QUICK) as server:
        first = await said(server, b"GET /early HTTP/1.1\r\nHost: t\r\n\r\n")
        late = await said(server, b"GET /late HTTP/1.1\r\nHost: t\r\n\r\n")
        quiet = await said(server, b"GET /quiet HTTP/1.1\r\nHost: t\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 500")
    assert b"secret" not in first
    assert late.endswith(b"4\r\nhalf\r\n")
    assert quiet.startswith(b"HTTP/1.1 500")


async def stream_until_gone(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b"bye"})


async def test_a_stream_learns_that_its_reader_went() -> None:
    ended = trio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await stream_until_gone(scope, receive, send)
        ended.set()

    async with serving(app) as server:
        stream = await dial(server, ASK)
        assert b"hello" in await stream.receive_some()
        await stream.aclose()

        await ended.wait()


async def test_stop_ends_streams_in_order_and_lets_answers_finish() -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            return await stream_until_gone(scope, receive, send)
        begun.set()
        await go_on.wait()
        return await answer(send, b"done")

    async with serving(app) as server:
        idle = await dial(server)
        stream = await dial(server, ASK.replace(b"/x", b"/stream"))
        busy = await dial(server, ASK)
        await begun.wait()
        assert b"hello" in await stream.receive_some()

        server.stop(5)
        assert (await all_of(stream)).endswith(b"3\r\nbye\r\n0\r\n\r\n")
        assert await all_of(idle) == b""
        go_on.set()
        assert (await all_of(busy)).endswith(b"done")
        with pytest.raises(OSError, match="all attempts"):
            await dial(server)


async def test_a_request_that_begins_to_wait_while_the_server_stops_is_told_so() -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        await go_on.wait()
        await answer(send, (await receive())["type"].encode())

    async with serving(app) as server:
        stream = await dial(server, ASK)
        await begun.wait()
        server.stop(5)
        go_on.set()
        assert (await all_of(stream)).endswith(b"http.disconnect")


async def test_stop_cuts_short_what_does_not_end() -> None:
    async def stuck(scope: Message, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with serving(stuck) as server:
        stream = await dial(server, ASK)
        await trio.testing.wait_all_tasks_blocked(0.05)
        server.stop(0.1)
        assert await all_of(stream) == b""


async def test_one_connection_too_many_is_told_so() -> None:
    async with serving(bounds=HttpBounds(max_connections=1)) as server:
        first = await dial(server, ASK)
        await first.receive_some()
        assert (await all_of(await dial(server))).startswith(b"HTTP/1.1 503")

        await first.send_all(LAST)
        assert (await all_of(first)).endswith(b"GET /x 0")


async def test_a_reader_that_does_not_read_is_given_up() -> None:
    ended = trio.Event()

    async def floods(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await receive()
                assert (await receive())["type"] == "http.disconnect"
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            while not nursery.cancel_scope.cancel_called:
                await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        ended.set()

    async with serving(floods, QUICK) as server, await dial(server, ASK):
        await ended.wait()


@contextmanager
def no_file_descriptors() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_running_out_of_file_descriptors_costs_peers_time_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as server:
        clients = [trio.socket.socket() for _ in range(3)]
        with no_file_descriptors():
            for client in clients:
                await client.connect(server.address)
            while not caplog.records:
                await trio.testing.wait_all_tasks_blocked(0.01)

        for client in clients:
            with client:
                await client.send(LAST)
                assert b"GET /x 0" in await client.recv(1000)

    assert "cannot accept" in caplog.text


async def test_the_head_of_an_endless_stream_can_be_asked_for() -> None:
    async with serving(stream_until_gone) as server:
        text = await said(server, ASK.replace(b"GET", b"HEAD") + LAST.replace(b"GET", b"HEAD"))

    assert text.count(b"HTTP/1.1 200") == 2
    assert b"hello" not in text


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "203.0.113.7:80"])
async def test_an_address_that_cannot_be_used_is_named(listen: str) -> None:
    with pytest.raises(WrongSetting, match=listen):
        await serve_http(echo, listen)


PIECES = st.lists(
    st.sampled_from(
        [
            ASK,
            b"POST /b HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
            b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
            b"Expect: 100-continue\r\n",
            b"\r\n\r\n",
            b"OPTIONS * HTTP/1.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"Content-Length: -1\r\n",
        ]
    )
    | st.binary(max_size=60),
    max_size=6,
)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(peers=st.lists(st.tuples(PIECES, st.booleans()), min_size=1, max_size=8))
def test_no_bytes_of_a_peer_harm_the_server(peers: list[tuple[list[bytes], bool]]) -> None:
    async def abuse(server: HttpServer, data: bytes, abrupt: bool) -> None:
        stream = await dial(server)
        try:
            await stream.send_all(data)
            if not abrupt:
                await stream.send_eof()
                await all_of(stream)
        except trio.BrokenResourceError:
            pass
        await stream.aclose()

    async def main() -> None:
        async with serving(bounds=QUICK) as server:
            before = open_files()
            async with trio.open_nursery() as nursery:
                for pieces, abrupt in peers:
                    nursery.start_soon(abuse, server, b"".join(pieces), abrupt)
            assert (await said(server, LAST)).endswith(b"GET /x 0")
            with trio.fail_after(5):
                while server.connections:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            assert open_files() <= before

    trio.run(main)

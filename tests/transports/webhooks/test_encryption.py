"""TLS to receivers that are of two versions, hand out tickets, stall, break off, or only talk of keys."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing, suppress

import pytest
import trio
import trustme
from receiving import OK, Request, Script, answering, attempt_at, read_request, receiving
from trio.testing import MockClock

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.connecting.encryption import Encrypted, encrypt
from stationkeeper.transports.webhooks.connecting.identities import Contexts

BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = context.maximum_version = version
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def trusting(authority: trustme.CA) -> WebhookSender:
    return WebhookSender(allow_private_networks=True, tls=client_side(authority))


@asynccontextmanager
async def connected(
    authority: trustme.CA, context: ssl.SSLContext
) -> AsyncIterator[tuple[Encrypted, trio.SSLStream[trio.SocketStream]]]:
    """Yield both ends of a connection after the handshake."""
    left, right = socket.socketpair()
    ends = [trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in (left, right)]
    server = trio.SSLStream(ends[1], context, server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        client = await encrypt(ends[0], client_side(authority), "127.0.0.1")
    try:
        yield client, server
    finally:
        client.close()
        await trio.aclose_forcefully(server)


# --- what is usual ---------------------------------------------------------------------------------------------------


@BOTH
async def test_each_version_is_spoken_and_kept_alive(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    requests: list[Request] = []
    script = answering(OK, requests)
    async with receiving(script, server_side(authority, version)) as receiver, aclosing(trusting(authority)) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in range(3)]

    assert [(answer.status, answer.error, answer.excerpt) for answer in answers] == [(200, "", "ok")] * 3
    assert receiver.connections == 1
    assert len(requests) == 3


@BOTH
async def test_large_messages_go_both_ways(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    size = 3_000_000
    async with (
        connected(authority, server_side(authority, version)) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.send_all, b"x" * size)
        came = 0
        while came < size:
            came += len(await server.receive_some(65536))
        nursery.start_soon(server.send_all, b"y" * size)
        while came < 2 * size:
            came += len(await client.receive_some(16384))
    assert came == 2 * size


class Idle:
    """Both ends of a connection that is at rest, where the receiver's bytes can be sent piece by piece."""

    def __init__(self, client: Encrypted, raw: trio.SocketStream, server: ssl.SSLObject, said: ssl.MemoryBIO) -> None:
        self.client, self.raw, self.server, self._said = client, raw, server, said

    def record(self, content: bytes) -> bytes:
        self.server.write(content)
        return self._said.read()


@asynccontextmanager
async def at_rest(authority: trustme.CA, tickets: int) -> AsyncIterator[Idle]:
    """Yield a connection after the handshake, with so many tickets on their way."""
    context = server_side(authority)
    context.num_tickets = tickets
    left, right = [trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair()]
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)

    async def shake_hands() -> None:
        for _ in range(2):
            incoming.write(await right.receive_some(65536))
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
            await right.send_all(outgoing.read())  # trio's own stream would keep the tickets back

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake_hands)
        client = await encrypt(left, client_side(authority), "127.0.0.1")
    with closing(client):
        async with right:
            yield Idle(client, right, server, outgoing)


async def test_tickets_are_nothing_that_was_said_unasked(authority: trustme.CA) -> None:
    async with at_rest(authority, 4) as idle:
        assert idle.client.readable(), "the tickets are there"
        assert not idle.client.disturbed()
        assert not idle.client.readable(), "and they were taken"
        await idle.raw.send_all(idle.record(b"HTTP/1.1 408 Too Slow\r\n\r\n"))
        assert idle.client.disturbed()


@pytest.mark.parametrize("length", [1, 4, 5, 20, -1])
@pytest.mark.parametrize("tickets", [0, 2])
async def test_a_part_of_something_is_a_disturbance(authority: trustme.CA, tickets: int, length: int) -> None:
    """The rest would come after the next request, and would be taken for its answer."""
    async with at_rest(authority, tickets) as idle:
        await idle.raw.send_all(idle.record(OK)[:length])
        assert idle.client.disturbed()


async def test_so_is_the_part_that_came_with_the_last_answer(authority: trustme.CA) -> None:
    async with at_rest(authority, 0) as idle:
        first, second = idle.record(OK), idle.record(b"HTTP/1.1 500 Injected\r\n\r\n")
        await idle.raw.send_all(first + second[:20])
        assert await idle.client.receive_some() == OK
        assert idle.client.disturbed()


async def test_what_comes_behind_many_tickets_is_seen(authority: trustme.CA) -> None:
    async with at_rest(authority, 100) as idle:
        await idle.raw.send_all(idle.record(OK))
        assert idle.client.disturbed()


async def test_many_tickets_are_all_taken(authority: trustme.CA) -> None:
    async with at_rest(authority, 100) as idle:
        assert not idle.client.disturbed()
        assert not idle.client.readable()


async def test_more_tickets_than_anybody_needs_are_a_disturbance(authority: trustme.CA) -> None:
    async with at_rest(authority, 500) as idle:
        assert idle.client.disturbed()


async def test_an_end_is_a_disturbance(authority: trustme.CA) -> None:
    async with connected(authority, server_side(authority)) as (client, server):
        assert not client.disturbed()
        await trio.aclose_forcefully(server)
        assert client.disturbed()


async def test_a_ticket_from_one_connection_harms_no_other(authority: trustme.CA) -> None:
    close = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    script = answering(close, then_close=True)
    async with receiving(script, server_side(authority)) as receiver, aclosing(trusting(authority)) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in range(3)]

    assert [(answer.status, answer.error) for answer in answers] == [(200, "")] * 3
    assert receiver.connections == 3


# --- what is not -----------------------------------------------------------------------------------------------------


async def test_tickets_without_end_are_a_flood(authority: trustme.CA) -> None:
    context = server_side(authority)
    context.num_tickets = 5_000
    async with receiving(answering(OK), context) as receiver, aclosing(trusting(authority)) as sending:
        answer = await sending.send(attempt_at(receiver.url))

    assert answer.error == "the receiver sends TLS messages without content, and does not stop"


async def test_no_receiver_may_ask_for_one_handshake_after_the_other() -> None:
    context = await Contexts().get(b"", b"", (b"", b""))

    assert context.options & ssl.OP_NO_RENEGOTIATION


async def test_what_is_no_tls_after_the_handshake_is_an_answer_in_words(authority: trustme.CA) -> None:
    async def forget_tls(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        assert isinstance(stream, trio.SSLStream)
        await stream.transport_stream.send_all(OK)
        await stream.receive_some(1)

    async with receiving(forget_tls, server_side(authority)) as receiver, aclosing(trusting(authority)) as sending:
        answer = await sending.send(attempt_at(receiver.url))

    assert answer.error.startswith("TLS failed: ")


def so_far(context: ssl.SSLContext, budget: int, *, stay: bool) -> Script:
    """Return a script that does a handshake and answers, but writes only so many bytes in all."""

    async def script(stream: trio.abc.Stream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        left, shaken, asked = budget, False, b""
        while True:
            try:
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                asked += tls.read(65536)
                if b"\r\n\r\n" in asked:
                    tls.write(OK)
            except ssl.SSLWantReadError:
                pass
            said = outgoing.read()[:left]
            left -= len(said)
            await stream.send_all(said)
            if not left:
                break
            incoming.write(await stream.receive_some(65536))
        if stay:
            await trio.sleep_forever()

    return script


async def said_in_all(authority: trustme.CA, context: ssl.SSLContext) -> int:
    """Return about how many bytes a receiver sends from its first to the end of its answer."""
    sent = 0

    async def counted(stream: trio.abc.Stream) -> None:
        nonlocal sent
        low, high = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(low, high, server_side=True)
        answered = shaken = False
        while not answered:
            low.write(await stream.receive_some(65536))
            try:
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                tls.read(65536)
                tls.write(OK)
                answered = True
            except ssl.SSLWantReadError:
                pass
            data = high.read()
            sent += len(data)
            await stream.send_all(data)

    async with receiving(counted) as receiver, aclosing(trusting(authority)) as sending:
        await sending.send(attempt_at(receiver.url.replace("http:", "https:")))
    return sent


@BOTH
async def test_a_receiver_may_break_off_at_any_byte(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    context = server_side(authority, version)
    whole = await said_in_all(authority, context)
    for budget in [*range(0, whole - 60, 97), *range(whole - 60, whole - 1, 7)]:
        script = so_far(context, budget, stay=False)
        async with receiving(script) as receiver, aclosing(trusting(authority)) as sending:
            answer = await sending.send(attempt_at(receiver.url.replace("http:", "https:")))
            await receiver.until_open(0)
        assert answer.status is None
        assert "Error:" not in answer.error, "each is told in words of ours"


@BOTH
async def test_a_receiver_that_stalls_is_given_up(
    authority: trustme.CA, version: ssl.TLSVersion, patient_clock: MockClock
) -> None:
    context = server_side(authority, version)
    whole = await said_in_all(authority, context)
    for budget, error in [
        (0, "the TLS handshake took more than 2 s"),
        (100, "the TLS handshake took more than 2 s"),
        (whole - 10, "waiting for the first byte of the answer took more than 3 s"),
    ]:
        sender = WebhookSender(
            allow_private_networks=True, tls=client_side(authority), tls_timeout=2.0, answer_timeout=3.0
        )
        script = so_far(context, budget, stay=True)
        async with receiving(script) as receiver, aclosing(sender) as sending:
            answer = await sending.send(attempt_at(receiver.url.replace("http:", "https:")))
        assert answer.error == error

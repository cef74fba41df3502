"""The webhook sender's connections: kept alive, lost, bounded, and secured."""

from __future__ import annotations

import ssl
from contextlib import aclosing

import pytest
import trio
import trustme
from receiving import (
    OK,
    Request,
    answering,
    attempt_at,
    close_after_request,
    hang,
    read_request,
    receiving,
    sender,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.wires import IDLE_PER_ROUTE

# --- connections -----------------------------------------------------------------------------------------------------


async def test_connections_are_kept_alive() -> None:
    async with receiving(answering(OK)) as receiver, aclosing(sender()) as sending:
        for _ in range(5):
            assert (await sending.send(attempt_at(receiver.url))).accepted
        assert receiver.connections == 1
        await sending.aclose()
        await receiver.until_open(0)


async def test_a_receiver_may_ask_for_a_connection_each() -> None:
    async with (
        receiving(answering(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))) as receiver,
        aclosing(sender()) as sending,
    ):
        assert [(await sending.send(attempt_at(receiver.url))).error for _ in range(3)] == [""] * 3

    assert receiver.connections == 3


async def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    async with receiving(answering(OK, then_close=True)) as receiver, aclosing(sender()) as sending:
        for _ in range(3):
            assert (await sending.send(attempt_at(receiver.url))).error == ""
            await receiver.until_open(0)

    assert receiver.connections == 3


async def test_what_a_receiver_says_unasked_is_nobodys_answer() -> None:
    said = trio.Event()

    async def impatient(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(OK)
        await said.wait()
        await stream.send_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await stream.receive_some(1)

    async with receiving(impatient) as receiver, aclosing(sender()) as sending:
        first = await sending.send(attempt_at(receiver.url))
        said.set()
        await wait_all_tasks_blocked(0.05)
        second = await sending.send(attempt_at(receiver.url))

    assert (first.status, second.status) == (200, 200)
    assert receiver.connections == 2


async def test_a_request_lost_on_an_idle_connection_is_sent_once_more() -> None:
    requests: list[Request] = []
    first_two = iter([OK, b""])

    async def closes_on_the_second_request(stream: trio.abc.Stream) -> None:
        while (request := await read_request(stream)) is not None:
            requests.append(request)
            answer = next(first_two, OK)
            if not answer:
                return
            await stream.send_all(answer)

    async with receiving(closes_on_the_second_request) as receiver, aclosing(sender()) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert len(requests) == 3


async def test_a_request_that_was_half_answered_is_not_sent_again() -> None:
    answers = iter([OK, OK[:20]])

    async def breaks_off(stream: trio.abc.Stream) -> None:
        while (answer := next(answers, b"")) and await read_request(stream):
            await stream.send_all(answer)

    async with receiving(breaks_off) as receiver, aclosing(sender()) as sending:
        await sending.send(attempt_at(receiver.url))
        answer = await sending.send(attempt_at(receiver.url))

    assert answer.error == "the receiver closed the connection within the head of its answer"
    assert receiver.connections == 1


async def test_a_request_lost_on_a_new_connection_is_not_sent_again() -> None:
    async with receiving(close_after_request) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(attempt_at(receiver.url))

    assert answer.status is None
    assert receiver.connections == 1


async def test_idle_connections_are_bounded_and_grow_old(patient_clock: MockClock) -> None:
    gate = trio.Event()

    async def all_at_once(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await gate.wait()
        await stream.send_all(OK)
        await answering(OK)(stream)

    async with receiving(all_at_once) as receiver, aclosing(sender()) as sending, trio.open_nursery() as nursery:
        for _ in range(80):
            nursery.start_soon(sending.send, attempt_at(receiver.url))
        await receiver.until_open(80)
        gate.set()
        await receiver.until_open(IDLE_PER_ROUTE)
        await trio.sleep(60.0)
        await sending.send(attempt_at(receiver.url))
        await receiver.until_open(1)

    assert receiver.connections == 81


async def test_closing_keeps_no_connection_of_an_attempt_in_flight() -> None:
    asked, gate = trio.Event(), trio.Event()

    async def waits(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        asked.set()
        await gate.wait()
        await stream.send_all(OK)
        await stream.receive_some(1)

    async with receiving(waits) as receiver, trio.open_nursery() as nursery:
        sending = sender()
        nursery.start_soon(sending.send, attempt_at(receiver.url))
        await asked.wait()
        await sending.aclose()
        gate.set()
        await receiver.until_open(0)


async def test_cancellation_leaves_at_once_and_closes_the_connection(patient_clock: MockClock) -> None:
    async with receiving(hang) as receiver, aclosing(sender()) as sending:
        with trio.move_on_after(1.0) as scope:
            await sending.send(attempt_at(receiver.url))
        await receiver.until_open(0)

    assert scope.cancelled_caught


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> WebhookSender:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return WebhookSender(allow_private_networks=True, tls=context)


async def test_https_is_spoken_and_kept_alive(authority: trustme.CA) -> None:
    async with receiving(answering(OK), server_side(authority)) as receiver, aclosing(trusting(authority)) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in range(3)]
        await sending.aclose()

    assert [(answer.status, answer.error) for answer in answers] == [(200, "")] * 3
    assert receiver.connections == 1


async def test_the_certificate_must_bear_the_name_of_the_url(authority: trustme.CA) -> None:
    context = server_side(authority, "localhost")
    async with receiving(answering(OK), context) as receiver, aclosing(trusting(authority)) as sending:
        answer = await sending.send(attempt_at(f"https://localhost:{receiver.port}/"))

    assert (answer.status, answer.error) == (200, "")


async def test_a_certificate_of_an_unknown_authority_is_not_accepted(authority: trustme.CA) -> None:
    requests: list[Request] = []
    async with (
        receiving(answering(OK, requests), server_side(authority)) as receiver,
        aclosing(trusting(trustme.CA())) as sending,
    ):
        answer = await sending.send(attempt_at(receiver.url))

    assert answer.error == "its certificate was not accepted: unable to get local issuer certificate"
    assert requests == []


async def test_a_certificate_for_another_name_is_not_accepted(authority: trustme.CA) -> None:
    async with (
        receiving(answering(OK), server_side(authority, "other.example")) as receiver,
        aclosing(trusting(authority)) as sending,
    ):
        answer = await sending.send(attempt_at(receiver.url))

    assert "certificate was not accepted" in answer.error
    assert "127.0.0.1" in answer.error


async def test_a_receiver_without_tls_is_told_from_one_with(authority: trustme.CA) -> None:
    async with receiving(answering(OK)) as receiver, aclosing(trusting(authority)) as sending:
        answer = await sending.send(attempt_at(receiver.url.replace("http:", "https:")))

    assert answer.status is None
    assert "TLS failed" in answer.error


async def test_a_handshake_that_hangs_is_given_up(authority: trustme.CA, patient_clock: MockClock) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        while await stream.receive_some(1000):
            pass

    async with receiving(silent) as receiver, aclosing(trusting(authority)) as sending:
        answer = await sending.send(attempt_at(receiver.url.replace("http:", "https:")))
        await receiver.until_open(0)

    assert answer.error == "the TLS handshake took more than 5 s"

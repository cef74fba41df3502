"""Webhook receivers that hang, lie, flood and break off: each is an answer in words, and costs nothing else."""

from __future__ import annotations

import re
from contextlib import aclosing

import pytest
import trio
from attrs import evolve
from receiving import (
    OK,
    Script,
    answer_of,
    answering,
    attempt_at,
    close_after_request,
    hang,
    read_request,
    receiving,
    sender,
)
from trio.testing import MockClock

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.sender import BODY_TIMEOUT, ERROR_LIMIT

# --- hostile receivers -----------------------------------------------------------------------------------------------


def hanging_after(answer: bytes) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(answer)
        await stream.receive_some(1)

    return script


def flooding(head: bytes, chunk: bytes) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(head)
        while True:
            await stream.send_all(chunk)

    return script


def dripping(head: bytes, drop: bytes) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(head)
        while True:
            await stream.send_all(drop)
            await trio.sleep(1.0)

    return script


async def close_at_once(stream: trio.abc.Stream) -> None: ...


async def reset(stream: trio.abc.Stream) -> None:
    assert isinstance(stream, trio.SocketStream)
    await read_request(stream)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(hang, "15 s in all; it ended during: waiting for the first byte", id="hangs before the head"),
        pytest.param(hanging_after(HEAD), "15 s in all; it ended during: reading the head", id="hangs within the head"),
        pytest.param(
            dripping(HEAD, b"x-a: b\r\n"), "15 s in all; it ended during: reading the head", id="drips its head"
        ),
        pytest.param(close_at_once, "without an answer|connection broke", id="closes at once"),
        pytest.param(close_after_request, "the receiver closed the connection without an answer", id="closes early"),
        pytest.param(reset, "the connection broke", id="resets"),
        pytest.param(answering(HEAD, then_close=True), "closed the connection within", id="closes within the head"),
        pytest.param(answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "not HTTP", id="speaks something else"),
        pytest.param(answering(b"\0" * 100), "not HTTP", id="speaks nothing"),
        pytest.param(flooding(HEAD, b"x-a: " + b"a" * 1000 + b"\r\n"), "not HTTP", id="endless head"),
        pytest.param(flooding(b"HTTP/1.1 200 ", b"a" * 1000), "not HTTP", id="endless line"),
        pytest.param(answering(HEAD + b"a" * 10_000 + b"\r\n\r\n"), "not HTTP", id="a head of nonsense"),
        pytest.param(flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "interim answers", id="floods with 1xx"),
        pytest.param(
            answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"), "not HTTP", id="switches protocols"
        ),
    ],
)
async def test_no_answer_is_a_failure_in_words(script: Script, error: str, patient_clock: MockClock) -> None:
    answer = await answer_of(script)

    assert answer.status is None
    assert not answer.accepted
    assert len(answer.error) <= ERROR_LIMIT
    assert re.search(error, answer.error)


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(flooding(CHUNKED, b"3e8\r\n" + b"a" * 1000 + b"\r\n"), "longer than 64 KiB", id="endless body"),
        pytest.param(flooding(HEAD + b"\r\n", b"a" * 1000), "longer than 64 KiB", id="endless until closed"),
        pytest.param(
            dripping(CHUNKED, b"1\r\na\r\n"),
            f"reading the answer's body took more than {BODY_TIMEOUT:g} s",
            id="drips its body",
        ),
        pytest.param(
            answering(HEAD + b"content-length: 100\r\n\r\nshort", then_close=True), "not HTTP", id="promises too much"
        ),
        pytest.param(answering(CHUNKED + b"zz\r\n"), "not HTTP", id="counts wrongly"),
    ],
)
async def test_a_bad_body_spoils_no_good_status(script: Script, error: str, patient_clock: MockClock) -> None:
    answer = await answer_of(script)

    assert answer.status == 200
    assert answer.accepted
    assert error in answer.error


async def test_a_bad_body_hides_no_bad_status(patient_clock: MockClock) -> None:
    answer = await answer_of(dripping(b"HTTP/1.1 503 No\r\n" + CHUNKED[len(HEAD) :], b"1\r\na\r\n"))

    assert (answer.status, answer.error) == (503, "answered 503")


async def test_an_attempt_that_runs_out_of_time_keeps_its_bad_status(patient_clock: MockClock) -> None:
    slow = dripping(b"HTTP/1.1 503 No\r\n" + CHUNKED[len(HEAD) :], b"1\r\na\r\n")
    hurried = WebhookSender(timeout=BODY_TIMEOUT / 2, allow_http=True, allow_private_networks=True)
    async with receiving(slow) as receiver, aclosing(hurried) as sending:
        answer = await sending.send(attempt_at(receiver.url))

    assert (answer.status, answer.error) == (503, "answered 503")


async def test_more_than_was_announced_is_taken_for_no_answer() -> None:
    async with receiving(answering(OK + b"HTTP/1.1 500 Injected\r\n\r\n")) as receiver, aclosing(sender()) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert receiver.connections == 3


async def test_a_receiver_that_does_not_read_is_given_up(patient_clock: MockClock) -> None:
    async def deaf(stream: trio.abc.Stream) -> None:
        await trio.sleep(60)

    async with receiving(deaf) as receiver, aclosing(sender()) as sending:
        attempt = evolve(attempt_at(receiver.url), body=b"x" * 50_000_000)
        answer = await sending.send(attempt)

    assert answer.error == "sending the request took more than 5 s"


async def test_an_early_refusal_is_heard_though_the_request_could_not_be_sent_whole() -> None:
    async def refuse_and_close(stream: trio.abc.Stream) -> None:
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")

    async with receiving(refuse_and_close) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(evolve(attempt_at(receiver.url), body=b"x" * 20_000_000))

    assert answer.status == 413


async def test_hostile_receivers_cost_the_next_attempt_nothing(patient_clock: MockClock) -> None:
    scripts = [hang, reset, flooding(CHUNKED, b"3e8\r\n" + b"a" * 1000 + b"\r\n"), answering(OK)]
    turns = iter(scripts)

    async def script(stream: trio.abc.Stream) -> None:
        await next(turns)(stream)

    async with receiving(script) as receiver, aclosing(sender()) as sending:
        answers = [await sending.send(attempt_at(receiver.url)) for _ in scripts]

    assert answers[-1].status == 200
    assert answers[-1].error == ""


async def test_a_receiver_that_is_not_there_is_named() -> None:
    async with receiving(answering(OK)) as receiver:
        url = receiver.url
    answer = await sender().send(attempt_at(url))

    assert answer.error == f"cannot connect to 127.0.0.1 port {receiver.port}: Connection refused"

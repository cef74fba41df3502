"""Each limit of an attempt, alone, and the words that name it; in memory, under virtual time."""

from __future__ import annotations

import zlib

import pytest
import trio
from attrs import evolve
from dialling import ROOM, End, Exchange, Script
from receiving import OK, attempt_at, read_request
from trio.testing import MockClock

from stationkeeper.engine.sending import Answer
from stationkeeper.transports.webhooks.sender import BODY_TIMEOUT

ATTEMPT = attempt_at("https://a.example/")


async def answer_of(script: Script, *, body: bytes = b"{}", attempts: int = 1, **limits: float) -> tuple[Answer, float]:
    """Return what the last of some attempts came to, and how long it took."""
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, {"a.example": script})
        sender = exchange.sender(**limits)
        for _ in range(attempts):
            began = trio.current_time()
            answer = await sender.send(evolve(ATTEMPT, body=body))
        took = trio.current_time() - began
        await sender.aclose()
        assert exchange.open == 0
        nursery.cancel_scope.cancel()
    return answer, took


async def deaf(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def silent(stream: trio.abc.Stream) -> None:
    await read_request(stream)
    await trio.sleep_forever()


def slowly(*parts: bytes, pause: float) -> Script:
    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        for part in parts:
            await trio.sleep(pause)
            await stream.send_all(part)
        await trio.sleep_forever()

    return script


async def test_the_request_must_be_taken_in_time(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(deaf, body=b"x" * 2 * ROOM, write_timeout=3.0)

    assert answer.error == "sending the request took more than 3 s"
    assert took == pytest.approx(3.0)


async def test_the_first_byte_of_the_answer_must_come_in_time(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(silent, answer_timeout=4.0)

    assert answer.error == "waiting for the first byte of the answer took more than 4 s"
    assert took == pytest.approx(4.0)


async def test_the_first_byte_is_waited_for_anew_on_a_connection_that_was_kept(autojump_clock: MockClock) -> None:
    async def once(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(OK)
        await silent(stream)

    answer, took = await answer_of(once, attempts=2, answer_timeout=4.0)

    assert answer.error == "waiting for the first byte of the answer took more than 4 s"
    assert took == pytest.approx(4.0)


async def test_after_the_first_byte_that_limit_is_over(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(slowly(b"HTTP/1.1 100 Continue\r\n\r\n", OK, pause=3.0), answer_timeout=4.0)

    assert (answer.status, answer.error) == (200, "")
    assert took == answer.latency == pytest.approx(6.0)


async def test_the_whole_must_end_in_time(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(slowly(*[bytes([byte]) for byte in OK], pause=1.0), timeout=10.0)

    assert answer.error == "the attempt took more than 10 s in all; it ended during: reading the head of the answer"
    assert took == pytest.approx(10.0)


async def test_the_whole_limits_the_others(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(silent, timeout=3.0, answer_timeout=4.0)

    waiting = "waiting for the first byte of the answer"
    assert answer.error == f"the attempt took more than 3 s in all; it ended during: {waiting}"
    assert took == pytest.approx(3.0)


async def test_the_body_must_end_in_time(autojump_clock: MockClock) -> None:
    answer, took = await answer_of(slowly(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", pause=1.0))

    assert answer.error == f"reading the answer's body took more than {BODY_TIMEOUT:g} s"
    assert answer.accepted
    assert took == pytest.approx(1.0 + BODY_TIMEOUT)


async def test_an_answer_before_the_request_was_taken_is_heard(autojump_clock: MockClock) -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await trio.sleep_forever()

    answer, took = await answer_of(refuse, body=b"x" * 2 * ROOM, write_timeout=3.0)

    assert answer.status == 413
    assert took == pytest.approx(3.0)


async def test_a_bomb_is_kept_as_it_came() -> None:
    bomb = zlib.compress(bytes(10_000_000), 9)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(bomb)

    async def script(stream: trio.abc.Stream) -> None:
        request = await read_request(stream)
        assert request is not None
        assert request.headers["accept-encoding"] == "identity"
        await stream.send_all(head + bomb)

    answer, _ = await answer_of(script)

    assert answer.accepted
    assert answer.excerpt.startswith("x\ufffd")
    assert len(answer.excerpt) <= 4096


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize("whole", [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK])
async def test_a_reset_at_any_byte_is_an_answer(whole: bytes) -> None:
    for length in range(len(whole)):

        async def break_off(stream: trio.abc.Stream, length: int = length) -> None:
            await read_request(stream)
            await stream.send_all(whole[:length])
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(stream, End)
            stream.reset()

        answer, _ = await answer_of(break_off)
        headed = b"\r\n\r\n" in whole[:length].replace(b"100 Continue\r\n\r\n", b"")
        assert answer.status == (200 if headed else None)
        assert answer.error.startswith("the connection broke")

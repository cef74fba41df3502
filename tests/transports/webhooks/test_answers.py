"""What is made of answers: plain ones are read as h11 reads them, and none is read otherwise for coming in parts."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stationkeeper.transports.webhooks.answers import ANSWER_LIMIT, EXCERPT_LIMIT, PART_LIMIT, Reading, plain_answer
from stationkeeper.transports.webhooks.targets import Trouble

NGINX = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
)
NODE = (
    b"HTTP/1.1 202 Accepted\r\nX-Request-Id: 7f\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nConnection: keep-alive\r\n"
    b"Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
)
UVICORN = b"HTTP/1.1 204 No Content\r\ndate: Mon, 23 Nov 2026 05:00:00 GMT\r\nserver: uvicorn\r\n\r\n"

HEADERS = [
    b"content-length: 0",
    b"Content-Length:2",
    b"content-length: 2, 2",
    b"content-length: +2",
    b"content-length: 02",
    b"content-length: 2 2",
    b"Content-Length\t: 2",
    b"x-content-length: 2",
    b"x: content-length: 2",
    b"content-length:",
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: identity",
    b"connection: close",
    b"Connection: keep-alive",
    b"connection: keep-alive, close",
    b"proxy-connection: close",
    b"x: connection: keep-alive",
    b"content-encoding: gzip",
    b"upgrade: h2c",
    b"x:\tb \t",
    b"x: \xe4",
    b"x: a\x01b",
    b"x: a\0b",
    b" folded",
    b": nameless",
    b"no colon",
    b"",
]
STATUS_LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 205 Reset",
    b"HTTP/1.1 299 ",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 \xe4",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 500 Oops",
    b"HTTP/1.0 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/1.1  200 OK",
]


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Answers that are nearly right, with all that matters to where they end drawn often."""
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    body = draw(st.sampled_from([b"ok", b"ok", b"", b"o", b"ok\r\n", b"2\r\nok\r\n0\r\n\r\n", NGINX]))
    right = [b"content-length: %d" % len(body)] * draw(st.sampled_from([1, 1, 1, 0, 2]))
    headers = draw(st.permutations(right + draw(st.lists(st.sampled_from(HEADERS), max_size=2))))
    return end.join([draw(st.sampled_from([STATUS_LINES[0], *STATUS_LINES])), *headers]) + end + end + body


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Real answers, with some bytes changed, put in or taken out."""
    data = bytearray(draw(st.sampled_from([NGINX, NODE, UVICORN])))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 1))] = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"0", b"9", b"\0", b"\xff", b","])
        )
    return bytes(data)


def as_h11_reads(data: bytes) -> tuple[int, bytes, bool] | None:
    """Return status, body, and whether another exchange may follow, by h11 alone; none if it is not all there."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    status, body = 0, b""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body, http.their_state is h11.DONE and not http.trailing_data[0]
        elif event is h11.NEED_DATA:
            return None


@given(answers() | mutated())
@example(NGINX + NGINX)
@example(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 1\r\n\r\nok")
def test_what_is_read_without_h11_is_read_as_h11_reads_it(data: bytes) -> None:
    plain = plain_answer(data)

    if plain is not None:
        assert as_h11_reads(data) == (*plain, True)


@pytest.mark.parametrize("data", [NGINX, NODE, UVICORN])
def test_what_usual_servers_answer_is_plain(data: bytes) -> None:
    assert plain_answer(data) is not None


def outcome(parts: list[bytes]) -> tuple[object, ...]:
    """Return all that a reading of these parts comes to."""
    reading, error = Reading(), ""
    try:
        for part in parts:
            reading.take(part)
            if reading.whole:
                break
    except (Trouble, h11.RemoteProtocolError) as trouble:
        error = type(trouble).__name__
    whole = reading.whole
    return reading.status, reading.excerpt if whole else "", whole, reading.reusable, reading.retry_after, error


@given(answers() | mutated(), st.data())
def test_in_how_many_parts_an_answer_comes_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(1, len(data)))
    together, apart = outcome([data]), outcome([data[:cut], data[cut:]] if data[cut:] else [data])

    assert bool(apart[5]) == bool(together[5])
    if not apart[5]:
        assert apart[:3] == together[:3]
        # What follows a whole answer may come later; then it is met by whoever would use the connection next.
        assert apart[3] or not together[3]


@given(st.binary(max_size=3 * EXCERPT_LIMIT))
def test_of_a_body_so_much_is_kept(body: bytes) -> None:
    reading = Reading()
    reading.take(b"HTTP/1.1 500 Oops\r\ncontent-length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 1000):
        reading.take(body[start : start + 1000])

    assert reading.whole
    assert reading.excerpt == body[:EXCERPT_LIMIT].decode("utf-8", "replace")


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def flood(reading: Reading, head: bytes, data: bytes) -> tuple[int, str]:
    """Return how many bytes of the same again and again were taken before it was enough, and why it was."""
    reading.take(head)
    taken = 0
    while taken < 10 * ANSWER_LIMIT:
        try:
            reading.take(data)
        except Trouble as trouble:
            return taken, str(trouble)
        taken += len(data)
    return taken, ""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"1;" + b"a" * 15_000 + b"\r\nx\r\n", id="long chunk extensions"),
        pytest.param((b"1;" + b"a" * 1_000 + b"\r\nx\r\n") * 8, id="chunk extensions"),
    ],
)
def test_all_that_comes_counts_whatever_is_in_it(data: bytes) -> None:
    reading = Reading()
    taken, why = flood(reading, CHUNKED, data)

    assert taken <= ANSWER_LIMIT
    assert why == "the answer is longer than 96 KiB; the rest was not read"
    assert (reading.status, reading.whole, reading.reusable) == (200, False, False)


def test_the_smallest_chunks_are_not_read_one_by_one_without_end() -> None:
    reading = Reading()
    taken, why = flood(reading, CHUNKED, b"1\r\nx\r\n" * 2_700)

    assert (taken, why) == (0, f"the answer comes in more than {PART_LIMIT} parts; the rest was not read")
    assert len(reading.excerpt) <= PART_LIMIT
    assert (reading.status, reading.whole) == (200, False)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n"])
def test_nor_are_single_bytes(head: bytes) -> None:
    taken, why = flood(Reading(), head, b"x")

    assert 0 < taken <= PART_LIMIT
    assert "parts" in why


def test_a_long_body_in_usual_chunks_is_no_flood() -> None:
    reading, body = Reading(), b"x" * 500
    reading.take(b"HTTP/1.1 500 Oops\r\nx: " + b"a" * 15_000 + b"\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(131):
        reading.take(b"1f4\r\n" + body + b"\r\n")
    reading.take(b"0\r\n\r\n")

    assert (reading.whole, reading.reusable) == (True, True)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
def test_a_length_beside_a_coding_ends_the_connection(coding: bytes) -> None:
    """Somebody between us may have read it by the other one (RFC 9112, 6.3)."""
    reading = Reading()
    reading.take(CHUNKED.replace(b"chunked", coding).replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n"))
    reading.take(b"2\r\nok\r\n0\r\n\r\n")

    assert (reading.status, reading.whole, reading.reusable) == (200, True, False)

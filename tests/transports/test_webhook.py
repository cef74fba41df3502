"""The webhook sender against real receivers on loopback: careful ones, and all the others.

Where something hangs, time is virtual: it jumps once nothing has happened for a tenth of a second.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TypeAlias

import h11
import pytest
import standardwebhooks
import trio
import trustme
from attrs import evolve
from trio.testing import MockClock

from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.transports import WebhookSender
from stationkeeper.transports.receivers import IDLE_PER_ORIGIN
from stationkeeper.transports.webhook import BODY_TIMEOUT, ERROR_LIMIT, EXCERPT_LIMIT, INTERIM_LIMIT, seconds_to_wait

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SECRET, OLDER = b"0123456789abcdef01234567", b"fedcba9876543210fedcba98"
BODY = json.dumps({"type": "chargestation.online", "data": {"id": "Ladesäule 7"}}).encode()

Script: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]


@pytest.fixture
def patient_clock() -> MockClock:
    return MockClock(autojump_threshold=0.1)


class Request:
    """A request as it arrived."""

    def __init__(self, head: h11.Request, body: bytes) -> None:
        self.method = head.method.decode()
        self.target = head.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in head.headers}
        self.body = body


async def read_request(stream: trio.abc.Stream) -> Request | None:
    """Read one request; none if the sender closed the connection first."""
    http = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(head, body)
        else:
            return None


class Receiver:
    """Listens on loopback; each connection follows the script."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self.connections = 0
        self.open = 0
        self.port = 0
        self._counted = trio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hooks?tenant=1"

    async def handle(self, raw: trio.SocketStream) -> None:
        self.connections += 1
        self._count(1)
        stream: trio.abc.Stream = raw
        if self._tls is not None:
            stream = trio.SSLStream(raw, self._tls, server_side=True, https_compatible=True)
        try:
            await self._script(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)
            self._count(-1)

    async def until_open(self, number: int) -> None:
        """Return once so many connections are open, no more and no less."""
        with trio.fail_after(300):
            while self.open != number:
                await self._counted.wait()

    def _count(self, difference: int) -> None:
        self.open += difference
        self._counted.set()
        self._counted = trio.Event()


@asynccontextmanager
async def receiving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(script, tls)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, receiver.handle, 0, host="127.0.0.1"))
        receiver.port = listeners[0].socket.getsockname()[1]
        yield receiver
        nursery.cancel_scope.cancel()


def answering(answer: bytes, requests: list[Request] | None = None, *, then_close: bool = False) -> Script:
    """Answer every request with the same bytes."""

    async def script(stream: trio.abc.Stream) -> None:
        while (request := await read_request(stream)) is not None:
            if requests is not None:
                requests.append(request)
            await stream.send_all(answer)
            if then_close:
                return

    return script


def attempt_at(url: str) -> Attempt:
    return Attempt(message="msg_1", url=url, body=BODY, secrets=(SECRET,), at=int(time.time()))


def sender() -> WebhookSender:
    return WebhookSender(allow_http=True, allow_private_networks=True)


async def answer_of(script: Script) -> Answer:
    """Return what one attempt at a receiver comes to, once the sender has let go of the connection."""
    async with receiving(script) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(attempt_at(receiver.url))
        await sending.aclose()
        await receiver.until_open(0)
    return answer


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_the_reference_library_verifies_what_is_sent() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(evolve(attempt_at(receiver.url), secrets=(SECRET, OLDER)))
    (request,) = requests

    assert answer.accepted
    assert request.headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OLDER):
        webhook = standardwebhooks.Webhook("whsec_" + b64encode(secret).decode())
        assert webhook.verify(request.body, request.headers) == json.loads(BODY)
    newest = request.headers["webhook-signature"].split()[0]
    webhook = standardwebhooks.Webhook(b64encode(SECRET).decode())
    assert webhook.verify(request.body, {**request.headers, "webhook-signature": newest})


async def test_the_reference_library_refuses_another_secret() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, aclosing(sender()) as sending:
        await sending.send(attempt_at(receiver.url))

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(b64encode(OLDER).decode()).verify(requests[0].body, requests[0].headers)


async def test_a_request_says_what_it_is() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, aclosing(sender()) as sending:
        attempt = attempt_at(receiver.url)
        await sending.send(attempt)
    (request,) = requests

    assert (request.method, request.target, request.body) == ("POST", "/hooks?tenant=1", BODY)
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Stationkeeper/")
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["webhook-timestamp"] == str(attempt.at)


async def test_nothing_goes_out_unsigned() -> None:
    async with receiving(answering(OK)) as receiver, aclosing(sender()) as sending:
        answer = await sending.send(evolve(attempt_at(receiver.url), secrets=()))

    assert "unsigned" in answer.error
    assert receiver.connections == 0


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_success(status: int) -> None:
    answer = await answer_of(answering(b"HTTP/1.1 %d Whatever\r\ncontent-length: 0\r\n\r\n" % status))

    assert answer.accepted
    assert (answer.status, answer.error) == (status, "")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_that_names_where_to(status: int) -> None:
    head = b"HTTP/1.1 %d Moved\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n" % status
    answer = await answer_of(answering(head))

    assert not answer.accepted
    assert answer.error.startswith(f"answered {status}, a redirect to 'http://169.254.169.254/latest'")


async def test_a_failure_keeps_what_the_receiver_says() -> None:
    answer = await answer_of(answering(b"HTTP/1.1 500 Oops\r\ncontent-length: 15\r\n\r\nno such table \xff"))

    assert (answer.status, answer.error, answer.excerpt) == (500, "answered 500", "no such table \ufffd")
    assert answer.latency > 0.0


async def test_interim_answers_are_passed_over() -> None:
    answer = await answer_of(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" * INTERIM_LIMIT + OK))

    assert answer.accepted


async def test_an_answer_that_ends_with_its_connection_is_read_whole() -> None:
    answer = await answer_of(answering(b"HTTP/1.0 200 OK\r\n\r\nold but fine", then_close=True))

    assert (answer.status, answer.error, answer.excerpt) == (200, "", "old but fine")


async def test_of_a_long_answer_a_part_is_read_and_less_is_kept() -> None:
    answer = await answer_of(answering(b"HTTP/1.1 500 Oops\r\ncontent-length: 60000\r\n\r\n" + b"x" * 60000))

    assert answer.error == "answered 500"
    assert answer.excerpt == "x" * EXCERPT_LIMIT


# --- hostile receivers -----------------------------------------------------------------------------------------------


async def hang(stream: trio.abc.Stream) -> None:
    await read_request(stream)
    await stream.receive_some(1)


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


async def close_after_request(stream: trio.abc.Stream) -> None:
    await read_request(stream)


async def reset(stream: trio.abc.Stream) -> None:
    assert isinstance(stream, trio.SocketStream)
    await read_request(stream)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(hang, "waiting for the answer took more than 15 s", id="hangs before the head"),
        pytest.param(hanging_after(HEAD), "waiting for the answer took more than 15 s", id="hangs within the head"),
        pytest.param(dripping(HEAD, b"x-a: b\r\n"), "waiting for the answer took more than 15 s", id="drips its head"),
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
        pytest.param(dripping(CHUNKED, b"1\r\na\r\n"), f"did not end within {BODY_TIMEOUT:g} s", id="drips its body"),
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

    assert answer.error == "sending the request took more than 15 s"


async def test_an_early_refusal_is_heard_though_the_body_was_not_read(patient_clock: MockClock) -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass

    answer = await answer_of(refuse)

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
        await receiver.until_open(IDLE_PER_ORIGIN)
        await trio.sleep(60.0)
        await sending.send(attempt_at(receiver.url))
        await receiver.until_open(1)

    assert receiver.connections == 81


async def test_cancellation_leaves_at_once_and_closes_the_connection(patient_clock: MockClock) -> None:
    async with receiving(hang) as receiver, aclosing(sender()) as sending:
        with trio.move_on_after(1.0) as scope:
            await sending.send(attempt_at(receiver.url))
        await receiver.until_open(0)

    assert scope.cancelled_caught


# --- where to --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://example.com/", "http://"),
        ("ftp://example.com/", "https://HOST/PATH"),
        ("https:///path", "https://HOST/PATH"),
        ("https://[::1", "cannot be read"),
        ("https://example.com:99999/", "cannot be read"),
        ("https://user:canary@example.com/", "user name or password"),
        ("https://example.com/a b", "percent-encoded"),
        ("https://example.com/\r\nx-injected: 1", "percent-encoded"),
        ("https://" + "a" * 64 + ".example/", "cannot be read"),
        ("not a url", "https://HOST/PATH"),
    ],
)
async def test_urls_that_are_not_sent_to(url: str, error: str) -> None:
    answer = await WebhookSender().send(attempt_at(url))

    assert answer.status is None
    assert error in answer.error
    assert "canary" not in answer.error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    async with receiving(answering(OK)) as receiver:
        answer = await WebhookSender(allow_http=True).send(attempt_at(f"http://{host}:{receiver.port}/"))

    assert "not a public address (loopback)" in answer.error
    assert receiver.connections == 0


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

    assert answer.error == "the TLS handshake took more than 15 s"


# --- Retry-After -----------------------------------------------------------------------------------------------------


async def test_retry_after_is_reported() -> None:
    answer = await answer_of(answering(b"HTTP/1.1 429 Slow\r\nRetry-After: 120\r\ncontent-length: 0\r\n\r\n"))

    assert (answer.status, answer.retry_after) == (429, 120.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("9" * 400, 999_999_999_999.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("\u0665", None),
        ("Sun, 99 Nov 9999999 08:50:37 GMT", None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(header: str, seconds: float | None) -> None:
    assert seconds_to_wait(header, 784_111_777) == seconds

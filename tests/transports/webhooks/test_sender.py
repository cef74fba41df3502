"""What the webhook sender sends, to whom, and what it makes of an answer."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import aclosing

import pytest
import standardwebhooks
from attrs import evolve
from receiving import (
    BODY,
    OK,
    OLDER,
    SECRET,
    Request,
    answer_of,
    answering,
    attempt_at,
    receiving,
    sender,
)

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.answers import EXCERPT_LIMIT, INTERIM_LIMIT
from stationkeeper.transports.webhooks.sender import seconds_to_wait

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
async def test_nothing_goes_to_loopback_however_it_is_written(host: str) -> None:
    async with receiving(answering(OK)) as receiver:
        answer = await WebhookSender(allow_http=True).send(attempt_at(f"http://{host}:{receiver.port}/"))

    assert answer.status is None
    assert receiver.connections == 0


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

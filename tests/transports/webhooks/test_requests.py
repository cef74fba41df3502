"""The bytes of a request: what was meant, and nothing that somebody smuggled in."""

from __future__ import annotations

import h11
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from receiving import BODY, SECRET

from stationkeeper.engine.sending import Attempt
from stationkeeper.transports.webhooks.requests import opening, request
from stationkeeper.transports.webhooks.targets import Target, Trouble

TARGET = Target(("https", "example.com", 443), "example.com", "/hooks?tenant=1")
ATTEMPT = Attempt(message="msg_1", url="https://example.com/", body=BODY, secrets=(SECRET,), at=1_795_410_000)
CONTENT_TYPE = "application/json"
NAMES = st.text("ab-_ \r\n\t:\0\xe4", max_size=6)
VALUES = st.text("ab-_ \r\n\t:\0\x7f\xe4\u2028", max_size=12)


def heard(data: bytes) -> tuple[h11.Request, bytes]:
    """Return what a server makes of the bytes; they must be one request and no more."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    head, body = http.next_event(), b""
    assert isinstance(head, h11.Request)
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert not http.trailing_data[0]
    return head, body


def test_a_request_holds_what_was_meant() -> None:
    own = (("X-Tenant", "a b"), ("Authorization", "Bearer 7"))
    attempt = evolve(ATTEMPT, checkpoint=b"log\n5\n\xff")
    head, body = heard(request(opening(TARGET, "Stationkeeper/1", CONTENT_TYPE, own), attempt))
    headers = dict(head.headers)

    assert (head.method, head.target, body) == (b"POST", b"/hooks?tenant=1", BODY)
    assert headers.pop(b"webhook-signature").startswith(b"v1,")
    assert headers == {
        b"host": b"example.com",
        b"user-agent": b"Stationkeeper/1",
        b"content-type": b"application/json",
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
        b"x-tenant": b"a b",
        b"authorization": b"Bearer 7",
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": b"1795410000",
        b"stationkeeper-checkpoint": b"bG9nCjUK/w==",
        b"content-length": b"%d" % len(BODY),
    }


@given(st.lists(st.tuples(NAMES, VALUES), max_size=3), VALUES)
@example([("a", "b\r\nx-injected: 1")], CONTENT_TYPE)
@example([("a\r\nb", "")], CONTENT_TYPE)
@example([], "a\nb")
def test_what_does_not_stay_one_header_is_not_sent(headers: list[tuple[str, str]], content_type: str) -> None:
    try:
        begin = opening(TARGET, "Stationkeeper/1", content_type, headers)
    except Trouble:
        return
    head, body = heard(request(begin, ATTEMPT))

    sent = [(name.decode(), value.decode()) for name, value in head.headers.raw_items()]
    assert len(sent) == 9 + len(headers)
    assert sent[5 : 5 + len(headers)] == headers
    assert body == BODY


@given(VALUES.filter(lambda id: "." not in id))
@example("msg_1\r\nx-injected: 1")
def test_no_message_id_breaks_out_of_its_header(id: str) -> None:
    begin = opening(TARGET, "Stationkeeper/1", CONTENT_TYPE, ())
    try:
        data = request(begin, evolve(ATTEMPT, message=id))
    except Trouble:
        return
    assert dict(heard(data)[0].headers)[b"webhook-id"] == id.encode()


@pytest.mark.parametrize(
    "target",
    [
        evolve(TARGET, path="/a b"),
        evolve(TARGET, path="/\r\nx: 1"),
        evolve(TARGET, path=""),
        evolve(TARGET, authority="a\r\nx: 1"),
    ],
)
def test_no_url_breaks_out_of_its_line(target: Target) -> None:
    with pytest.raises(Trouble):
        opening(target, "Stationkeeper/1", CONTENT_TYPE, ())


def test_the_value_of_a_header_is_told_to_nobody() -> None:
    with pytest.raises(Trouble) as trouble:
        opening(TARGET, "Stationkeeper/1", CONTENT_TYPE, [("x-token", "canary\r\n")])

    assert "x-token" in str(trouble.value)
    assert "canary" not in str(trouble.value)

"""Receivers behind a proxy: what it sees, what it is asked for, and whose fault its refusals are."""

from __future__ import annotations

import ssl
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
import trustme
from name_servers import Zone, gone
from proxies import TINYPROXY, Tunnels, tinyproxy, tunnels
from receiving import BODY, OK, Request, answering, attempt_at, receiving
from trio.testing import MockClock

from stationkeeper.engine.sending import Answer
from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.connecting.proof import PROOF_SECONDS
from stationkeeper.transports.webhooks.connecting.proxy import HEAD_LIMIT, INTERIM_LIMIT, read_proxy

AUTHORITY = trustme.CA()
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"


def through(port: int, credentials: str = "user:c%40nary:1@", *, private: bool = True) -> WebhookSender:
    usual = ssl.create_default_context()
    AUTHORITY.configure_trust(usual)
    return WebhookSender(
        allow_http=True, allow_private_networks=private, proxy=f"http://{credentials}127.0.0.1:{port}", tls=usual
    )


def server_side(name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


async def answer_by(proxy: Tunnels, url: str = "http://r.example/") -> Answer:
    async with aclosing(through(proxy.port)) as sending:
        return await sending.send(attempt_at(url))


# --- what it sees ----------------------------------------------------------------------------------------------------


async def test_a_proxy_is_asked_by_name_and_sees_nothing_else(zone: Zone) -> None:
    zone.names["r.example"] = gone()
    requests: list[Request] = []
    async with receiving(answering(OK, requests), server_side("r.example")) as receiver, tunnels() as proxy:
        url = f"https://r.example:{receiver.port}/hooks"
        async with aclosing(through(proxy.port)) as sending:
            answers = [await sending.send(attempt_at(url)) for _ in range(3)]

    assert [(answer.status, answer.error) for answer in answers] == [(200, "")] * 3
    (asked,) = proxy.asked
    assert asked.startswith(
        f"CONNECT r.example:{receiver.port} HTTP/1.1\r\nhost: r.example:{receiver.port}\r\n".encode()
    )
    assert zone.asked["r.example"] == 0
    assert [request.body for request in requests] == [BODY] * 3
    assert "proxy-authorization" not in requests[0].headers
    assert requests[0].headers["host"] == f"r.example:{receiver.port}"


async def test_the_receiver_must_prove_its_name_through_a_proxy_too() -> None:
    async with receiving(answering(OK), server_side("other.example")) as receiver, tunnels() as proxy:
        answer = await answer_by(proxy, f"https://r.example:{receiver.port}/")

    assert "certificate was not accepted" in answer.error
    assert not answer.local


async def test_plain_http_goes_through_a_tunnel_as_well() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, tunnels() as proxy:
        answer = await answer_by(proxy, f"http://r.example:{receiver.port}/hooks?a=b")

    assert answer.status == 200
    assert requests[0].target == "/hooks?a=b"
    assert proxy.asked[0].startswith(b"CONNECT ")


async def test_an_ipv6_address_is_asked_for_in_brackets() -> None:
    async with tunnels() as proxy:
        proxy.answer = b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
        await answer_by(proxy, "http://[2001:db8::1]:8080/")

    assert proxy.asked[0].startswith(b"CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nhost: [2001:db8::1]:8080\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:10.0.0.1]", "localhost", "169.254.169.254"])
async def test_a_private_address_is_not_even_asked_for(host: str) -> None:
    async with tunnels() as proxy, aclosing(through(proxy.port, private=False)) as sending:
        answer = await sending.send(attempt_at(f"https://{host}/"))

    assert "not public" in answer.error
    assert proxy.asked == []


async def test_an_own_address_is_not_even_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeeper.transports.webhooks.connecting.connector.is_own", lambda address: True)
    async with tunnels() as proxy, aclosing(through(proxy.port, private=False)) as sending:
        answer = await sending.send(attempt_at("https://8.8.8.8/"))

    assert "of this very host" in answer.error
    assert proxy.asked == []


# --- whose fault -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ours"),
    [*((status, True) for status in (400, 401, 407, 429)), *((status, False) for status in (403, 500, 502, 503, 504))],
)
async def test_a_refusal_says_whose_fault_it_is(status: int, ours: bool) -> None:
    async with tunnels() as proxy:
        proxy.answer = b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status
        answer = await answer_by(proxy)

    assert answer.error == f"the proxy 127.0.0.1 port {proxy.port} answered {status} when asked for r.example:80"
    assert (answer.status, answer.local) == (None, ours)


@pytest.mark.parametrize("credentials", ["", "user:canary@", "other:c%40nary:1@"])
async def test_a_proxy_that_does_not_know_us_is_our_fault(credentials: str) -> None:
    async with tunnels() as proxy, aclosing(through(proxy.port, credentials)) as sending:
        answer = await sending.send(attempt_at("https://r.example/"))

    assert "answered 407" in answer.error
    assert "nary" not in answer.error
    assert answer.local


async def test_a_proxy_that_cannot_be_reached_is_our_fault(zone: Zone) -> None:
    zone.names["proxy.example"] = gone()
    for place in ("127.0.0.1:9", "proxy.example:8888"):
        async with aclosing(WebhookSender(proxy=f"http://user:canary@{place}")) as sending:
            answer = await sending.send(attempt_at("https://r.example/"))

        assert f"the proxy {place.replace(':', ' port ')} cannot be reached" in answer.error
        assert "canary" not in answer.error
        assert answer.local


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * HEAD_LIMIT * 2,
        b"HTTP/1.1 103 Wait\r\n\r\n" * (INTERIM_LIMIT + 1) + OPEN,
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_what_does_not_speak_as_a_proxy_is_our_fault(said: bytes) -> None:
    async with receiving(answering(OK)) as receiver, tunnels() as proxy:
        proxy.answer = said
        answer = await answer_by(proxy, f"http://r.example:{receiver.port}/")

    assert (answer.status, answer.local) == (None, True)
    assert answer.error.startswith(f"the proxy 127.0.0.1 port {proxy.port} ")


async def test_a_silent_proxy_is_our_fault_unless_it_lately_led_to_another(patient_clock: MockClock) -> None:
    once = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with receiving(answering(once)) as receiver, tunnels() as proxy, aclosing(through(proxy.port)) as sending:
        opens = proxy.answer

        async def meet(name: str, said: bytes | None = None) -> Answer:
            proxy.answer = said
            return await sending.send(attempt_at(f"http://{name}:{receiver.port}/"))

        first = await meet("r.example")
        assert (await meet("s.example", opens)).status == 200
        another, itself = await meet("r.example"), await meet("s.example")
        await trio.sleep(PROOF_SECONDS)
        late = await meet("r.example")

    where = f"127.0.0.1 port {proxy.port}"
    assert first.error == f"the proxy {where} did not reach r.example:{receiver.port} within 5 s"
    assert [one.local for one in (first, another, itself, late)] == [True, False, True, True]


# --- what names it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:3128",
        "https://user:canary@127.0.0.1:3128",
        "socks5://user:canary@127.0.0.1:1080",
        "http://user:canary@127.0.0.1",
        "http://canary@127.0.0.1:3128",
        "http://:canary@127.0.0.1:3128",
        "http://user:canary@127.0.0.1:3128/path",
        "http://user:canary@127.0.0.1:99999",
        "http://user:can ary@127.0.0.1:3128",
        "http://user:canary@x@127.0.0.1:3128",
        "http://user:canary\\@127.0.0.1:3128",
        "http://user:canary@",
        "",
    ],
)
def test_what_names_no_proxy_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"http://HOST:PORT|http://USER:PASSWORD|cannot be read") as refusal:
        read_proxy(url)
    assert "canary" not in str(refusal.value)


def test_a_proxy_shows_no_credentials() -> None:
    proxy = read_proxy("http://user:canary@[::1]:3128/")

    assert (proxy.host, proxy.port, proxy.authorization) == ("::1", 3128, "Basic dXNlcjpjYW5hcnk=")
    assert str(proxy) == "the proxy [::1] port 3128"
    assert "dXNl" not in repr(proxy)
    assert read_proxy("http://proxy.example:3128").authorization == ""


# --- a proxy that others wrote ---------------------------------------------------------------------------------------

if TINYPROXY is not None:  # our own one has shown the same above

    async def test_tinyproxy_carries_what_is_sent(tmp_path: Path) -> None:
        async with receiving(answering(OK), server_side("localhost")) as receiver, tinyproxy(tmp_path) as port:
            url = f"https://localhost:{receiver.port}/hooks"
            async with aclosing(through(port, "user:canary@")) as sending:
                answers = [await sending.send(attempt_at(url)) for _ in range(2)]
                nobody = await sending.send(attempt_at("https://localhost:9/"))
            async with aclosing(through(port, "user:wrong@")) as sending:
                unknown = await sending.send(attempt_at(url))

        assert [(answer.status, answer.error) for answer in answers] == [(200, "")] * 2
        assert receiver.connections == 1
        assert (nobody.local, unknown.local) == (False, True)

"""The opening handshake as bytes."""

from __future__ import annotations

import signal
import ssl
from base64 import b64encode
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_station import request
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

from stationkeeper.transports import AnyStation, Refusal, Welcome
from stationkeeper.transports.handshake.answers import Refused, refuse_fragment, refuse_tls, response, retry_after
from stationkeeper.transports.handshake.head import end_of_head, parse_head
from stationkeeper.transports.handshake.origins import is_foreign
from stationkeeper.transports.handshake.reception import Guest, Manners, Reception
from stationkeeper.transports.handshake.subprotocols import as_offered, choose, why_none


def refusal(data: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_head(data)
    return caught.value


# --- the head --------------------------------------------------------------------------------------------------------


def test_a_good_request_is_read() -> None:
    head = parse_head(request("/ocpp/CP-1?x=1", subprotocol="ocpp2.0.1, ocpp1.6", extra=["authorization: Basic eDp5"]))

    assert head.target == "/ocpp/CP-1?x=1"
    assert head.authorization == b"Basic eDp5"
    assert head.offered == ("ocpp2.0.1", "ocpp1.6")


def test_subprotocols_may_be_spread_over_several_headers() -> None:
    head = parse_head(request(subprotocol="ocpp2.1", extra=["sec-websocket-protocol:ocpp1.6 ,, ocpp2.0.1"]))

    assert head.offered == ("ocpp2.1", "ocpp1.6", "ocpp2.0.1")


@pytest.mark.parametrize(
    ("line", "instead", "status", "reason"),
    [
        ("GET ", "POST ", 405, "wrong_method"),
        ("HTTP/1.1", "HTTP/1.0", 400, "malformed_request"),
        ("HTTP/1.1", "HTTP/2", 400, "malformed_request"),
        ("GET /ocpp/CP-1", "GET /ocpp/CP 1", 400, "malformed_request"),
        ("GET /ocpp/CP-1", "GET /ocpp/CP-\xfc", 400, "malformed_request"),
        ("Upgrade: websocket", "Upgrade: websocket\r", 400, "malformed_request"),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==",
            400,
            "malformed_request",
        ),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key", 400, "malformed_request"),
        (
            "Host: localhost",
            "Host: a\r\nAuthorization: Basic eA==\r\nAuthorization: Basic eQ==",
            400,
            "malformed_request",
        ),
        ("Host: localhost", "Host: localhost" + "\r\nX: y" * 128, 431, "oversized_head"),
        ("Upgrade: websocket", "Accept: */*", 426, "not_websocket"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "not_websocket"),
        ("Upgrade: websocket\r\n", "", 426, "not_websocket"),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 400, "malformed_request"),
        ("Version: 13", "Version: 8", 426, "websocket_version"),
        ("Sec-WebSocket-Key: ", "X-Key: ", 400, "malformed_request"),
        ("Host: localhost", "Hosts: localhost", 400, "malformed_request"),
        ("Host: localhost", "Host: a\r\nHost: b", 400, "malformed_request"),
        ("Host: localhost", "Host: a/b", 400, "malformed_request"),
        ("Host: localhost", "Host: localhost\r\nContent-Length: 4", 400, "malformed_request"),
        ("Host: localhost", "Host: localhost\r\nTransfer-Encoding: chunked", 400, "malformed_request"),
        ("Host: localhost", "Host: localhost\r\n folded", 400, "malformed_request"),
        ("Host: localhost", "Host : localhost", 400, "malformed_request"),
        ("Protocol: ocpp1.6", "Protocol: \xf6cpp", 400, "malformed_request"),
    ],
)
def test_each_kind_of_bad_request_has_its_answer(line: str, instead: str, status: int, reason: str) -> None:
    refused = refusal(request().replace(line.encode(), instead.encode("latin-1")))

    assert (refused.status, refused.reason) == (status, reason)
    assert refused.hint


@pytest.mark.parametrize(
    "line", ["Authorization : {}", "Authorization: {}\x00", "Authorization\r\n {}", "{}", "{}: x y\x00"]
)
def test_a_hint_has_nothing_of_a_credential(line: str) -> None:
    credential = "Basic " + b64encode(b"CP-1:secret").decode()
    hint = refusal(request(extra=[line.format(credential)])).hint
    assert isinstance(hint, str)

    assert credential[6:] not in hint
    assert ("Authorization" in hint) == line.startswith(("Authorization :", "Authorization:"))


def test_the_answers_to_a_plain_get_and_to_an_old_draft_say_what_is_spoken_here() -> None:
    assert ("Upgrade", "websocket") in refusal(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").headers
    assert ("Sec-WebSocket-Version", "13") in refusal(request().replace(b"Version: 13", b"Version: 8")).headers
    assert ("Allow", "GET") in refusal(request(method="POST")).headers


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda junk: request().replace(b"localhost", junk)))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    end = end_of_head(data)
    if end is not None:
        with suppress(Refused):
            parse_head(data[:end])


@pytest.mark.parametrize(
    ("line", "instead", "word"),
    [
        ("Upgrade: websocket\r\n", "", "proxy on the way"),
        ("HTTP/1.1", "HTTP/1.0", "proxy_http_version"),
        ("GET /ocpp/CP-1", "GET /ocpp/CP 1", "%20"),
    ],
)
def test_a_hint_says_what_to_change(line: str, instead: str, word: str) -> None:
    hint = refusal(request().replace(line.encode(), instead.encode())).hint

    assert isinstance(hint, str)
    assert word in hint


@pytest.mark.parametrize("line", ["", "Connection: keep-alive\r\n", "Connection: Upgraded\r\n"])
def test_a_connection_header_that_does_not_say_upgrade_is_noted(line: str) -> None:
    assert parse_head(request().replace(b"Connection: Upgrade\r\n", line.encode())).lacks_upgrade


@pytest.mark.parametrize("line", ["keep-alive, Upgrade", "keep-alive,upgrade", "close\r\nconnection: UPGRADE"])
def test_a_connection_header_may_say_more(line: str) -> None:
    head = request().replace(b"Connection: Upgrade", b"CONNECTION:" + line.encode())

    assert not parse_head(head).lacks_upgrade


NAMES = ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Content-Length", "X-A", "Authorization", "Via"]
names = st.sampled_from(NAMES) | st.sampled_from([name.lower() for name in NAMES])
values = st.text("aA1:,;= \t\xe9\x80\x7f\x0b\x00\r", max_size=12) | st.sampled_from(["0", "4", "keep-alive", "Upgrade"])
spaces = st.sampled_from(["", " ", "\t", "  "])
lines = st.builds("{}{}:{}{}{}".format, names, spaces, spaces, values, spaces) | st.text("aA: \t\r", max_size=6)


@given(
    st.lists(lines, max_size=4),
    st.sampled_from(["/ocpp/CP-1", "/ocpp/%C3%A4?q=%", "*", "ws://h/ocpp/1", "/\x7f", "/ /"]),
    st.sampled_from(["\r\n", "\n"]),
)
def test_what_is_accepted_here_is_http(extra: list[str], target: str, newline: str) -> None:
    """What a strict parser refuses, or reads otherwise, must not come in: there may be such a one in front."""
    data = request(target, extra=extra).replace(b"\r\n", newline.encode())
    end = end_of_head(data)
    assert end is not None
    try:
        head = parse_head(data[:end])
    except Refused:
        return
    strict = h11.Connection(h11.SERVER)
    strict.receive_data(data[:end])
    found = strict.next_event()

    assert isinstance(found, h11.Request)
    headers = found.headers
    assert found.target == head.target.encode()
    assert [value for name, value in headers if name == b"sec-websocket-key"] == [head.key]
    assert [value for name, value in headers if name == b"host"] == [head.host.encode()]
    assert [value for name, value in headers if name == b"authorization"] == [head.authorization] * bool(
        head.authorization is not None
    )
    assert isinstance(strict.next_event(), h11.EndOfMessage)


@given(
    st.binary(max_size=40), st.sampled_from([b"localhost", b"Upgrade", b"13", b"ocpp1.6", b"GET", b"dGhl", b"/ocpp"])
)
def test_what_is_written_anew_the_library_accepts(junk: bytes, place: bytes) -> None:
    data = request().replace(place, junk, 1)
    end = end_of_head(data)
    reception = Reception(Manners(admit=AnyStation(), path="/ocpp"), "192.0.2.1")
    if end is None:
        return
    try:
        reception.receive(data[:end])
    except Refused:
        return
    library = WSConnection(ConnectionType.SERVER)
    library.receive_data(reception.plain_head())
    asked = next(iter(library.events()))

    assert isinstance(asked, Request)
    assert tuple(asked.subprotocols) == parse_head(data[:end]).offered


def test_a_head_ends_with_an_empty_line() -> None:
    assert end_of_head(b"GET / HTTP/1.1\r\nHost: x\r\n") is None
    assert end_of_head(request() + b"early") == len(request())
    assert end_of_head(b"GET / HTTP/1.1\nHost: x\n\nearly") == 24


@pytest.mark.parametrize("filling", [b" ", b"\t ", b"a", b": ", b"\nA:b"])
@pytest.mark.parametrize("end", [b"", b"\0", b"\x0b:"])
def test_a_head_costs_no_more_than_its_length(filling: bytes, end: bytes) -> None:
    """A pattern that goes back over what it has read would need hours for this: the alarm is there for that alone."""

    def too_long(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    try:
        with suppress(Refused):
            parse_head(request(extra=["X:{}"]).replace(b"{}", filling * 1_000_000 + end))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@given(st.lists(st.integers(1, 60), max_size=30), st.sampled_from([b"\r\n", b"\n"]))
def test_a_head_may_come_in_any_pieces(sizes: list[int], newline: bytes) -> None:
    data = request(extra=["Authorization: Basic Q1AtMTp4"]).replace(b"\r\n", newline) + b"early"
    reception = Reception(Manners(admit=AnyStation(), path="/ocpp"), "192.0.2.1")
    at, knock = 0, None
    for size in [*sizes, len(data)]:
        knock = reception.receive(data[at : at + size])
        at += size
        if knock is not None:
            break

    assert knock is not None
    assert (knock.station, knock.password) == ("CP-1", b"x")
    assert b"early".startswith(reception.early)


@pytest.mark.parametrize("first", [b"G", b"\r\n", b"PROX", b"\0"])
def test_nothing_is_decided_before_the_head_is_whole(first: bytes) -> None:
    reception = Reception(Manners(admit=AnyStation(), path="/ocpp"), "192.0.2.1")

    assert reception.receive(first) is None


@pytest.mark.parametrize(
    ("fragment", "late", "status", "reason"),
    [
        (b"", True, 408, "handshake_timeout"),
        (b"G", True, 408, "handshake_timeout"),
        (b"GET /ocpp/CP-1 HT", False, 400, "incomplete_request"),
        (b"\x16\x03\x01\x02", True, 400, "tls_on_plain_port"),
        (b"\x00\x01garbage", True, 400, "malformed_request"),
    ],
)
def test_a_head_that_never_became_whole_is_told_by_what_there_is(
    fragment: bytes, late: bool, status: int, reason: str
) -> None:
    refused = refuse_fragment(fragment, late=late)

    assert (refused.status, refused.reason) == (status, reason)


# --- subprotocols and answers -----------------------------------------------------------------------------------------


def test_the_stations_order_of_preference_decides() -> None:
    assert choose(["ocpp1.5", "ocpp2.0.1", "ocpp2.1", "ocpp1.6"], None) == "ocpp2.0.1"
    assert choose(["ocpp2.1", "ocpp1.6"], "ocpp1.6") == "ocpp2.1"


def test_a_default_is_for_who_offers_nothing_at_all() -> None:
    assert choose([], "ocpp1.6") == "ocpp1.6"
    assert choose([], None) is None
    assert choose(["mqtt"], "ocpp1.6") is None


@pytest.mark.parametrize("offer", ["OCPP1.6", "Ocpp1.6", "ocpp1.6"])
def test_capitals_do_not_matter_and_the_answer_names_it_as_it_was_offered(offer: str) -> None:
    assert choose(["ocpp1.5", offer], None) == "ocpp1.6"
    assert as_offered(["ocpp1.5", offer], "ocpp1.6") == offer


def test_a_lenient_eye_takes_foreign_offers_for_none() -> None:
    assert choose(["ocpp1.5"], "ocpp1.6", lenient=True) == "ocpp1.6"
    assert choose(["ocpp1.5"], None, lenient=True) is None
    assert as_offered(["ocpp1.5"], "ocpp1.6") is None


@pytest.mark.parametrize(
    ("offered", "word"),
    [
        (["ocpp16"], "ocpp1.6 seems to be meant"),
        (["OCPP-J2.0.1"], "ocpp2.0.1 seems to be meant"),
        (["ocpp2.0"], "withdrawn"),
        (["ocpp1.2", "ocpp1.5"], "old version"),
        (["soap"], "it offers soap"),
        ([], "register the one"),
    ],
)
def test_a_hint_says_which_subprotocol_may_be_meant(offered: list[str], word: str) -> None:
    assert word in why_none(offered)


def test_a_long_offer_is_not_told_whole() -> None:
    assert len(why_none(["x" * 5_000])) < 300


# --- what a registration forgives -------------------------------------------------------------------------------------


def answered(answer: Welcome | Refusal, *extra: str, drop: str = "", **request_: str) -> Guest:
    manners = Manners(admit=AnyStation(), path="/ocpp", origins=("https://pages.example",))
    reception = Reception(manners, "192.0.2.1")
    reception.receive(request(extra=extra, **request_).replace(drop.encode(), b""))
    return reception.answered(answer)


def refused(answer: Welcome | Refusal, *extra: str, drop: str = "", **request_: str) -> Refused:
    with pytest.raises(Refused) as caught:
        answered(answer, *extra, drop=drop, **request_)
    return caught.value


def test_a_missing_upgrade_is_refused_unless_it_is_forgiven() -> None:
    drop = "Connection: Upgrade\r\n"
    turned_away = refused(Welcome(station="CP-1"), drop=drop)

    assert (turned_away.status, turned_away.reason) == (426, "not_websocket")
    assert answered(Welcome(station="CP-1", lenient=("upgrade",)), drop=drop).subprotocol == "ocpp1.6"


def test_foreign_subprotocols_are_refused_unless_they_are_forgiven() -> None:
    turned_away = refused(Welcome(station="CP-1", protocol="ocpp1.6"), subprotocol="ocpp1.5")
    guest = answered(Welcome(station="CP-1", protocol="ocpp1.6", lenient=("subprotocol",)), subprotocol="ocpp1.5")

    assert (turned_away.status, turned_away.reason) == (101, "no_subprotocol")
    assert (guest.subprotocol, guest.arrival.subprotocol) == (None, "ocpp1.6")


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://LOCALHOST:8443/",
        "ws://localhost/ocpp",
        "localhost",
        "file://",
        "https://pages.example",
    ],
)
def test_who_is_at_home_may_send_an_origin(origin: str) -> None:
    answered(Welcome(station="CP-1"), f"Origin: {origin}")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "https://pages.example:81"]
)
def test_a_foreign_origin_is_refused_unless_it_is_forgiven(origin: str) -> None:
    turned_away = refused(Welcome(station="CP-1"), f"Origin: {origin}")

    assert (turned_away.status, turned_away.reason) == (403, "foreign_origin")
    answered(Welcome(station="CP-1", lenient=("origin",)), f"Origin: {origin}")


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        ("http://[2001:db8::1]:80", "[2001:db8::1]:9000", False),
        ("http://[2001:db8::1]", "[2001:db8::2]", True),
        ("http://192.0.2.1", "192.0.2.1:9000", False),
        ("http://192.0.2.1", "", True),
    ],
)
def test_ports_do_not_make_an_origin_foreign(origin: str, host: str, foreign: bool) -> None:
    assert is_foreign(origin, host, ()) == foreign


@pytest.mark.parametrize(("path", "word"), [("/ocpp/RDAM%2520123", "twice"), ("/ocpp/CP-1%20", "white space")])
def test_an_unknown_id_that_looks_odd_is_told_to_be(path: str, word: str) -> None:
    manners = Manners(admit=AnyStation(), path="/ocpp")
    reception = Reception(manners, "192.0.2.1")
    reception.receive(request(path))
    with pytest.raises(Refused) as caught:
        reception.answered(Refusal(status=404, reason="unknown_station", hint=lambda: "register it"))
    hint = caught.value.hint

    assert callable(hint)
    assert word in hint()
    assert hint().endswith("; register it")


# --- answers ----------------------------------------------------------------------------------------------------------


def test_answers_are_complete_http() -> None:
    assert response(503, retry_after(2.1, chance=lambda: 0.0)) == (
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert response(499).startswith(b"HTTP/1.1 499 \r\n")


@given(st.floats(0, 1e5), st.floats(0, 1))
def test_who_is_told_to_come_again_is_never_told_too_soon_and_not_all_are_told_the_same(
    seconds: float, chance: float
) -> None:
    ((name, value),) = retry_after(seconds, chance=lambda: chance)
    ((_, exact),) = retry_after(seconds, stray=0.0, chance=lambda: chance)

    assert name == "Retry-After"
    assert max(1, seconds) <= int(exact) <= int(value) <= max(1, 2 * seconds + 1)
    assert len({retry_after(30.0) for _ in range(100)}) > 10


def test_a_failed_tls_handshake_is_explained() -> None:
    error = ssl.SSLError(1, "http request")
    error.reason = "HTTP_REQUEST"

    assert "use wss://" in str(refuse_tls(error).hint)
    assert refuse_tls(ConnectionResetError(104, "Connection reset by peer")).reason == "tls_failed"

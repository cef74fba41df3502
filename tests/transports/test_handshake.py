"""The opening handshake as bytes."""

from __future__ import annotations

import ssl
from base64 import b64encode
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_station import request
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request
from wsproto.utilities import RemoteProtocolError

from stationkeeper.transports.handshake.answers import Refused, refuse_fragment, refuse_tls, response, retry_after
from stationkeeper.transports.handshake.head import end_of_head, parse_head
from stationkeeper.transports.handshake.identity import MAX_ID, basic_credentials, station_of
from stationkeeper.transports.handshake.subprotocols import choose

ids = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"]), min_size=1, max_size=60
)


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
        ("Upgrade: websocket", "Accept: */*", 426, "not_websocket"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "not_websocket"),
        ("Connection: Upgrade", "Connection: keep-alive", 426, "not_websocket"),
        ("Version: 13", "Version: 8", 426, "websocket_version"),
        ("Sec-WebSocket-Key: ", "X-Key: ", 400, "malformed_request"),
        ("Host: localhost", "Hosts: localhost", 400, "malformed_request"),
        ("Host: localhost", "Host: a\r\nHost: b", 400, "malformed_request"),
        ("Host: localhost", "Host: xn--0", 400, "malformed_request"),
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


@given(
    st.lists(st.sampled_from(["X-A: b", "Via:  x ", "Connection: close, Upgrade", "Upgrade: WebSocket", "Z:\t\xff"])),
    st.sampled_from(["/ocpp/CP-1", "/ocpp/%C3%A4?q=%", "*", "ws://h/ocpp/1"]),
    st.sampled_from([b"\r\n", b"\n"]),
)
def test_what_is_accepted_here_the_library_accepts_as_well(extra: list[str], target: str, newline: bytes) -> None:
    data = request(target, extra=extra).replace(b"\r\n", newline)
    parse_head(data)
    library = WSConnection(ConnectionType.SERVER)
    library.receive_data(data)

    assert isinstance(next(iter(library.events())), Request)


@given(
    st.binary(max_size=40), st.sampled_from([b"localhost", b"Upgrade", b"13", b"ocpp1.6", b"GET", b"dGhl", b"/ocpp"])
)
def test_what_the_library_refuses_was_refused_here(junk: bytes, place: bytes) -> None:
    data = request().replace(place, junk, 1)
    end = end_of_head(data)
    if end is None:
        return
    try:
        WSConnection(ConnectionType.SERVER).receive_data(data[:end])
    except (RemoteProtocolError, UnicodeError):
        refusal(data[:end])


def test_a_head_ends_with_an_empty_line() -> None:
    assert end_of_head(b"GET / HTTP/1.1\r\nHost: x\r\n") is None
    assert end_of_head(request() + b"early") == len(request())
    assert end_of_head(b"GET / HTTP/1.1\nHost: x\n\nearly") == 24


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


# --- the station's id ------------------------------------------------------------------------------------------------


@given(ids)
def test_an_id_survives_percent_encoding(station: str) -> None:
    if len(station.encode()) <= MAX_ID:
        assert station_of("/ocpp/" + quote(station, safe=""), "/ocpp") == station


@pytest.mark.parametrize(
    ("target", "path", "station"),
    [
        ("/ocpp/RDAM%20123", "/ocpp", "RDAM 123"),
        ("/ocpp/RDAM%7C123", "/ocpp/", "RDAM|123"),
        ("/ocpp/CP-1/", "/ocpp", "CP-1"),
        ("/ocpp//CP-1", "/ocpp", "CP-1"),
        ("/ocpp/CP-1?token=x/y", "/ocpp", "CP-1"),
        ("/ocpp/a%2Fb", "/ocpp", "a/b"),
        ("/ocpp/a+b", "/ocpp", "a+b"),
        ("/ocpp/a%2525", "/ocpp", "a%25"),
        ("/ocpp/a:b", "/ocpp", "a:b"),
        ("ws://gateway.example:9000/ocpp/CP-1", "/ocpp", "CP-1"),
        ("/CP-1", "/", "CP-1"),
        ("/v1/tenant/CP-1", "/v1/tenant", "CP-1"),
    ],
)
def test_the_id_is_the_segment_behind_the_path(target: str, path: str, station: str) -> None:
    assert station_of(target, path) == station


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/ocpp/", 404, "unknown_station"),
        ("/ocpp", 404, "wrong_path"),
        ("/ocpp//", 404, "unknown_station"),
        ("/ocpp?CP-1", 404, "wrong_path"),
        ("/ocppx/CP-1", 404, "wrong_path"),
        ("/OCPP/CP-1", 404, "wrong_path"),
        ("/ocpp/1.6/CP-1", 404, "wrong_path"),
        ("*", 404, "wrong_path"),
        ("/ocpp/%zz", 400, "malformed_id"),
        ("/ocpp/100%", 400, "malformed_id"),
        ("/ocpp/%ff", 400, "malformed_id"),
        ("/ocpp/%00", 404, "unknown_station"),
        ("/ocpp/a%0D%0Ab", 404, "unknown_station"),
        ("/ocpp/" + "x" * 256, 404, "unknown_station"),
    ],
)
def test_what_can_be_no_id_is_refused(target: str, status: int, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        station_of(target, "/ocpp")

    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize(
    "target", ["/CP-1/secret", "/ocpp/CP-1/secret", "/CP-1:secret", "//secret", "secret", "/ocpp?secret"]
)
def test_of_a_wrong_path_no_more_is_told_than_where_to_connect(target: str) -> None:
    with pytest.raises(Refused) as caught:
        station_of(target, "/ocpp")

    assert "/ocpp/" in caught.value.hint
    assert "secret" not in caught.value.hint


# --- credentials ------------------------------------------------------------------------------------------------------


def basic(pair: bytes) -> bytes:
    return b"Basic " + b64encode(pair)


def test_the_example_of_the_specification() -> None:
    header = b"Basic QUwxMDAwOgABAgMEBQYH////////////////"  # OCPP-J 1.6, 6.2.2

    assert basic_credentials(header, "AL1000") == (b"AL1000", bytes(range(8)) + b"\xff" * 12, True)


@given(ids, st.binary(max_size=40))
def test_a_password_is_any_bytes_behind_the_id(station: str, password: bytes) -> None:
    assert basic_credentials(basic(station.encode() + b":" + password), station) == (station.encode(), password, True)


@given(ids, ids, st.binary(max_size=20))
def test_somebody_elses_user_name_is_told_apart(station: str, other: str, password: bytes) -> None:
    if not (other + ":").startswith(station + ":"):
        username, found, matches = basic_credentials(basic(other.encode() + b":" + password), station)

        assert (username, matches) == (other.encode().partition(b":")[0], False)
        assert found is not None
        assert found.endswith(password)


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Basic", b"Bearer Q1AtMTpzZWNyZXQ=", b"Basic !!!", b"Basic Q1AtMQ==", b"Basic Q1AtMTpzZWNyZXQ=\xff"],
)
def test_what_is_no_basic_header_gives_no_password(header: bytes | None) -> None:
    assert basic_credentials(header, "CP-1") == (None, None, False)


def test_case_of_the_scheme_and_missing_padding_are_borne() -> None:
    assert basic_credentials(b"bAsIc Q1AtMTpzZWNyZXQ", "CP-1") == (b"CP-1", b"secret", True)


def test_colons_on_both_sides_are_borne() -> None:
    assert basic_credentials(basic(b"a:b:c:d"), "a:b") == (b"a:b", b"c:d", True)


# --- subprotocols and answers -----------------------------------------------------------------------------------------


def test_the_stations_order_of_preference_decides() -> None:
    assert choose(["ocpp1.5", "ocpp2.0.1", "ocpp2.1", "ocpp1.6"], None) == "ocpp2.0.1"
    assert choose(["ocpp2.1", "ocpp1.6"], "ocpp1.6") == "ocpp2.1"


def test_a_default_is_for_who_offers_nothing_at_all() -> None:
    assert choose([], "ocpp1.6") == "ocpp1.6"
    assert choose([], None) is None
    assert choose(["mqtt"], "ocpp1.6") is None


def test_answers_are_complete_http() -> None:
    assert response(503, retry_after(2.1)) == (
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert response(499).startswith(b"HTTP/1.1 499 \r\n")


def test_a_failed_tls_handshake_is_explained() -> None:
    error = ssl.SSLError(1, "http request")
    error.reason = "HTTP_REQUEST"

    assert "use wss://" in refuse_tls(error).hint
    assert refuse_tls(ConnectionResetError(104, "Connection reset by peer")).reason == "tls_failed"

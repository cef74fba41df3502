"""Who a request says it comes from: paths as chargers are configured with, and Basic credentials."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.handshake.answers import Refused
from stationkeeper.transports.handshake.identity import MAX_ID, basic_credentials, odd_id, station_of

ids = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"]), min_size=1, max_size=60
)

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
        ("/OCPP/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/1.6/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/ocpp2.0.1/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/v16/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/1.6J/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/J/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/ocpp/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/CP-1/ocpp1.6", "/ocpp", "CP-1"),
        ("/ocpp/CP-1/CP-1", "/ocpp", "CP-1"),
        ("/ocpp/1.6/CP-1/CP-1/", "/ocpp", "CP-1"),
        ("/ocpp/1.6", "/ocpp", "1.6"),
        ("/ocpp/J/", "/ocpp", "J"),
        ("/ocpp/2.0.1/1.6", "/ocpp", "1.6"),
        ("//ocpp///CP-1//", "/ocpp", "CP-1"),
        ("/ocpp/CP-1", "/", "CP-1"),
        ("HTTP://gateway.example/ocpp/CP-1?", "/ocpp", "CP-1"),
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
        ("/OCPP/CP-1/CP-2", 404, "wrong_path"),
        ("/ocpp/CP-1/CP-2", 404, "wrong_path"),
        ("/ocpp/CP-1/CP-1/CP-1", 404, "wrong_path"),
        ("/ocpp/tenant/1.6/CP-1", 404, "wrong_path"),
        ("/ocpp%2FCP-1", 404, "wrong_path"),
        ("\\ocpp\\CP-1", 404, "wrong_path"),
        ("/CP-1", 404, "wrong_path"),
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

    assert "/ocpp/" in str(caught.value.hint)
    assert "secret" not in str(caught.value.hint)


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/CP-1", "left /ocpp/ out"),
        ("/ocpp%2FCP-1", "must not be written %2F"),
        ("\\ocpp\\CP-1", "backslashes"),
        ("/ocpp/a/b", "written %2F"),
        ("/elsewhere/CP-1", "another path"),
    ],
)
def test_a_hint_says_what_is_wrong_with_a_path(target: str, word: str) -> None:
    with pytest.raises(Refused) as caught:
        station_of(target, "/ocpp")

    assert word in str(caught.value.hint)


def test_a_path_without_the_prefix_is_understood_if_the_credentials_say_the_same() -> None:
    assert station_of("/CP-1", "/ocpp", basic(b"CP-1:secret")) == "CP-1"
    assert station_of("/1.6/CP%201/", "/ocpp", basic(b"CP 1:secret")) == "CP 1"
    for authorization in (basic(b"CP-2:secret"), basic(b"CP-1"), b"Bearer CP-1:", None):
        with pytest.raises(Refused):
            station_of("/CP-1", "/ocpp", authorization)


@pytest.mark.parametrize(
    ("station", "word"), [("RDAM%20123", "twice"), (" CP-1", "white space"), ("a\\b", "backslash")]
)
def test_what_is_odd_about_an_id_is_named(station: str, word: str) -> None:
    assert word in odd_id(station)


def test_a_plain_id_is_not_odd() -> None:
    assert odd_id("CP-1/7%") == ""


@given(st.text(max_size=30), st.sampled_from(["/", "/ocpp", "/a/b"]), st.binary(max_size=12))
def test_whatever_the_path_there_is_an_id_or_a_refusal(text: str, path: str, pair: bytes) -> None:
    for target in (text, quote(text), path + "/" + quote(text)):
        try:
            station = station_of(target, path, basic(pair))
        except Refused:
            continue
        assert station
        assert len(station.encode()) <= MAX_ID


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

"""Whom a receiver believes: what our sender and the reference library sign, and not one bit else."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message as EmailMessage
from typing import Any

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.receiver import BadMessage, Verifier
from stationkeeper.transports.webhooks.standard_webhooks import signed_headers

NOW = 1_790_000_000
SECRET, OLDER = b"0123456789abcdef01234567", b"fedcba9876543210fedcba98"
BODY = json.dumps(
    {
        "type": "chargestation.online",
        "timestamp": "2026-09-21T13:33:20.000000Z",
        "data": {"id": "Ladesäule 7", "version": 3, "online": True},
    }
).encode()
SEED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + b64encode(SEED.public_key().public_bytes_raw()).decode()


def whsec(secret: bytes) -> str:
    return "whsec_" + b64encode(secret).decode()


def verifier(*keys: str, **more: Any) -> Verifier:
    return Verifier(*(keys or (whsec(SECRET),)), now=lambda: NOW, **more)


def sent(*secrets: bytes, id: str = "msg_1", at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return dict(signed_headers(secrets or (SECRET,), id, at, body))


def signed_by_key(id: str = "msg_1", at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    signature = b64encode(SEED.sign(f"{id}.{at}.".encode() + body)).decode()
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": f"v1a,{signature}"}


def test_what_a_genuine_message_says_is_read() -> None:
    message = verifier().read(sent(), BODY)

    assert (message.id, message.type, message.flip) == ("msg_1", "chargestation.online", True)
    assert (message.station, message.version, message.online) == ("Ladesäule 7", 3, True)
    assert message.timestamp == datetime(2026, 9, 21, 13, 33, 20, tzinfo=UTC)
    assert message.data["version"] == 3
    assert hash(message) == hash(verifier().read(sent(), BODY))


@given(
    secret=st.binary(min_size=24, max_size=64),
    id=st.from_regex(r"msg_[a-z2-7]{26}", fullmatch=True),
    at=st.integers(0, 4_000_000_000),
    body=st.text(),
)
def test_it_agrees_with_the_reference_library(secret: bytes, id: str, at: int, body: str) -> None:
    theirs = standardwebhooks.Webhook(secret).sign(id, datetime.fromtimestamp(at, UTC), body)
    headers = {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": theirs}

    assert Verifier(whsec(secret), now=lambda: at).verify(headers, body.encode()) == id
    assert sent(secret, id=id, at=at, body=body.encode()) == headers


def test_any_of_several_secrets_and_keys_will_do() -> None:
    both = {**sent(OLDER), "webhook-signature": f"{signed_by_key()['webhook-signature']} v2,x {'v1,AAAA'}"}
    both["webhook-signature"] += " " + sent(OLDER)["webhook-signature"]

    assert verifier(whsec(SECRET), whsec(OLDER)).verify(sent(OLDER), BODY)
    assert verifier(whsec(SECRET)).verify(sent(OLDER, SECRET), BODY)
    assert verifier(PUBLIC).verify(signed_by_key(), BODY)
    assert verifier(whsec(SECRET), PUBLIC).verify(both, BODY)
    assert verifier(whsec(OLDER)).verify(both, BODY)
    for stranger in (verifier(whsec(SECRET)), verifier("whpk_" + b64encode(bytes(32)).decode())):
        with pytest.raises(BadMessage, match="none of the keys"):
            stranger.verify(both, BODY)


def test_a_signature_of_one_kind_is_no_signature_of_the_other() -> None:
    relabelled = sent()["webhook-signature"].replace("v1,", "v1a,")

    with pytest.raises(BadMessage, match="none of the keys"):
        verifier(whsec(SECRET), PUBLIC).verify({**sent(), "webhook-signature": relabelled}, BODY)


@given(data=st.data(), by_key=st.booleans())
def test_no_bit_can_be_flipped(data: st.DataObject, by_key: bool) -> None:
    headers = signed_by_key() if by_key else sent()
    names = ["", *headers]
    name = data.draw(st.sampled_from(names))
    plain = bytearray(BODY if not name else headers[name].encode())
    bit = data.draw(st.integers(0, len(plain) * 8 - 1))
    plain[bit // 8] ^= 1 << bit % 8
    body = BODY if name else bytes(plain)
    changed = {**headers, name: plain.decode("latin-1")} if name else headers

    with pytest.raises(BadMessage):
        verifier(whsec(SECRET), PUBLIC).verify(changed, body)


def test_no_bit_of_the_last_letter_of_a_signature_can_be_flipped_although_base64_would_not_mind() -> None:
    for headers in (sent(), signed_by_key()):
        signature = headers["webhook-signature"]
        at = len(signature.rstrip("=")) - 1
        others = [signature[:at] + letter + signature[at + 1 :] for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh01/+"]
        for other in others:
            if other != signature:
                with pytest.raises(BadMessage):
                    verifier(whsec(SECRET), PUBLIC).verify({**headers, "webhook-signature": other}, BODY)


@pytest.mark.parametrize(("age", "good"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_a_timestamp_may_be_so_old_and_no_older(age: int, good: bool) -> None:
    if good:
        assert verifier().verify(sent(at=NOW - age), BODY)
    else:
        with pytest.raises(BadMessage, match="301 s"):
            verifier().verify(sent(at=NOW - age), BODY)


def test_the_tolerance_is_a_setting_and_nonsense_tolerates_nothing() -> None:
    assert verifier(tolerance=1000).verify(sent(at=NOW - 900), BODY)
    with pytest.raises(BadMessage):
        verifier(tolerance=float("nan")).verify(sent(), BODY)


class Titled(EmailMessage):
    """What `http.server` hands on: headers of any case, and no mapping by its type."""


def test_headers_may_be_any_mapping_in_any_case() -> None:
    titled = Titled()
    for name, value in sent().items():
        titled[name.title()] = value

    assert verifier().verify(titled, BODY)
    assert verifier().verify({name.upper(): value for name, value in sent().items()}, BODY)
    assert verifier().verify({name.encode(): value.encode() for name, value in sent().items()}, memoryview(BODY))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"webhook-id": None}, "no header webhook-id"),
        ({"webhook-timestamp": None}, "no header webhook-timestamp"),
        ({"webhook-signature": None}, "no header webhook-signature"),
        ({"Webhook-ID": "msg_2"}, "2 headers webhook-id"),
        ({"webhook-id": "msg.1"}, "full stop"),
        ({"webhook-id": "Größe"}, "not ASCII"),
        ({"webhook-id": "\udc80"}, "not ASCII"),
        ({"webhook-id": 7}, "not ASCII"),
        ({"webhook-signature": ""}, "webhook-signature is empty"),
        ({"webhook-signature": b""}, "webhook-signature is empty"),
        ({"webhook-timestamp": "soon"}, "no number of seconds"),
        ({"webhook-timestamp": "-5"}, "no number of seconds"),
        ({"webhook-timestamp": "9" * 5000}, "no number of seconds"),
        ({"webhook-signature": "v1,!!!"}, "none of the keys"),
        ({"webhook-signature": "v1a,!!!"}, "none of the keys"),
        ({"webhook-signature": "v1"}, "none of the keys"),
        ({"webhook-signature": "v1a,x " * 17}, "more than 16"),
    ],
)
def test_what_is_wrong_is_said(changed: Mapping[str, Any], why: str) -> None:
    headers = {name: value for name, value in {**sent(), **changed}.items() if value is not None}

    with pytest.raises(BadMessage, match=why):
        verifier(whsec(SECRET), PUBLIC).verify(headers, BODY)


class Odd:
    """Has items that are no pairs."""

    def __init__(self, *items: Any) -> None:
        self.items = lambda: items


@pytest.mark.parametrize("headers", [Odd(1), Odd("x"), Odd((1, 2, 3)), None, [], "webhook-id"])
def test_headers_that_are_none_are_a_bad_message(headers: Any) -> None:
    with pytest.raises(BadMessage, match="no mapping"):
        verifier().verify(headers, BODY)


def test_a_parsed_body_is_not_what_came() -> None:
    others: list[Any] = [BODY.decode(), json.loads(BODY), None]
    for body in others:
        with pytest.raises(BadMessage, match="not bytes"):
            verifier().verify(sent(), body)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(("webhook-id", "Webhook-Timestamp", b"webhook-signature")) | ANYTHING.filter(
    lambda value: getattr(value, "__hash__", None) is not None
)
SIGNATURES = st.lists(
    st.sampled_from(("v1,", "v1a,", "v1", ",", "v1a,\udcff", sent()["webhook-signature"])) | st.text(max_size=5)
).map(" ".join)


@given(
    headers=st.dictionaries(NAMES, SIGNATURES | st.sampled_from((str(NOW), NOW, "msg_1")) | ANYTHING) | ANYTHING,
    body=st.binary() | ANYTHING,
)
def test_whatever_a_stranger_sends_is_a_bad_message_and_nothing_else(headers: Any, body: Any) -> None:
    with pytest.raises(BadMessage):
        verifier(whsec(SECRET), PUBLIC).read(headers, body)


@pytest.mark.parametrize("keys", [(), ("secret",), ("whsec_",), ("whsec_$",), ("whpk_AAAA",), ("whsk_AAAA",)])
def test_a_key_that_is_none_is_found_at_the_start(keys: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"whsec|whpk|base64|32|key"):
        Verifier(*keys)


@pytest.mark.parametrize("given", [None, 7, b"whsec_x", [whsec(SECRET), PUBLIC]])
def test_what_is_no_text_is_no_key_and_how_several_are_given_is_said(given: Any) -> None:
    with pytest.raises(TypeError, match=r"one by one: Verifier\(first, second\)"):
        Verifier(given)

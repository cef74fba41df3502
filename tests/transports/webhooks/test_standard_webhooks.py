"""Signatures, against the specification's reference library, and where that knows none, against another Ed25519."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import aclosing
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
import standardwebhooks
from attrs import evolve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from receiving import BODY, OK, OLDER, SECRET, Request, answering, attempt_at, receiving, sender

from stationkeeper.transports.webhooks.standard_webhooks import public_key, signature, signatures, signed_headers

SEED, OLDER_SEED = bytes(range(32)), bytes(range(32, 64))
SECRETS = st.binary(min_size=24, max_size=64)
SEEDS = st.binary(min_size=32, max_size=32)
MESSAGES = st.from_regex(r"msg_[a-z2-7]{26}", fullmatch=True)


def verified_by(public: str, header: str, signed: bytes) -> list[str]:
    """Return the signatures of a header that a receiver with this public key would believe."""
    key = Ed25519PublicKey.from_public_bytes(b64decode(public.removeprefix("whpk_")))
    good = []
    for one in header.split(" "):
        version, _, value = one.partition(",")
        if version == "v1a":
            try:
                key.verify(b64decode(value, validate=True), signed)
            except InvalidSignature:
                continue
            good.append(one)
    return good


# --- what is computed ------------------------------------------------------------------------------------------------


@given(
    secret=SECRETS,
    message=MESSAGES,
    at=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    body=st.text(),
)
def test_signatures_are_those_of_the_reference_library(secret: bytes, message: str, at: datetime, body: str) -> None:
    at = at.replace(tzinfo=UTC)
    theirs = standardwebhooks.Webhook(b64encode(secret).decode()).sign(message, at, body)

    assert signature(secret, message, int(at.timestamp()), body.encode()) == theirs
    assert signatures([secret], [], message, int(at.timestamp()), body.encode()) == theirs.encode()


@given(seed=SEEDS, other=SEEDS, message=MESSAGES, at=st.integers(0, 2**33), body=st.binary())
def test_a_receiver_with_the_public_key_believes_ours_alone(
    seed: bytes, other: bytes, message: str, at: int, body: bytes
) -> None:
    header = signatures([], [seed], message, at, body).decode()
    signed = f"{message}.{at}.".encode() + body

    assert verified_by(public_key(seed), header, signed) == [header]
    assert verified_by(public_key(seed), header, signed + b" ") == []
    assert seed == other or verified_by(public_key(other), header, signed) == []


def test_a_key_is_shown_as_the_specification_shows_it() -> None:
    """The first key pair of RFC 8032, 7.1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    assert public_key(seed) == "whpk_" + b64encode(public).decode()


def test_each_secret_and_each_key_signs_newest_first() -> None:
    header = signatures([b"new", b"old"], [SEED, OLDER_SEED], "msg_1", 5, b"{}").decode().split(" ")

    assert header[:2] == [signature(b"new", "msg_1", 5, b"{}"), signature(b"old", "msg_1", 5, b"{}")]
    assert verified_by(public_key(SEED), " ".join(header), b"msg_1.5.{}") == [header[2]]
    assert verified_by(public_key(OLDER_SEED), " ".join(header), b"msg_1.5.{}") == [header[3]]
    assert len(header) == 4


def test_without_a_secret_or_key_there_are_no_headers() -> None:
    with pytest.raises(ValueError, match="unsigned"):
        signed_headers([], "msg_1", 5, b"{}")


def test_an_id_that_would_make_the_signature_ambiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="full stop"):
        signed_headers([b"s"], "msg.1", 5, b"{}")


def test_what_is_no_seed_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 5") as refusal:
        signatures([], [b"12345"], "msg_1", 5, b"{}")
    assert "12345" not in str(refusal.value)


# --- what went over a socket -----------------------------------------------------------------------------------------


async def test_whoever_knows_one_of_all_that_sign_believes_what_arrives() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, aclosing(sender()) as sending:
        attempt = evolve(attempt_at(receiver.url), secrets=(SECRET, OLDER), keys=(SEED, OLDER_SEED))
        assert (await sending.send(attempt)).accepted
    (request,) = requests
    header, signed = request.headers["webhook-signature"], f"msg_1.{attempt.at}.".encode() + request.body

    for secret in (SECRET, OLDER):
        webhook = standardwebhooks.Webhook("whsec_" + b64encode(secret).decode())
        assert webhook.verify(request.body, request.headers) == json.loads(BODY)
    for seed in (SEED, OLDER_SEED):
        assert len(verified_by(public_key(seed), header, signed)) == 1
    assert len(header.split(" ")) == 4


async def test_a_webhook_may_be_signed_by_a_key_alone() -> None:
    requests: list[Request] = []
    async with receiving(answering(OK, requests)) as receiver, aclosing(sender()) as sending:
        attempt = evolve(attempt_at(receiver.url), secrets=(), keys=(SEED,))
        assert (await sending.send(attempt)).accepted
    header = requests[0].headers["webhook-signature"]

    assert verified_by(public_key(SEED), header, f"msg_1.{attempt.at}.".encode() + BODY) == [header]
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(b64encode(SECRET).decode()).verify(requests[0].body, requests[0].headers)

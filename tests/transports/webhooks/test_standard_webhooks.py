"""Signatures, against the specification's reference library."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
import standardwebhooks
from hypothesis import given

from stationkeeper.transports.webhooks.standard_webhooks import signature, signed_headers


@given(
    secret=st.binary(min_size=24, max_size=64),
    message=st.from_regex(r"msg_[a-z2-7]{26}", fullmatch=True),
    at=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    body=st.text(),
)
def test_signatures_are_those_of_the_reference_library(secret: bytes, message: str, at: datetime, body: str) -> None:
    at = at.replace(tzinfo=UTC)
    theirs = standardwebhooks.Webhook(b64encode(secret).decode()).sign(message, at, body)

    assert signature(secret, message, int(at.timestamp()), body.encode()) == theirs


def test_each_secret_signs_newest_first() -> None:
    headers = dict(signed_headers([b"new", b"old"], "msg_1", 5, b"{}"))

    assert headers["webhook-signature"].split() == [
        signature(b"new", "msg_1", 5, b"{}"),
        signature(b"old", "msg_1", 5, b"{}"),
    ]


def test_without_a_secret_there_are_no_headers() -> None:
    with pytest.raises(ValueError, match="unsigned"):
        signed_headers([], "msg_1", 5, b"{}")


def test_an_id_that_would_make_the_signature_ambiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="full stop"):
        signed_headers([b"s"], "msg.1", 5, b"{}")

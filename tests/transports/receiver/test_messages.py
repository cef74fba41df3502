"""What a body says, in either format; and that nonsense is a bad message."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.receiver import BadMessage, read_body

STATION = {"id": "CP-7", "version": 2, "online": False}
STANDARD = {"type": "chargestation.offline", "timestamp": "2026-11-22T09:15:00.000000Z", "data": STATION}
EVENT = {
    "specversion": "1.0",
    "id": "msg_1",
    "source": "/chargestations/CP-7",
    "type": "chargestation.offline",
    "subject": "CP-7",
    "time": "2026-11-22T09:15:00.000000Z",
    "datacontenttype": "application/json",
    "sequence": "00000000000000000002",
    "data": STATION,
}


def test_both_formats_say_the_same() -> None:
    assert read_body("msg_1", json.dumps(STANDARD).encode()) == read_body("msg_1", json.dumps(EVENT).encode())


def test_a_message_about_no_station_has_no_version() -> None:
    ping = {**STANDARD, "type": "webhook.ping", "data": {"id": "wh_1"}}
    message = read_body("msg_1", json.dumps(ping).encode())

    assert (message.station, message.version, message.online, message.flip) == (None, None, None, False)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (json.dumps(STANDARD).encode("utf-16"), "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        ({**STANDARD, "type": 3}, "`type`"),
        ({**STANDARD, "timestamp": "yesterday"}, "no time"),
        ({**STANDARD, "timestamp": "2026-11-22T09:15:00"}, "no zone"),
        ({**STANDARD, "data": None}, "`data`"),
        ({**STANDARD, "data": {**STATION, "id": "\ud800"}}, "Unicode"),
        ({**STANDARD, "data": {**STATION, "version": True}}, "`version`"),
        ({**STANDARD, "data": {**STATION, "version": -1}}, "`version`"),
        ({**STANDARD, "data": {**STATION, "version": 2**63}}, "`version`"),
        ({**STANDARD, "data": {**STATION, "version": 2.0}}, "`version`"),
        ({**STANDARD, "data": {**STATION, "online": 0}}, "`online`"),
        ({**STANDARD, "data": {**STATION, "online": True}}, "otherwise"),
        ({**EVENT, "id": "msg_2"}, "another id"),
    ],
)
def test_nonsense_is_a_bad_message(body: bytes | dict[str, Any], why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        read_body("msg_1", body if isinstance(body, bytes) else json.dumps(body).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("chargestation.online"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from((*EVENT, *STATION)), inner),
    max_leaves=8,
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_message_or_a_bad_one(body: bytes) -> None:
    with suppress(BadMessage):
        assert read_body("msg_1", body).type


def test_the_library_brings_in_no_event_loop_and_nothing_of_the_daemon() -> None:
    code = (
        "import stationkeeper.transports.receiver as receiver\n"
        "[getattr(receiver, name) for name in dir(receiver)]\n"
        "import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    strangers = {"trio", "h11", "wsproto", "websockets", "fastapi", "pysqlite3", "stationkeeper.daemon", "asyncio"}
    assert not set(done.stdout.split()) & {*strangers, "stationkeeper.projections", "stationkeeper.engine.log"}


def test_checking_a_signature_needs_no_more_than_the_standard_library_and_attrs() -> None:
    code = "from stationkeeper.transports.receiver import Verifier, Order\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert not set(done.stdout.split()) & {"cryptography", "msgspec", "sqlite3", "stationkeeper.engine"}

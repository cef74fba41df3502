"""The receiver: what it believes, what it holds against a sender, and how it fails on purpose.

Messages are signed by the library of Standard Webhooks, not by us.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from urllib.parse import urlsplit

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from stationkeeper.daemon.simulation.receiver import Fault, Receiver, Told, Untrusted, verify
from stationkeeper.daemon.simulation.station import wall

SECRET = "whsec_" + "c2VjcmV0" * 4
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def message(version: int, *, station: str = "CP-1", kind: str = "chargestation.online") -> bytes:
    return json.dumps({"type": kind, "timestamp": "", "data": {"id": station, "version": version}}).encode()


def signed(id: str, body: bytes, *, at: datetime = NOW, secret: str = SECRET) -> dict[str, str]:
    signature = Webhook(secret).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def test_what_the_library_signs_is_believed() -> None:
    body = message(1)

    assert verify(SECRET, signed("msg_1", body), body, now=NOW.timestamp()) == "msg_1"


def test_one_right_signature_among_several_is_enough() -> None:
    body = message(1)
    headers = signed("msg_1", body)
    other = signed("msg_1", body, secret="whsec_" + "b3RoZXIh" * 4)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,AAAA {other} {headers['webhook-signature']}"

    assert verify(SECRET, headers, body, now=NOW.timestamp()) == "msg_1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v2,AAAA"},
    ],
)
def test_what_was_tampered_with_is_not(change: dict[str, str]) -> None:
    body = message(1)

    with pytest.raises(Untrusted):
        verify(SECRET, signed("msg_1", body) | change, body, now=NOW.timestamp())


@given(st.binary(), st.dictionaries(st.sampled_from(sorted(signed("m", b"x"))), st.text()))
def test_nothing_else_ever_leaves_it(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(Untrusted):
        verify(SECRET, headers, body, now=NOW.timestamp())


@pytest.mark.parametrize(("seconds", "believed"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_old_and_early_messages_are_not_believed(seconds: int, believed: bool) -> None:
    body = message(1)
    headers = signed("msg_1", body, at=NOW + timedelta(seconds=seconds))

    if believed:
        assert verify(SECRET, headers, body, now=NOW.timestamp())
    else:
        with pytest.raises(Untrusted):
            verify(SECRET, headers, body, now=NOW.timestamp())


@given(st.lists(st.integers(1, 6), max_size=12))
def test_only_versions_that_rise_by_one_are_no_trouble(versions: list[int]) -> None:
    told = Told()
    for number, version in enumerate(versions):
        told.take(f"msg_{number}", message(version), 0)

    rises = all(after == before + 1 for before, after in pairwise(versions))
    assert (not told.trouble) == rises
    assert not versions or told.latest["CP-1"].version == max(versions)


def test_an_id_that_comes_again_is_a_duplicate_or_a_changed_message() -> None:
    told = Told()
    told.take("msg_1", message(1), 0)
    told.take("msg_1", message(1), 0)
    told.take("msg_1", message(2), 0)

    assert told.trouble == {"duplicate": 1, "changed": 1}
    assert [receipt.version for receipt in told.receipts] == [1]


def test_other_types_do_not_count_for_the_order() -> None:
    told = Told()
    told.take("msg_1", message(2, kind="chargestation.offline"), 0)
    told.take("msg_2", message(2, kind="chargestation.offline.confirmed"), 0)
    told.take("msg_3", json.dumps({"type": "webhook.ping", "data": {}}).encode(), 0)

    assert not told.trouble
    assert [receipt.station for receipt in told.receipts] == ["CP-1", "CP-1", ""]


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"type": "chargestation.online", "data": {}}'])
def test_a_signed_body_that_makes_no_sense_is_malformed(body: bytes) -> None:
    told = Told()
    told.take("msg_1", body, 0)

    assert told.trouble == {"malformed": 1}


async def post(url: str, *bodies: bytes) -> list[int]:
    """Post messages on one connection, and return the statuses until the receiver ends it."""
    connection, statuses = h11.Connection(h11.CLIENT), list[int]()
    async with await trio.open_tcp_stream("127.0.0.1", urlsplit(url).port or 0) as stream:
        for number, body in enumerate(bodies):
            headers = signed(f"msg_{number}", body, at=datetime.fromtimestamp(wall() / 1e6, UTC))
            fields = [("Host", "here"), ("Content-Length", str(len(body))), *headers.items()]
            request = h11.Request(method="POST", target="/webhook", headers=fields)
            sent = [connection.send(part) or b"" for part in (request, h11.Data(data=body), h11.EndOfMessage())]
            await stream.send_all(b"".join(sent))
            while connection.their_state is not h11.DONE:
                data = bytes(await stream.receive_some(4096))
                if not data:
                    return statuses
                connection.receive_data(data)
                while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                    statuses += [event.status_code] if isinstance(event, h11.Response) else []
            connection.start_next_cycle()
    return statuses


async def test_messages_are_taken_over_one_connection(nursery: trio.Nursery) -> None:
    receiver = Receiver()
    receiver.trust(SECRET)
    url = await nursery.start(receiver.serve)

    assert await post(url, message(1), message(2, kind="chargestation.offline")) == [204, 204]
    assert receiver.told.latest["CP-1"].type == "chargestation.offline"
    nursery.cancel_scope.cancel()


async def test_a_wrong_secret_is_answered_401(nursery: trio.Nursery) -> None:
    receiver = Receiver()
    receiver.trust("whsec_" + "b3RoZXIh" * 4)
    url = await nursery.start(receiver.serve)

    assert await post(url, message(1)) == [401]
    assert receiver.told.trouble == {"unsigned": 1}
    assert not receiver.told.receipts
    nursery.cancel_scope.cancel()


async def test_without_a_secret_it_asks_to_come_again(nursery: trio.Nursery) -> None:
    receiver = Receiver()
    url = await nursery.start(receiver.serve)

    assert await post(url, message(1)) == [503]
    assert not receiver.told.trouble
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "statuses", "taken"), [("refuse", [503], 0), ("break off", [], 1), ("hang", None, 0)]
)
async def test_it_fails_on_purpose(nursery: trio.Nursery, fault: Fault, statuses: list[int] | None, taken: int) -> None:
    receiver = Receiver(failing=1, faults=(fault,), random=Random(1))
    receiver.trust(SECRET)
    url = await nursery.start(receiver.serve)
    answered: list[int] | None = None
    with trio.move_on_after(0.2):
        answered = await post(url, message(1))

    assert answered == statuses
    assert (len(receiver.told.receipts), receiver.told.faults) == (taken, {fault: 1})
    nursery.cancel_scope.cancel()

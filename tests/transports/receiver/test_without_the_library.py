"""The receiver that the page shows, without our library: it believes what is genuine, and nothing breaks it."""

from __future__ import annotations

import re
from base64 import b64encode
from email.message import Message
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.webhooks.standard_webhooks import signed_headers

PAGE = Path(__file__).parents[3] / "docs/how-to/receive-webhooks.md"
NOW = 1_790_000_000
SECRET, OTHER = b"0123456789abcdef01234567", b"fedcba9876543210fedcba98"
BODY = b'{"type": "chargestation.online"}'


@pytest.fixture(scope="module")
def shown() -> Any:
    """The page's own check of a signature, at a time of ours."""
    section = PAGE.read_text().partition("### Without the library")[2]
    block = re.search(r"^```python\n(.*?)^class ", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBHOOK_SECRET", "whsec_" + b64encode(SECRET).decode())
        exec(block[1], names)
        patch.setattr(names["time"], "time", lambda: float(NOW))
        yield names["is_genuine"]


def came(fields: dict[str, str | bytes]) -> Message:
    """Return headers as `http.server` hands them on."""
    lines = [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode())
        for name, value in fields.items()
    ]
    return parse_headers(BytesIO(b"\r\n".join([*lines, b"", b""])))


def sent(*secrets: bytes, at: int = NOW) -> dict[str, str | bytes]:
    return dict(signed_headers(secrets or (SECRET,), "msg_1", at, BODY))


def test_what_is_genuine_and_new_is_believed(shown: Any) -> None:
    assert shown(came(sent()), BODY)
    assert shown(came(sent(OTHER, SECRET)), BODY)
    assert shown(came(sent(at=NOW - 300)), BODY)


def test_what_is_forged_old_or_changed_is_not(shown: Any) -> None:
    assert not shown(came(sent(OTHER)), BODY)
    assert not shown(came(sent(at=NOW - 301)), BODY)
    assert not shown(came(sent(at=NOW + 301)), BODY)
    assert not shown(came(sent()), BODY + b" ")
    assert not shown(came({**sent(), "webhook-id": "msg_2"}), BODY)
    assert not shown(came({**sent(), "webhook-timestamp": str(NOW + 1)}), BODY)


def test_what_was_signed_cannot_be_parted_otherwise(shown: Any) -> None:
    body = BODY[:5] + b"." + BODY[5:]
    id, time, signature = (value for _, value in signed_headers((SECRET,), "msg_1", NOW, body))
    parted = {"webhook-id": id, "webhook-timestamp": f"{time}.{body[:5].decode()}", "webhook-signature": signature}

    assert not shown(came({**parted}), body[6:])


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(missing: str, shown: Any) -> None:
    assert not shown(came({name: value for name, value in sent().items() if name != missing}), BODY)


TIMES = st.sampled_from((str(NOW), "9" * 400, "9" * 5000, "-5", "1e9", "\u0663", "nan"))
SIGNATURES = st.lists(
    st.sampled_from((b"v1,", b"v1,\xc3\xa9", b"v1,\xff", b"v1a,x", b"v1")) | st.binary(max_size=5), max_size=4
).map(b" ".join)
# A line ends where the header does; what else a stranger may put into it is his.
VALUES = st.binary(max_size=20)


@given(
    fields=st.fixed_dictionaries(
        {"webhook-timestamp": TIMES | VALUES, "webhook-signature": SIGNATURES | VALUES},
        optional={"webhook-id": VALUES},
    ),
    body=st.binary(max_size=20),
)
def test_whatever_a_stranger_sends_is_not_genuine_and_breaks_nothing(
    fields: dict[str, str | bytes], body: bytes, shown: Any
) -> None:
    assert shown(came(fields), body) is False

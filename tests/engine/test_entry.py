"""The envelope and its leaf."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry, leaf, recorded
from stationkeeper.engine.events import StationRemoved


def plain_leaf(entry: Entry) -> str:
    """Compute a leaf as the ledger's rule says it (semantics 8), field by field."""
    digest = sha256(b"\x00")
    for text in (
        entry.id, str(entry.at), entry.kind, str(entry.schema), entry.subject, entry.gateway, entry.run, entry.actor
    ):  # fmt: skip
        digest.update(len(text.encode("utf-8")).to_bytes(4, "big") + text.encode("utf-8"))
    digest.update(len(entry.body).to_bytes(4, "big") + entry.body)
    digest.update(sha256(entry.salt + entry.private).digest())
    return digest.hexdigest()


def an_entry(**fields: object) -> Entry:
    entry = seal(StationRemoved(), id="a", at=5, subject="CP-1", gateway="g", run="r", actor="cli", private=b"addr")
    return replace(entry, **fields)


@given(
    texts=st.lists(st.text(), min_size=6, max_size=6),
    numbers=st.tuples(st.integers(0, 2**62), st.integers(1, 99)),
    body=st.binary(),
    private=st.binary(),
)
def test_the_leaf_is_what_the_rule_says(
    texts: list[str], numbers: tuple[int, int], body: bytes, private: bytes
) -> None:
    id, kind, subject, gateway, run, actor = texts
    salt = b"0123456789abcdef" if private else b""
    entry = Entry(id, numbers[0], kind, numbers[1], subject, gateway, run, actor, body, private, salt, b"", b"")

    assert leaf(entry).hex() == plain_leaf(entry)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "b"}, {"at": 6}, {"kind": "station.remove"}, {"schema": 2}, {"subject": "CP-2"}, {"gateway": "h"},
        {"run": "q"}, {"actor": ""}, {"body": b"{ }"}, {"private": b"addr."}, {"salt": b"\x00" * 16},
    ],
    ids=str,
)  # fmt: skip
def test_the_leaf_covers_every_field(change: dict[str, object]) -> None:
    entry = an_entry()

    assert leaf(replace(entry, **change)) != leaf(entry)


def test_bytes_cannot_move_from_one_field_to_the_next() -> None:
    assert leaf(an_entry(id="ab", subject="c")) != leaf(an_entry(id="a", subject="bc"))
    assert leaf(an_entry(gateway="", run="gr")) != leaf(an_entry(gateway="gr", run=""))


def test_the_leaf_holds_only_a_salted_digest_of_what_is_private() -> None:
    one, other = (seal(StationRemoved(), id="a", at=5, private=b"192.0.2.1") for _ in range(2))

    assert (len(one.salt), len(other.salt)) == (16, 16)
    assert one.salt != other.salt
    assert one.leaf != other.leaf


def test_nothing_private_needs_no_salt() -> None:
    entry = seal(StationRemoved(), id="a", at=5)

    assert (entry.private, entry.salt) == (b"", b"")


def test_a_recorded_entry_is_the_entry_at_a_position() -> None:
    entry = an_entry()

    assert asdict(recorded(entry, 7)) == {**asdict(entry), "position": 7}

"""The receiver as a witness: a log whose past was changed is found out."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import SigningKey
from stationkeeper.transports.receiver import BadMessage, Contradiction, Witness

ORIGIN = "stationkeeper/log1"
KEY = SigningKey(ORIGIN, bytes(range(32)))
ROOT, OTHER = b"r" * 32, b"o" * 32


def note(size: int, root: bytes = ROOT, *, origin: str = ORIGIN, key: SigningKey = KEY) -> bytes:
    return Checkpoint(origin, size, root).signed(key)


def carrying(note: bytes, at: int = 1000) -> dict[str, str]:
    return {"Stationkeeper-Checkpoint": b64encode(note).decode(), "Webhook-Timestamp": str(at)}


@pytest.fixture(params=["memory", "file"])
def witness(request: pytest.FixtureRequest, tmp_path: Path) -> Witness:
    return Witness(str(KEY.public), tmp_path / "checkpoint" if request.param == "file" else None)


def test_a_log_that_grows_is_believed(witness: Witness) -> None:
    sizes = [witness.see(carrying(note(size, bytes([size]) * 32), at)) for at, size in enumerate((3, 3, 5, 9))]

    assert sizes == [3, 3, 5, 9]
    assert witness.see({"webhook-timestamp": "5"}) is None


def test_two_logs_of_one_size_are_a_contradiction_and_both_notes_are_the_proof(witness: Witness) -> None:
    witness.see(carrying(note(5)))

    for _ in range(2):
        with pytest.raises(Contradiction, match="two logs of 5 events") as found:
            witness.see(carrying(note(5, OTHER)))
        assert (found.value.earlier, found.value.later) == (note(5), note(5, OTHER))
    assert witness.see(carrying(note(5))) == 5


def test_a_log_that_shrinks_is_a_contradiction(witness: Witness) -> None:
    witness.see(carrying(note(5), at=1000))

    with pytest.raises(Contradiction, match="had 5 events, and later 4"):
        witness.see(carrying(note(4), at=1011))
    assert witness.see(carrying(note(6), at=1012)) == 6


def test_a_message_that_was_overtaken_is_no_contradiction(witness: Witness) -> None:
    witness.see(carrying(note(5), at=1000))

    assert witness.see(carrying(note(4), at=999)) == 4
    assert witness.see(carrying(note(4), at=1010)) == 4
    with pytest.raises(Contradiction):
        witness.see(carrying(note(5, OTHER), at=1))


def test_after_a_change_of_keys_either_is_believed() -> None:
    newer = SigningKey(ORIGIN, bytes(32))
    witness = Witness(f"{KEY.public}\n{newer.public}\n")

    assert [witness.see(carrying(note(size, key=key))) for size, key in ((5, KEY), (6, newer))] == [5, 6]


def test_a_restart_forgets_nothing_and_the_file_is_a_note_for_verify(tmp_path: Path) -> None:
    Witness(str(KEY.public), tmp_path / "checkpoint").see(carrying(note(5), at=1000))

    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (tmp_path / "checkpoint").read_bytes() == note(5)
    with pytest.raises(Contradiction):
        Witness(str(KEY.public), tmp_path / "checkpoint").see(carrying(note(4), at=2000))


@pytest.mark.parametrize(
    "headers",
    [
        carrying(b""),
        carrying(b"no note"),
        carrying(note(5, key=SigningKey("stationkeeper/log2", bytes(range(32))))),
        carrying(note(5, key=SigningKey(ORIGIN, bytes(32)))),
        carrying(note(5, origin="stationkeeper/log2")),
        carrying(note(5).replace(b"\n5\n", b"\n6\n")),
        carrying(note(5)[:-30] + b"\n"),
        {**carrying(note(5)), "Stationkeeper-Checkpoint": "$"},
        {**carrying(note(5)), "Webhook-Timestamp": "soon"},
        {"Stationkeeper-Checkpoint": b64encode(note(5)).decode()},
        {**carrying(note(5)), "stationkeeper-checkpoint": "again"},
    ],
)
def test_what_the_log_did_not_sign_is_a_bad_message(headers: dict[str, str]) -> None:
    with pytest.raises(BadMessage):
        Witness(str(KEY.public)).see(headers)


@given(cut=st.integers(0, len(note(5))), middle=st.binary(max_size=8), end=st.integers(0, len(note(5))))
def test_whatever_stands_in_the_header_is_seen_or_a_bad_message(cut: int, middle: bytes, end: int) -> None:
    changed = note(5)[:cut] + middle + note(5)[end:]
    witness = Witness(str(KEY.public))
    witness.see(carrying(note(5)))
    try:
        assert witness.see(carrying(changed)) == 5
    except BadMessage:
        assert changed != note(5)


@pytest.mark.parametrize("key", ["", "name", str(KEY.public)[:-4], str(KEY.public).replace("log1", "log2")])
def test_a_key_that_is_none_is_found_at_the_start(key: Any) -> None:
    with pytest.raises(ValueError, match=r"key|mistyped"):
        Witness(key)

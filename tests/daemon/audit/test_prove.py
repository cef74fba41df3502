"""Proofs: made from a log, and checked without it, by us and by a second verifier."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

import pytest
import second_verifier as second
from audited import append_all, make, tamper, vouch
from calling import Call
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.daemon.audit.proof import Consistency, Inclusion
from stationkeeper.daemon.audit.proving import NotProven, check_continued, check_event, prove_continued, prove_event
from stationkeeper.engine.entry import Entry, leaf
from stationkeeper.engine.errors import LogContradicted
from stationkeeper.engine.ledger.note import VerifyingKey
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry


def entries(count: int, first: int = 1) -> Iterator[Entry]:
    return (some_entry(f"e{n}", private=b"192.0.2.1") for n in range(first, first + count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of 13 events, 11 of them vouched for."""
    make(tmp_path / "x.db", entries(11), entries(2, 12))
    return tmp_path / "x.db"


def keys_of(path: Path) -> list[VerifyingKey]:
    return [VerifyingKey.parse(path.with_name(path.name + ".vkey").read_text())]


# --- that it holds an event ------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(1, 70))
def test_both_verifiers_believe_a_proof_of_any_event(size: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        make(path, entries(size), entries(2, size + 1))
        rows = second.rows(path)
        for position in {1, size // 2 + 1, size}:
            written = prove_event(str(path), position, None, []).written()

            assert second.check_proof(written, path.with_name("x.db.vkey").read_text()) == (
                position,
                rows[position - 1].content,
            )
            event, found, checkpoint = check_event(Inclusion.parse(written), keys_of(path))
            assert (event.id, found, checkpoint.size) == (f"e{position}", position, size)
            assert Inclusion.parse(written).written() == written


def test_a_proof_shows_the_event_and_not_what_is_private(path: Path) -> None:
    proof = prove_event(str(path), 4, None, [])

    event, _, _ = check_event(proof, keys_of(path))
    with closing(open_log(path)) as log:
        recorded = next(iter(log.read(3)))
    assert (event.id, event.at, event.kind, event.schema, event.subject) == (
        recorded.id, recorded.at, recorded.kind, recorded.schema, recorded.subject,
    )  # fmt: skip
    assert (event.gateway, event.run, event.actor, event.body) == (
        recorded.gateway, recorded.run, recorded.actor, recorded.body,
    )  # fmt: skip
    assert event.private_digest == sha256(recorded.salt + recorded.private).digest()
    assert b"192.0.2.1" not in proof.content


@pytest.mark.parametrize("line", range(12))
def test_a_proof_in_which_anything_was_changed_proves_nothing(path: Path, line: int) -> None:
    lines = prove_event(str(path), 4, None, []).written().split(b"\n")
    lines[line] = {
        0: b"c2sp.org/tlog-proof@v2",
        1: lines[1][:40] + b"+/+/" + lines[1][44:],
        2: b"index 4",
        10: lines[10] + b"x",
    }.get(line, b64encode(bytes(32)))

    with pytest.raises((ValueError, NotProven)):
        check_event(Inclusion.parse(b"\n".join(lines)), keys_of(path))


def test_a_proof_counts_only_under_a_key_that_is_believed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    make(tmp_path / "other" / "y.db", entries(1))

    with pytest.raises(NotProven, match="signed by none of the keys"):
        check_event(prove_event(str(path), 4, None, []), keys_of(tmp_path / "other" / "y.db"))


def test_what_is_past_the_checkpoint_cannot_be_proven_yet(path: Path) -> None:
    with pytest.raises(NotProven, match=r"position 12 is not protected yet: x\.db\.checkpoint reaches position 11"):
        prove_event(str(path), 12, None, [])


def test_what_is_past_the_end_is_not_said_to_come_under_a_checkpoint(path: Path) -> None:
    with pytest.raises(NotProven, match=r"there is no position 99: .*x\.db ends at 13"):
        prove_event(str(path), 99, None, [])


def test_a_log_that_was_meddled_with_proves_nothing(path: Path) -> None:
    tamper(path, "UPDATE event SET actor = 'x' WHERE position = 4")
    with pytest.raises(LogContradicted, match="position 4 was changed"):
        prove_event(str(path), 4, None, [])

    tamper(path, "UPDATE event SET leaf = zeroblob(32) WHERE position = 9")
    with pytest.raises(LogContradicted, match="is not the log that"):
        prove_event(str(path), 5, None, [])


def test_a_redacted_event_is_still_proven(path: Path) -> None:
    with closing(open_log(path)) as log:
        event = next(iter(log.read(3)))
    before = prove_event(str(path), 4, None, [])
    digest = sha256(event.salt + event.private).digest()
    tamper(path, ("UPDATE event SET private = x'', salt = x'', digest = ? WHERE position = 4", (digest,)))

    assert prove_event(str(path), 4, None, []) == before


# --- that it continues an older log ----------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 40))
def test_a_log_that_went_on_continues_what_it_was(before: int, more: int) -> None:
    with TemporaryDirectory() as folder:
        path, kept = Path(folder, "x.db"), Path(folder, "kept")
        make(path, entries(before))
        copy(path.with_name("x.db.checkpoint"), kept)
        with closing(open_log(path)) as log:
            append_all(log, entries(more, before + 1))
            vouch(log)

        proof = prove_continued(str(path), kept, None, [])
        older, newer = check_continued(Consistency.parse(proof.written()), kept.read_bytes(), keys_of(path))
        assert (older.size, newer.size) == (before, before + more)


def test_a_log_whose_past_was_changed_does_not_continue_what_it_was(path: Path, tmp_path: Path) -> None:
    copy(tmp_path / "x.db.checkpoint", tmp_path / "kept")
    (tmp_path / "later").mkdir()
    for file in tmp_path.glob("x.db*"):
        copy(file, tmp_path / "later")
    other = tmp_path / "later" / "x.db"
    tamper(other, "UPDATE event SET id = 'f5' WHERE position = 5")
    with closing(open_log(other)) as log:
        changed = next(iter(log.read(4)))
    tamper(other, ("UPDATE event SET leaf = ? WHERE position = 5", (leaf(changed),)))
    (tmp_path / "later" / "x.db.checkpoint").unlink()
    with closing(open_log(other)) as log:
        vouch(log)

    with pytest.raises(LogContradicted, match="does not continue"):
        prove_continued(str(other), tmp_path / "kept", None, [])


def test_a_newer_checkpoint_is_no_older_one(path: Path, tmp_path: Path) -> None:
    copy(tmp_path / "x.db.checkpoint", tmp_path / "present")
    with closing(open_log(path)) as log:
        vouch(log)

    with pytest.raises(NotProven, match="is newer"):
        prove_continued(str(path), tmp_path / "x.db.checkpoint", tmp_path / "present", [])


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_proof_that_is_checked_without_the_log(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db", entries(5))
    assert call("prove", "x.db", "3", "--output", "p.tlog-proof").code == 0
    (tmp_path / "x.db").unlink()

    said = call("prove", "--check", "p.tlog-proof", "--key", "x.db.vkey")
    assert said.code == 0
    assert (json.loads(said.out)["id"], json.loads(said.out)["position"]) == ("e3", 3)
    assert "as of 5 events, holds this event at position 3" in said.err


def test_the_command_proves_that_a_log_goes_on(call: Call, path: Path, tmp_path: Path) -> None:
    copy(tmp_path / "x.db.checkpoint", tmp_path / "kept")
    with closing(open_log(path)) as log:
        vouch(log)
    proof = call("prove", "x.db", "--since", "kept")
    assert proof.code == 0
    assert proof.out.startswith("old 11\n")
    (tmp_path / "p").write_text(proof.out)

    said = call("prove", "--check", "p", "--since", "kept", "--key", "x.db.vkey")
    assert (said.code, "begins with the 11 events" in said.err) == (0, True)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("prove", "x.db", "12"), 1, "is not protected yet"),
        (("prove", "x.db"), 2, "name a log and a position"),
        (("prove", "x.db", "0"), 2, "0 is not in the range"),
        (("prove", "x.db", "3", "--since", "x.db.checkpoint"), 2, "name a log and a position"),
        (("prove", "--check", "x.db.checkpoint"), 2, "--check needs --key"),
        (("prove", "--check", "x.db.checkpoint", "--key", "x.db.vkey"), 1, "this is no proof"),
        (("prove", "x.db", "3", "--check", "x.db.checkpoint"), 2, "--check needs no log"),
        (("prove", "x.db", "3", "--output", "x.db"), 2, "File exists"),
        (("prove", "missing.db", "3"), 3, "there is no log"),
    ],
)
def test_what_cannot_be_done_is_said(call: Call, path: Path, words: tuple[str, ...], code: int, why: str) -> None:
    said = call(*words)

    assert (said.code, why in said.err) == (code, True), said.err


def test_without_a_checkpoint_nothing_can_be_proven(call: Call, path: Path) -> None:
    path.with_name("x.db.checkpoint").unlink()

    said = call("prove", "x.db", "3")
    assert (said.code, "there is no x.db.checkpoint" in said.err) == (1, True)

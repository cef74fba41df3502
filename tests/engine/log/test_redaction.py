"""Redaction: what was private is in no byte any more, and nothing else has changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from copybook import append, events_of, files, writing

from stationkeeper.engine.entry import Entry, Recorded, leaf
from stationkeeper.engine.errors import LogDamaged, LogUnavailable
from stationkeeper.engine.events import HandshakeRefused, StationRemoved, WebhookTested
from stationkeeper.engine.ledger.keeper import open_ledger
from stationkeeper.engine.ledger.tree import Tree
from stationkeeper.engine.log import redaction
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.redaction import redact
from stationkeeper.engine.log.secrets import MemorySecrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.logs import some_entry

CANARY = b"canary-203.0.113."
"""Begins all that is private about CP-1."""
OTHERS = b"bystander-198.51.100."


def refused(claimed: str) -> HandshakeRefused:
    return HandshakeRefused(
        claimed=claimed, reason="unknown_station", status=404, hint="", count=1, first_at=1, last_at=1
    )


def entries(first: int, count: int) -> list[Entry]:
    """Return events about two stations and a webhook, and refused handshakes, of many sizes."""
    made: list[Entry] = []
    for n in range(first, first + count):
        private = f"{n}".encode() * (1 + n % 7 * 40)
        match n % 5:
            case 0:
                entry = some_entry(f"e{n}", private=CANARY + private)
            case 1:
                entry = some_entry(f"e{n}", subject="CP-2", private=OTHERS + private)
            case 2:
                entry = some_entry(f"e{n}", refused("CP-1"), subject="", private=CANARY + private)
            case 3:
                entry = some_entry(f"e{n}", refused("CP-12"), subject="", private=OTHERS + private)
            case _:
                entry = some_entry(f"e{n}", WebhookTested() if n % 2 else StationRemoved(), subject="")
        made.append(entry)
    return made


def fill(path: Path, count: int = 200) -> list[Recorded]:
    with writing(path) as (log, _, ledger):
        append(log, ledger, entries(1, count))
        log.keep_snapshots([ledger.snapshot()])
        return list(log.read())


def blank(path: Path, id: str) -> list[int]:
    with writing(path) as (log, _, _):
        return redact(log, id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def test_what_was_private_is_in_no_byte_and_nothing_else_has_changed(path: Path) -> None:
    before = fill(path, 3000)
    assert any(CANARY in content for content in files(path.parent).values())

    blanked = blank(path, "CP-1")

    after = events_of(path)
    assert blanked == [event.position for event in before if CANARY in event.private]
    assert all(CANARY not in content for content in files(path.parent).values())
    for old, new in zip(before, after, strict=True):
        if CANARY in old.private:
            assert (new.private, new.salt, len(new.digest)) == (b"", b"", 32)
            assert msgspec.structs.replace(new, private=old.private, salt=old.salt, digest=b"") == old
        else:
            assert new == old
    trees = [Tree(), Tree()]
    trees[0].extend([event.leaf for event in before])
    trees[1].extend([leaf(event) for event in after])
    assert trees[0].root() == trees[1].root()
    with writing(path) as (_, _, ledger):
        assert ledger.size == ledger.protected == 3000


def test_one_after_the_other_no_trace_of_either_is_left_in_pages_that_the_first_freed(path: Path) -> None:
    fill(path, 3000)

    blank(path, "CP-1")
    blank(path, "CP-2")
    blank(path, "CP-12")

    content = path.read_bytes()
    assert CANARY not in content
    assert OTHERS not in content


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_who_may_read_the_log_stays_as_it_was(path: Path, mode: int) -> None:
    fill(path)
    path.chmod(mode)
    blank(path, "CP-1")
    assert path.stat().st_mode & 0o777 == mode


def test_the_file_that_is_replaced_was_overwritten_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(path) as (log, _, ledger):
        append(log, ledger, [some_entry("e1", private=CANARY * 50), some_entry("e2", subject="CP-2", private=OTHERS)])
        old: list[bytes] = []

        def look(log: SqliteLog, new: Path) -> None:
            old.append(path.read_bytes())

        monkeypatch.setattr(SqliteLog, "replace", look)
        redact(log, "CP-1")

    assert OTHERS in old[0]
    assert CANARY not in old[0]


def test_again_there_is_nothing_left_to_blank(path: Path) -> None:
    fill(path)

    assert blank(path, "CP-1")
    assert blank(path, "CP-1") == []
    assert blank(path, "CP-unknown") == []


def test_a_claim_that_was_cut_is_found_by_the_whole_id(path: Path) -> None:
    id = "ü" * 200
    with writing(path) as (log, _, ledger):
        append(log, ledger, [some_entry("e1", refused("ü" * 127), subject="", private=CANARY)])

    assert blank(path, id) == [1]


def test_while_somebody_reads_it_is_not_said_to_be_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_PATIENCE", 0.0)
    fill(path)
    with writing(path) as (log, _, _):
        with closing(connect(path, mode="ro")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchall()
            with pytest.raises(LogUnavailable, match="end that program, and redact again"):
                redact(log, "CP-1")
        assert CANARY in path.read_bytes() + path.with_name("fleet.db-wal").read_bytes()
        assert redact(log, "CP-1") == []
        assert all(CANARY not in content for content in files(path.parent).values())


def test_a_file_that_somebody_has_open_is_not_replaced_under_him(path: Path) -> None:
    fill(path)
    with writing(path) as (log, _, _):
        with closing(connect(path, mode="ro")) as reader:
            reader.execute("SELECT count(*) FROM event").fetchall()
            with pytest.raises(LogUnavailable, match="cannot be written anew while somebody reads it"):
                redact(log, "CP-1")
        assert log.append([some_entry("goes on")]) == [201]
        assert redact(log, "CP-1") == []
        assert log.append([some_entry("still")]) == [202]
    assert all(CANARY not in content for content in files(path.parent).values())
    assert not path.with_name("fleet.db.rewriting").exists()


def test_an_event_that_was_changed_is_not_covered_up(path: Path) -> None:
    fill(path)
    with closing(connect(path, mode="rw")) as connection:
        connection.execute("UPDATE event SET body = x'7b207d' WHERE position = 5")
    before = path.read_bytes()

    with closing(open_log(path)) as log, pytest.raises(LogDamaged, match="position 5 was changed"):
        redact(log, "CP-1")
    assert events_of(path)[4].private
    assert len(before) == len(path.read_bytes())


def test_a_redacted_log_still_agrees_with_its_checkpoint_without_its_secrets(path: Path) -> None:
    fill(path)
    blank(path, "CP-1")
    path.with_name("fleet.db.secrets").unlink()

    with closing(open_log(path)) as log:
        assert open_ledger(log, path, log.log_id, MemorySecrets()).size == 200

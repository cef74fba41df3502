"""An audit of a log: what it finds, and how it says so."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from audited import append_all, audit, files_of, forged, keep_snapshots, make, tamper, vouch
from calling import Call
from histories import History
from msgspec.structs import replace

from stationkeeper.daemon.audit import verdict
from stationkeeper.daemon.audit.ids import CONTRADICTS
from stationkeeper.daemon.audit.leaves import RESTORED, Leaves
from stationkeeper.daemon.audit.replay import NEVER_OWED, NOT_PENDING, UNKNOWN_KIND
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.errors import LogDamaged
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, GatewayStopped, StationRegistered
from stationkeeper.engine.ledger.note import SigningKey
from stationkeeper.engine.log import evidence
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.sending import Owed
from stationkeeper.engine.testing.logs import some_entry
from stationkeeper.projections.bodies import ONLINE, message_id
from stationkeeper.projections.presence import NO_RUN

SECOND = 1_000_000
START = 1_790_000_000 * SECOND


def visits(count: int, first: int = 1, private: bytes = b"192.0.2.1") -> Iterator[Entry]:
    """Stations come and go: two events a visit."""
    for n in range(first, first + count):
        at, name = START + n * SECOND, f"run-a-{n}"
        opened = ConnectionOpened(connection=name, ping_interval=25.0, ping_timeout=20.0, silence=900.0)
        yield some_entry(f"{name}:opened", opened, at=at, subject=f"CP-{n % 5}", private=private)
        closed = ConnectionClosed(connection=name, side="station", cause="station_closed", alive_at=at)
        yield some_entry(f"{name}:closed", closed, at=at, subject=f"CP-{n % 5}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def protected(path: Path) -> Path:
    """A log of 30 events, 20 of them vouched for."""
    assert make(path, visits(10), visits(5, 11)) == (20, 30)
    return path


# --- what is sound ---------------------------------------------------------------------------------------------------


def test_a_sound_log_passes_and_says_how_far_it_is_protected(protected: Path) -> None:
    report = audit(protected)

    assert report.sound
    assert (report.position, report.protection.position, report.protection.name) == (30, 20, "fleet.db.checkpoint")
    assert report.first_wrong is None


def test_an_empty_log_and_one_without_a_checkpoint_pass_but_nothing_is_protected(path: Path) -> None:
    open_log(path).close()
    assert audit(path).sound

    with closing(open_log(path)) as log:
        append_all(log, visits(2))
    report = audit(path)
    assert report.sound
    assert report.protection.position == 0
    assert [check.state for check in report.checks if check.name == "checkpoint"] == ["not checked"]


def test_a_log_of_an_earlier_release_is_audited_as_it_is(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "vectors" / "logs" / "0.1.0-stopped.db.gz"
    (tmp_path / "old.db").write_bytes(gzip.decompress(kept.read_bytes()))
    before = files_of(tmp_path / "old.db")

    assert audit(tmp_path / "old.db").sound
    assert files_of(tmp_path / "old.db") == before


def test_a_redacted_event_keeps_its_place(protected: Path) -> None:
    with closing(open_log(protected)) as log:
        event = next(iter(log.read()))
    digest = sha256(event.salt + event.private).digest()
    tamper(protected, ("UPDATE event SET private = x'', salt = x'', digest = ? WHERE position = 1", (digest,)))

    report = audit(protected)
    assert report.sound
    assert any("1 were redacted" in check.detail for check in report.checks)


def test_snapshots_that_follow_from_the_events_pass(path: Path) -> None:
    with closing(open_log(path)) as log:
        append_all(log, visits(10))
        keep_snapshots(log)
        vouch(log)
        append_all(log, visits(3, 11))

    report = audit(path)
    assert report.sound
    kept = [check for check in report.checks if check.name.startswith("snapshot")]
    assert len(kept) == 11
    assert all(check.state == "ok" for check in kept)


# --- what is not -----------------------------------------------------------------------------------------------------

WRONG = [
    (("UPDATE event SET body = x'7b207d' WHERE position = 6",), "leaves", 6),
    (("UPDATE event SET actor = 'x' WHERE position = 26",), "leaves", 26),
    (("UPDATE event SET leaf = zeroblob(32) WHERE position = 6",), "leaves", 6),
    (("UPDATE event SET private = x'00' WHERE position = 7",), "leaves", 7),
    (("UPDATE event SET private = x'00' WHERE position = 8",), "leaves", 8),
    (("UPDATE event SET salt = zeroblob(16) WHERE position = 8",), "leaves", 8),
    (("UPDATE event SET private = CAST(substr(salt, 16) || private AS BLOB), salt = substr(salt, 1, 15) "
      "WHERE position = 7",), "leaves", 7),
    (("UPDATE event SET digest = x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' "
      "WHERE position = 8",), "leaves", 8),
    (("UPDATE event SET kind = CAST(x'ff' AS TEXT) WHERE position = 9",), "leaves", 9),
    (("DELETE FROM event WHERE position = 9",), "positions", 9),
    (("DELETE FROM event WHERE position = 1",), "positions", 1),
    (("UPDATE event SET position = 1000000000000 WHERE position = 30",), "positions", 30),
    (("DELETE FROM event WHERE position > 25",), "head", 26),
    (("DELETE FROM event WHERE position > 15", "UPDATE head SET position = 15"), "checkpoint fleet.db.checkpoint", 16),
    (("UPDATE head SET position = 25",), "head", 26),
    (("INSERT INTO ended VALUES ('run-a', 4)",), "ends of runs", 4),
    (("INSERT INTO ended VALUES ('run-a', 999)",), "ends of runs", 999),
    (("INSERT INTO ended VALUES ('run-a', -3)",), "ends of runs", -3),
    (("UPDATE event SET position = 0 WHERE position = 30", "UPDATE head SET position = 29"), "positions", 0),
    (("UPDATE event SET position = -600 WHERE position = 30", "UPDATE head SET position = 29"), "positions", -600),
    (("CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event WHERE position = NEW.position; END",),
     "schema", None),
    (("CREATE VIEW v AS SELECT * FROM event",), "schema", None),
    (("DROP INDEX attempt_at",), "schema", None),
    (("UPDATE span SET earliest = 7",), "times", 1),
    (("DELETE FROM span",), "times", 1),
    (("INSERT INTO span VALUES (999, 0)",), "times", 999_001),
    (("INSERT INTO span VALUES (1, 0)",), "times", 1_001),
    (("INSERT INTO span VALUES (-1, 0)",), "times", -999),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "name", "position"), WRONG)
def test_what_was_changed_is_named_by_its_first_position(
    protected: Path, statements: tuple[str, ...], name: str, position: int
) -> None:
    tamper(protected, *statements)

    report = audit(protected)
    assert not report.sound
    first = report.first_wrong or report.failed[0]
    assert (first.name, first.position) == (name, position)


def test_an_event_before_the_first_is_found_in_a_log_that_is_empty_otherwise(path: Path) -> None:
    make(path, visits(1))
    tamper(path, "DELETE FROM event WHERE position = 2", "UPDATE event SET position = -3",
           "UPDATE head SET position = 0, latest_at = 0")  # fmt: skip
    path.with_name("fleet.db.checkpoint").unlink()

    assert ("positions", -3) in [(check.name, check.position) for check in audit(path).failed]


def test_a_newest_time_that_is_none_of_an_event_is_found(protected: Path) -> None:
    tamper(protected, "UPDATE head SET latest_at = 5")

    assert [(check.name, check.position) for check in audit(protected).failed] == [("head", None)]


def test_events_that_were_swapped_lie_between_two_positions(protected: Path) -> None:
    tamper(
        protected,
        "UPDATE event SET position = 99 WHERE position = 6",
        "UPDATE event SET position = 6 WHERE position = 8",
        "UPDATE event SET position = 8 WHERE position = 99",
    )

    wrong = audit(protected).first_wrong
    assert wrong is not None
    assert (wrong.position, wrong.at_most) == (1, 20)


def test_an_older_checkpoint_narrows_down_where_the_past_was_changed(path: Path, tmp_path: Path) -> None:
    make(path, visits(3))
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.copy(tmp_path / "fleet.db.checkpoint", kept / "6")
    with closing(open_log(path)) as log:
        append_all(log, visits(7, 4))
        vouch(log)
        row = next(iter(log.read(9)))
    tamper(path, ("UPDATE event SET actor = 'x', leaf = ? WHERE position = 10", (forged(row, actor="x").leaf,)))

    wrong = audit(path, checkpoints=[kept / "6"]).first_wrong
    assert wrong is not None
    assert (wrong.position, wrong.at_most) == (7, 20)


def test_an_older_copy_in_the_place_of_the_log_is_found(path: Path, tmp_path: Path) -> None:
    make(path, visits(3))
    shutil.copy(path, tmp_path / "older")
    with closing(open_log(path)) as log:
        append_all(log, visits(3, 4))
        vouch(log)
    shutil.copy(tmp_path / "older", path)

    wrong = audit(path).first_wrong
    assert wrong is not None
    assert (wrong.name, wrong.position) == ("checkpoint fleet.db.checkpoint", 7)


@pytest.mark.parametrize("name", ["presence", "sessions", "ledger"])
@pytest.mark.parametrize("column", ["state", "leaf", "position"])
def test_a_snapshot_that_does_not_follow_from_the_events_is_found(path: Path, name: str, column: str) -> None:
    with closing(open_log(path)) as log:
        append_all(log, visits(4))
        keep_snapshots(log)
        vouch(log)
        append_all(log, visits(4, 5))
    value: Any = 3 if column == "position" else b"{}"
    tamper(path, (f"UPDATE snapshot SET {column} = ? WHERE name = ?", (value, name)))

    report = audit(path)
    assert [(check.name, check.position) for check in report.failed] == [
        (f"snapshot {name}", 3 if column == "position" else 8)
    ]


def test_a_snapshot_that_does_not_fit_its_digest_is_found(path: Path) -> None:
    with closing(open_log(path)) as log:
        append_all(log, visits(4))
        keep_snapshots(log)
    tamper(path, "UPDATE snapshot SET digest = zeroblob(32) WHERE name = 'presence'")

    for replay in (True, False):
        failed = audit(path, replay=replay).failed
        assert [(check.name, check.position) for check in failed] == [("snapshot presence", None)]


def test_a_snapshot_of_another_version_or_projection_is_said_and_no_failure(path: Path) -> None:
    with closing(open_log(path)) as log:
        append_all(log, visits(4))
        keep_snapshots(log)
        vouch(log)
    tamper(path, "UPDATE snapshot SET version = 99 WHERE name = 'presence'", "UPDATE snapshot SET name = 'mine' "
           "WHERE name = 'settling'")  # fmt: skip

    report = audit(path)
    assert report.sound
    assert {check.name: check.state for check in report.checks if check.state == "not checked"} == {
        "snapshot mine": "not checked",
        "snapshot presence": "not checked",
    }


def test_an_index_that_has_lost_an_id_is_found(protected: Path) -> None:
    tamper(
        protected,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX event_id ON event (id) WHERE position <> 12' "
        "WHERE name = 'event_id'",
    )
    tamper(protected, "REINDEX event_id")
    tamper(
        protected,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX event_id ON event (id)' WHERE name = 'event_id'",
    )

    wrong = audit(protected).first_wrong
    assert wrong is not None
    assert (wrong.name, wrong.position) == ("file", 12)


def test_a_body_that_is_no_event_stops_the_replay_there(path: Path) -> None:
    with closing(open_log(path)) as log:
        append_all(log, visits(2))
        log.append([forged(some_entry("e1"), body=b"[]")])

    wrong = audit(path).first_wrong
    assert wrong is not None
    assert (wrong.name, wrong.position) == ("replay", 5)
    assert audit(path, replay=False).sound


def test_a_log_that_a_newer_release_wrote_is_sound_but_not_replayed(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append([forged(some_entry("e1", StationRegistered()), schema=99)])

    report = audit(path)
    assert report.sound
    assert not report.replayed


# --- checkpoints and keys --------------------------------------------------------------------------------------------


def test_a_checkpoint_counts_only_if_a_key_that_counts_has_signed_it(protected: Path, tmp_path: Path) -> None:
    other = SigningKey((tmp_path / "fleet.db.vkey").read_text().partition("+")[0], bytes(32))

    report = audit(protected, keys=[other.public])
    assert [check.detail for check in report.failed] == ["is signed by none of the keys that count (the keys given)"]
    assert report.protection.position == 0

    note = (tmp_path / "fleet.db.checkpoint").read_bytes().replace(b"\n20\n", b"\n19\n")
    (tmp_path / "forged").write_bytes(note)
    report = audit(protected, checkpoints=[tmp_path / "forged"])
    assert "is false" in report.failed[0].detail


def test_a_checkpoint_of_another_log_or_none_at_all_is_a_failure(protected: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    make(tmp_path / "other" / "other.db", visits(2))
    (tmp_path / "text").write_text("hello")

    report = audit(protected, checkpoints=[tmp_path / "other" / "other.db.checkpoint", tmp_path / "text"])
    assert [check.detail.partition(":")[0] for check in report.failed] == [
        "this is no signed checkpoint",
        "is of another log",
    ] or [check.detail.partition(":")[0] for check in report.failed] == [
        "this is no signed note",
        "is of another log",
    ]
    assert report.protection.position == 20


def test_a_checkpoint_that_was_taken_away_is_missed(protected: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.db.checkpoint").unlink()

    assert [check.name for check in audit(protected).failed] == ["checkpoint"]


def test_a_key_file_that_was_meddled_with_is_a_failure(protected: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.db.vkey").write_text("nonsense\n")

    assert [check.name for check in audit(protected).failed] == ["keys", "checkpoint fleet.db.checkpoint"]


# --- beside a daemon -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [5, 6])
def test_a_run_that_ended_since_the_audit_began_is_sound_if_an_event_ended_it(path: Path, ending: int) -> None:
    with closing(open_log(path)) as log:
        append_all(log, [*visits(2), some_entry("stop", GatewayStopped(listened=1.0)), some_entry("more", run="b")])
    tamper(path, f"UPDATE ended SET position = {ending}")

    with closing(open_reader(path)) as reader:
        leaves = Leaves(reader, 4, [], [])
        for batch in evidence.batches(reader, 4):
            leaves.take(batch)
        checks = {check.name: check.state for check in leaves.found().checks}
    assert checks["ends of runs"] == ("ok" if ending == 5 else "failed")


# --- oddities --------------------------------------------------------------------------------------------------------


def test_odd_events_are_named_and_are_no_failure(path: Path) -> None:
    story = History()
    webhook = story.add(StationRegistered(), "CP-1", id="e1")
    assert webhook.position == 1
    story.started("r1")
    story.opened("r9-1", "CP-1")
    story.add(
        ConnectionOpened(connection="r1-7", ping_interval=1.0, ping_timeout=1.0, silence=1.0), "CP-1", id="r1-8:opened"
    )
    unknown = Owed("msg_X", "w1", "CP-1", ONLINE, 3, 0, "pending")
    story.delivered(unknown)
    late = Owed(message_id("w1", story.events[3].id, ONLINE, "CP-1"), "w1", "CP-1", ONLINE, 4, 0, "pending")
    story.delivered(late)
    story.restored()
    back = story.opened("CP-2", "r1-9")
    again = Owed(message_id("w1", back.id, ONLINE, "CP-2", 2**20), "w1", "CP-2", ONLINE, back.position, 0, "pending")
    story.delivered(again)
    story.delivered(late)
    story.delivered(replace(again, id=message_id("w1", back.id, ONLINE, "CP-2")))
    with closing(open_log(path)) as log:
        append_all(log, story)
        log.append([forged(some_entry("e99"), kind="moon.rose")])

    report = audit(path)
    assert report.sound
    assert {odd.reason: odd.positions for odd in report.oddities} == {
        NO_RUN: [3],
        CONTRADICTS: [4],
        NEVER_OWED: [5, 11],
        NOT_PENDING: [6, 9, 10],
        RESTORED: [7],
        f"{UNKNOWN_KIND}: moon.rose": [],
    }


# --- in processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes also for small logs."""
    monkeypatch.setattr(verdict, "LONG", 0)

    def two(process: int) -> set[int]:
        return {0, 1}

    monkeypatch.setattr("os.sched_getaffinity", two)


def test_several_processes_find_what_one_finds(protected: Path, request: pytest.FixtureRequest) -> None:
    with closing(open_log(protected)) as log:
        keep_snapshots(log)
    tamper(protected, "UPDATE event SET body = x'7b207d' WHERE position = 26", "UPDATE snapshot SET state = x''")
    alone = audit(protected)
    request.getfixturevalue("divided")
    seen: list[int] = []
    together = verdict.verify(str(protected), files=[], keys=[], replay=True, tell=seen.append)

    assert together.checks == alone.checks
    assert together.first_wrong == alone.first_wrong
    assert sum(seen) == 30 * verdict.readings(30, replay=True)


@pytest.mark.usefixtures("divided")
def test_what_a_process_cannot_read_is_raised_here(protected: Path) -> None:
    data = bytearray(protected.read_bytes())
    place = data.rindex(b"run-a-9:closed")
    page = place // 4096 * 4096
    data[page : page + 8] = b"\xff" * 8
    protected.write_bytes(data)

    with pytest.raises(LogDamaged):
        audit(protected)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_and_what_to_do(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db", visits(4), visits(1, 5))
    said = call("verify", "x.db")
    assert said.code == 0
    assert "SOUND: no check failed." in said.out
    assert "are protected by x.db.checkpoint; 9 to 10 are not yet." in said.out

    tamper(tmp_path / "x.db", "UPDATE event SET actor = 'x' WHERE position = 3")
    said = call("verify", "x.db")
    assert said.code == 1
    assert "position 3 was changed" in said.out
    assert "NOT SOUND: the first wrong position is 3 (leaves)." in said.out
    assert "stationkeeper restore BACKUP x.db" in said.out


def test_the_command_speaks_json(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "x.db", visits(4), visits(1, 5))
    tamper(tmp_path / "x.db", "UPDATE event SET actor = 'x' WHERE position = 9")

    said = call("verify", "x.db", "--format", "json", "--key", "x.db.vkey", "--checkpoint", "x.db.checkpoint")
    found = json.loads(said.out)
    assert said.code == 1
    assert (found["sound"], found["firstWrong"], found["protectedUntil"]) == (False, {"position": 9, "atMost": 9}, 8)


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 3), (b"no database at all, but long enough to look at", 3)], ids=["empty", "text"]
)
def test_what_is_no_log_cannot_be_verified(call: Call, tmp_path: Path, content: bytes, code: int) -> None:
    (tmp_path / "x.db").write_bytes(content)

    assert call("verify", "x.db").code == code


@pytest.mark.parametrize("key", ["nonsense", "name+00000000+AAAA"])
def test_a_key_that_is_none_is_wrong_usage(call: Call, tmp_path: Path, key: str) -> None:
    make(tmp_path / "x.db", visits(1))

    assert call("verify", "x.db", "--key", key).code == 2

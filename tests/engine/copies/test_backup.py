"""Backups: consistent beside a writer, checked before they get their name, and never half there."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest
from copybook import CHANGED, CUT, append, checkpoint_of, events_of, files, make, some, tamper, writing

from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.exporting import export
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.errors import (
    LogContradicted,
    LogDamaged,
    LogError,
    LogForeign,
    LogLocked,
    LogMissing,
    LogUnavailable,
    SecretsExposed,
)
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.keeper import open_ledger
from stationkeeper.engine.log.lock import WriterLock
from stationkeeper.engine.log.reading import LogReader
from stationkeeper.engine.log.secrets import MemorySecrets, open_secrets, secrets_path
from stationkeeper.engine.log.secrets_key import default_key_file
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry


def test_a_copy_beside_a_writer_is_the_log_at_one_moment_and_touches_nothing(log: Path, copy: Path) -> None:
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, some(1, 3000))
        append(writer, ledger, some(3001, 20), protect=False)
        before, wanted = files(log.parent), list(writer.read())

        made = back_up(log, copy)

        assert files(log.parent) == before
        append(writer, ledger, some(3021, 5))
        assert (made.position, made.protected) == (3020, 3000)
    assert events_of(copy) == wanted
    assert checkpoint_of(copy).size == 3000
    assert outside.read_keys(copy) == outside.read_keys(log)
    assert sorted(files(copy.parent)) == ["copy.db", "copy.db.checkpoint", "copy.db.vkey"]
    with closing(open_log(copy)) as opened:
        assert open_ledger(opened, copy, opened.log_id, MemorySecrets()).size == 3020


def test_the_checkpoint_is_older_than_the_copy_however_much_is_written_meanwhile(
    log: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LogReader.copy_into
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, some(1, 10))

        def busy(reader: LogReader, file: Path) -> None:
            append(writer, ledger, some(writer.position + 1, 10))
            plain(reader, file)
            append(writer, ledger, some(writer.position + 1, 10))

        monkeypatch.setattr(LogReader, "copy_into", busy)
        made = back_up(log, copy)

    assert (made.position, made.protected, checkpoint_of(copy).size) == (20, 10, 10)


def test_the_secrets_come_along_held_and_for_the_owner_alone(log: Path, copy: Path) -> None:
    make(log)
    with writing(log) as (writer, kept, _):
        log_id = writer.log_id
        back_up(log, copy, with_secrets=True)
        ids = kept.ids()

    assert stat.S_IMODE(secrets_path(copy).stat().st_mode) == 0o600
    copied = open_secrets(copy, log_id, create=False, key=default_key_file(log))
    assert copied is not None
    with closing(copied):
        assert copied.held
        assert copied.ids() == ids
        assert copied.get("s1") == b"a signing secret"
    with writing(log) as (_, kept, _):
        assert not kept.held


@pytest.mark.parametrize("taken", ["copy.db", "copy.db-wal", "copy.db.secrets", "copy.db.checkpoint", "copy.db.vkey"])
def test_what_stands_there_is_not_written_over(log: Path, copy: Path, taken: str) -> None:
    make(log)
    copy.with_name(taken).write_bytes(b"precious")

    with pytest.raises(LogForeign, match=f"{taken} is there already"):
        back_up(log, copy, with_secrets=True)
    assert files(copy.parent) == {taken: b"precious"}


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        (CUT, LogContradicted, "ends at position 4, but a checkpoint knows of 10"),
        (CHANGED, LogContradicted, "position 3 was changed"),
        (("DELETE FROM event WHERE position = 5",), LogDamaged, "position 5 is missing"),
        (("UPDATE event SET salt = x'', private = x'' WHERE position = 2",), LogContradicted, "position 2 was changed"),
        (
            (
                "UPDATE event SET digest = x'00' WHERE position = 2",
                "UPDATE event SET private = x'00' WHERE position = 2",
            ),
            LogContradicted,
            "position 2 was changed",
        ),
        (
            ("UPDATE event SET position = 99 WHERE position = 6", "UPDATE event SET position = 6 WHERE position = 5",
             "UPDATE event SET position = 5 WHERE position = 99"),
            LogContradicted, "an event up to position 10 was changed or replaced",
        ),
    ],
    ids=["cut", "changed", "gap", "blanked", "covered up", "swapped"],
)  # fmt: skip
def test_a_log_that_is_not_whole_makes_no_backup(
    log: Path, copy: Path, changes: tuple[str, ...], error: type[LogError], why: str
) -> None:
    make(log)
    tamper(log, *changes)

    with pytest.raises(error, match=why):
        back_up(log, copy, with_secrets=True)
    assert files(copy.parent) == {}


def test_what_was_slipped_in_where_no_hash_covers_it_is_found(log: Path, copy: Path) -> None:
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, [some_entry("plain")])
    tamper(log, "UPDATE event SET private = x'00'")

    with pytest.raises(LogContradicted, match="position 1 was changed"):
        back_up(log, copy)


def test_without_the_right_secrets_no_backup_claims_to_have_them(log: Path, copy: Path) -> None:
    make(log)
    kept = secrets_path(log).read_bytes()
    secrets_path(log).unlink()
    with pytest.raises(LogMissing, match="no secrets beside it"):
        back_up(log, copy, with_secrets=True)
    make(copy.with_name("other.db"))
    secrets_path(copy.with_name("other.db")).rename(secrets_path(log))
    with pytest.raises(LogForeign, match="belongs to another log"):
        back_up(log, copy, with_secrets=True)
    secrets_path(log).write_bytes(kept)
    secrets_path(log).chmod(0o644)
    with pytest.raises(SecretsExposed):
        back_up(log, copy, with_secrets=True)

    assert not [name for name in files(copy.parent) if name.startswith("copy.db")]


def test_a_disk_that_fails_at_the_end_leaves_nothing_half_there(
    log: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(log)

    def fail(*_: object) -> None:
        raise LogUnavailable("no")

    for step in ("sync_file", "outside.write_note"):
        with monkeypatch.context() as broken:
            broken.setattr(f"stationkeeper.engine.copies.backup.{step}", fail)
            with pytest.raises(LogUnavailable):
                back_up(log, copy)
        assert files(copy.parent) == {}
    assert back_up(log, copy).position == 10


@pytest.mark.parametrize("with_secrets", [False, True])
def test_what_a_killed_backup_left_is_swept_by_the_next_one_to_its_place(
    log: Path, copy: Path, with_secrets: bool
) -> None:
    make(log)
    back_up(log, copy, with_secrets=True)
    secrets_path(copy).rename(copy.with_name("copy.db.copying.secrets"))
    copy.rename(copy.with_name("copy.db.copying"))
    for end in (".checkpoint", ".checkpoint.new", ".vkey"):
        copy.with_name(copy.name + end).write_bytes(b"left")

    back_up(log, copy, with_secrets=with_secrets)

    secrets = ["copy.db.secrets"] if with_secrets else []
    assert sorted(files(copy.parent)) == ["copy.db", "copy.db.checkpoint", *secrets, "copy.db.vkey"]
    assert checkpoint_of(copy) == checkpoint_of(log)


def test_a_backup_that_another_process_is_making_is_left_alone(log: Path, copy: Path) -> None:
    make(log)
    left = copy.with_name("copy.db.copying")
    left.write_bytes(b"half")
    outside.checkpoint_path(copy).write_bytes(b"a note")
    lock = WriterLock(left)
    try:
        with pytest.raises(LogLocked):
            back_up(log, copy)
    finally:
        lock.release()
    assert files(copy.parent) == {left.name: b"half", "copy.db.checkpoint": b"a note"}


def test_nobody_may_read_a_copy_who_may_not_read_the_log(log: Path, copy: Path) -> None:
    make(log)
    log.chmod(0o600)

    back_up(log, copy)
    export(log, copy.with_name("text"))
    import_log(copy.with_name("text"), copy.with_name("imported.db"))
    restore(log, log)
    restore(copy, copy.with_name("restored.db"))

    databases = [log, copy, *(copy.with_name(name) for name in ("text", "imported.db", "restored.db"))]
    assert [oct(stat.S_IMODE(file.stat().st_mode)) for file in databases] == ["0o600"] * 5


def test_a_restored_log_is_shared_as_the_one_that_was_here_and_a_backup_as_the_umask_says(
    log: Path, copy: Path
) -> None:
    make(log)
    log.chmod(0o664)
    umask = os.umask(0o077)
    try:
        back_up(log, copy)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        restore(copy, log)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(log.stat().st_mode) == 0o664


def test_a_log_that_nobody_vouches_for_is_copied_as_it_is(log: Path, copy: Path) -> None:
    wanted = make(log)
    outside.checkpoint_path(log).unlink()

    made = back_up(log, copy)

    assert (made.position, made.protected) == (10, 0)
    assert events_of(copy) == wanted
    assert outside.read_note(copy) is None

"""Restores: work goes on from a copy, the log says so, and what was here is set aside, never lost."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from copybook import CHANGED, CUT, append, checkpoint_of, events_of, files, make, make_of, some, tamper, writing
from histories import History

from stationkeeper.engine import fold, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.copies import restoring
from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.exporting import export
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.errors import LogContradicted, LogDamaged, LogForeign, LogLocked, LogMissing, LogUnavailable
from stationkeeper.engine.events import LogRestored
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.log.files import pending_restore
from stationkeeper.engine.log.secrets import secrets_path
from stationkeeper.engine.log.secrets_key import default_key_file
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections import outbox, presence


def last_word(path: Path) -> LogRestored:
    event = decode(events_of(path)[-1])
    assert isinstance(event, LogRestored)
    return event


def go_on(path: Path, count: int) -> None:
    with writing(path) as (log, _, ledger):
        append(log, ledger, some(log.position + 1, count, subject="CP-lost"))


def check_good(path: Path, *, held: bool = True) -> None:
    """Check that a log opens, that its checkpoint speaks of all of it, and that it would send nothing."""
    with writing(path) as (log, secrets, ledger):
        assert (ledger.size, ledger.protected) == (log.position, log.position)
        assert secrets.held == held


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("with_secrets", [False, True])
def test_work_goes_on_from_a_copy_and_the_log_says_what_was_lost(
    log: Path, copy: Path, exported: bool, with_secrets: bool
) -> None:
    wanted = make(log)
    export(log, copy) if exported else back_up(log, copy, with_secrets=with_secrets)
    go_on(log, 5)
    lost, lost_files = checkpoint_of(log), files(log.parent)

    done = restore(copy, log)

    assert events_of(log)[:-1] == wanted
    assert last_word(log) == LogRestored(checkpoint_size=15, checkpoint_root=lost.root.hex())
    assert (done.position, done.lost, done.changed, done.secrets) == (11, 5, [], True)
    check_good(log)
    kept = {path.name.partition(".replaced-")[0]: path.read_bytes() for path in done.aside}
    assert kept["fleet.db"] == lost_files["fleet.db"]
    assert kept["fleet.db.checkpoint"] == lost_files["fleet.db.checkpoint"]
    assert ("fleet.db.secrets" in kept) == (with_secrets and not exported)
    assert not [name for name in files(log.parent) if ".restoring" in name or name.endswith(".new")]


def test_the_wal_of_what_was_here_is_set_aside_with_it(log: Path, copy: Path, tmp_path: Path) -> None:
    wanted = make(log)
    back_up(log, copy)
    crash = tmp_path / "crash"
    crash.mkdir()
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, some(11, 3, subject="CP-lost"), protect=False)
        left = {end: log.with_name(log.name + end).read_bytes() for end in ("", "-wal")}
    for end, content in left.items():
        log.with_name(log.name + end).write_bytes(content)

    done = restore(copy, log)

    assert events_of(log)[:-1] == wanted
    assert len(events_of(done.aside[0])) == 13
    check_good(log)


@pytest.mark.parametrize(
    ("changes", "lost", "changed"), [(CUT, 6, []), (CHANGED, 0, [3])], ids=["cut", "changed"]
)  # fmt: skip
def test_work_goes_on_with_what_is_here_although_it_is_contradicted(
    log: Path, changes: tuple[str, ...], lost: int, changed: list[int]
) -> None:
    make(log)
    known = checkpoint_of(log)
    tamper(log, *changes)
    before = events_of(log)
    with pytest.raises(LogContradicted), writing(log):
        pass

    done = restore(log, log)

    assert (done.lost, done.changed) == (lost, changed)
    assert last_word(log) == LogRestored(checkpoint_size=10, checkpoint_root=known.root.hex())
    assert [event.body for event in events_of(log)[:-1]] == [event.body for event in before]
    assert events_of(done.aside[0]) == before
    check_good(log)


def test_a_checkpoint_that_nobody_signed_is_set_aside(log: Path) -> None:
    make(log)
    outside.checkpoint_path(log).write_bytes(b"nonsense")

    done = restore(log, log)

    assert last_word(log).checkpoint_size == 10
    assert b"nonsense" in [path.read_bytes() for path in done.aside]
    check_good(log)


@pytest.mark.parametrize("with_secrets", [False, True])
def test_nothing_that_nobody_signed_is_said_of_what_was_lost(log: Path, with_secrets: bool) -> None:
    make(log)
    if not with_secrets:
        secrets_path(log).unlink()
    lines = outside.checkpoint_path(log).read_text().split("\n")
    outside.checkpoint_path(log).write_text("\n".join([lines[0], "9" * 30, *lines[2:]]))

    done = restore(log, log)

    assert (done.lost, last_word(log).checkpoint_size) == (0, 10)


def test_keys_that_cannot_be_read_are_set_aside(log: Path) -> None:
    make(log)
    outside.keys_path(log).write_bytes(b"nonsense")

    done = restore(log, log)

    assert b"nonsense" in [path.read_bytes() for path in done.aside]
    check_good(log)


def test_snapshots_of_what_was_changed_are_forgotten(log: Path) -> None:
    make(log)
    with writing(log) as (writer, _, ledger):
        writer.keep_snapshots([ledger.snapshot()])
    tamper(log, *CHANGED)

    restore(log, log)

    with closing(open_log(log)) as opened:
        assert opened.snapshot("ledger") is None
    check_good(log)


@pytest.mark.parametrize("changes", [CUT, CHANGED], ids=["cut", "changed"])
def test_a_copy_that_is_not_whole_changes_nothing_here(log: Path, copy: Path, changes: tuple[str, ...]) -> None:
    make(log)
    back_up(log, copy)
    tamper(copy, *changes)
    before = files(log.parent)

    with pytest.raises(LogContradicted):
        restore(copy, log)

    assert files(log.parent) == before
    with writing(log) as (_, secrets, _):
        assert not secrets.held


def test_neither_a_missing_copy_nor_a_held_log_nor_a_strange_file_is_restored(log: Path, copy: Path) -> None:
    make(log)
    with pytest.raises(LogMissing):
        restore(copy, log)
    copy.write_bytes(b"no log\n")
    with pytest.raises(LogForeign):
        restore(copy, log)
    with writing(log), pytest.raises(LogLocked):
        restore(copy, log)
    check_good(log, held=False)


def test_a_log_is_restored_where_none_is(log: Path, copy: Path) -> None:
    make(copy)

    assert restore(copy, log).lost == 0
    assert last_word(log).checkpoint_size == 10
    check_good(log)


def test_secrets_of_another_log_make_room(log: Path, copy: Path) -> None:
    make(log)
    make(copy)
    secrets_path(copy).unlink()
    kept = secrets_path(log).read_bytes()

    done = restore(copy, log)

    assert not done.secrets
    assert not secrets_path(log).exists()
    assert kept in [path.read_bytes() for path in done.aside]
    assert outside.read_note(log) == outside.read_note(copy)
    assert outside.read_keys(log) == outside.read_keys(copy)


def test_without_secrets_nobody_vouches_for_what_is_contradicted(log: Path) -> None:
    make(log)
    secrets_path(log).unlink()
    tamper(log, *CUT)

    done = restore(log, log)

    assert (outside.read_note(log), outside.read_keys(log)) == (None, [])
    assert [path.name.partition(".replaced")[0] for path in done.aside] == [
        "fleet.db",
        "fleet.db.vkey",
        "fleet.db.checkpoint",
    ]


def test_nothing_begins_where_a_restore_was_cut_off(log: Path) -> None:
    make(log)
    wanted = events_of(log)
    log.rename(pending_restore(log))

    with pytest.raises(LogDamaged, match=r"stationkeeper restore fleet\.db fleet\.db ends it"):
        open_log(log)
    assert not log.exists()
    restore(log, log)
    assert events_of(log)[:-1] == wanted


def test_who_was_told_of_before_the_loss_is_told_a_higher_version_after_it(log: Path, copy: Path) -> None:
    history = History()
    history.started("r1")
    history.opened("old", "r1-1")
    make_of(log, history)
    back_up(log, copy)
    history.opened("new", "r1-2")
    history.closed("new", "r1-2")
    told = {id: station.version for id, station in fold(presence, make_of(log, history)).items()}

    restore(copy, log)
    later = History()
    later.events = events_of(log)
    later.lost("r1")
    later.started("r2")
    later.opened("new", "r2-1")
    later.opened("old", "r2-2")
    fleet = fold(presence, later)

    assert told == {"old": 1, "new": 2}
    assert {id: station.version for id, station in fleet.items()} == {"old": 1 + 2**20, "new": 1 + 2**20}


@pytest.mark.parametrize("with_secrets", [False, True])
def test_a_restore_that_fails_does_not_mute_the_log_that_is_here(
    log: Path, copy: Path, with_secrets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(log)
    back_up(log, copy, with_secrets=with_secrets)

    def fail(*_: object) -> None:
        raise LogUnavailable("the disk is full")

    for step in ("signing_key", "publish"):
        with monkeypatch.context() as broken:
            broken.setattr(restoring, step, fail)
            with pytest.raises(LogUnavailable):
                restore(copy, log)
        check_good(log, held=False)


def test_secrets_that_cannot_be_held_keep_the_restored_log_from_its_place(
    log: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make(log)
    back_up(log, copy)

    def fail(*_: object, **__: object) -> None:
        raise LogUnavailable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(restoring, "hold", fail)
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                restore(copy, log)
            assert not log.exists()
    restore(copy, log)

    assert events_of(log)[:10] == wanted
    check_good(log)


def restored_events(path: Path) -> int:
    return sum(event.kind == LogRestored.kind for event in events_of(path))


def test_another_restore_of_the_same_copy_steps_past_what_was_told_since_the_first(log: Path, copy: Path) -> None:
    make(log)
    back_up(log, copy, with_secrets=True)

    for times in (1, 2, 3):
        assert restore(copy, log).position == 10 + times
        assert restored_events(log) == times
        check_good(log)
    log.unlink()
    restore(copy, log)
    assert restored_events(log) == 3
    assert restore(log, log).position == 14


def test_a_log_that_cannot_be_read_counts_as_restored_once_more_than_those_before_it(log: Path, copy: Path) -> None:
    make(log)
    back_up(log, copy)
    restore(copy, log)
    restore(copy, log)
    log.write_bytes(b"broken" * 1000)

    restore(copy, log)

    assert restored_events(log) == 3


def take_copy(way: str, log: Path, copy: Path) -> Path:
    """Copy a log in one of the ways there are, and return where the copy is."""
    match way:
        case "cp":
            copy.write_bytes(log.read_bytes())
        case "import":
            export(log, copy.with_name("export"))
            import_log(copy.with_name("export"), copy)
        case "restore here":
            restore(log, log)
            return log
        case "restore":
            restore(log, copy)
        case _:
            back_up(log, copy, with_secrets="secrets" in way)
    return copy


@pytest.mark.parametrize("way", ["cp", "backup", "backup --with-secrets", "import", "restore", "restore here"])
async def test_a_copy_is_mute_until_it_is_adopted(log: Path, copy: Path, way: str) -> None:
    make(log)
    copy = take_copy(way, log, copy)
    if secrets_path(copy).exists() and not default_key_file(copy).path.exists():
        shutil.copy(default_key_file(log).path, default_key_file(copy).path)

    for adopt in (False, False, True):
        async with open_engine(copy, projections=[presence, outbox], adopt=adopt) as engine:
            assert engine.mute != adopt
    async with open_engine(copy, projections=[presence, outbox]) as engine:
        assert not engine.mute
        restored = [recorded for recorded in engine.log.read() if recorded.kind == "log.restored"]
    assert len(restored) == way.startswith("restore")


async def test_runs_still_open_in_a_copy_are_found_lost_by_the_next_start(log: Path, copy: Path) -> None:
    async with open_engine(log, projections=[presence]) as engine:
        run = engine.run
        back_up(log, copy)

    restore(copy, log)

    async with open_engine(log, projections=[presence]) as engine:
        assert [recorded.id for recorded in engine.log.read()][-2:] == [f"{run}:lost", engine.run]

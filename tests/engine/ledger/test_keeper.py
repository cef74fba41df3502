"""The ledger of a log on the disk: what is kept outside, and what a start refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from stationkeeper.engine import open_engine
from stationkeeper.engine.entry import leaf
from stationkeeper.engine.errors import LogContradicted, LogUnavailable
from stationkeeper.engine.events import WebhookTested
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.keeper import SNAPSHOT, Ledger, open_ledger
from stationkeeper.engine.ledger.note import SigningKey, signer_of
from stationkeeper.engine.ledger.tree import Tree
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.secrets import MemorySecrets, open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.engine.testing.logs import some_entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def fill(log: SqliteLog, count: int) -> None:
    # Some have a private part, some have none.
    numbers = range(log.position + 1, log.position + count + 1)
    log.append([some_entry(f"e{number}", private=b"192.0.2.1" if number % 2 else b"") for number in numbers])


def open_with_secrets(path: Path) -> tuple[SqliteLog, Ledger]:
    log = open_log(path)
    try:
        secrets = open_secrets(path, log.log_id, create=True)
        assert secrets is not None
        with closing(secrets):
            return log, open_ledger(log, path, log.log_id, secrets)
    except BaseException:
        log.close()
        raise


def protected(path: Path, events: int, *, snapshot_at: int | None = None) -> None:
    """Make a log of so many events, all of them vouched for outside."""
    log, _ = open_with_secrets(path)
    with closing(log):
        if snapshot_at is not None:
            fill(log, snapshot_at)
            _, ledger = reopened(log, path)
            log.keep_snapshots([ledger.snapshot()])
        fill(log, events - log.position)
        _, ledger = reopened(log, path)
        ledger.protect(*ledger.note())


def reopened(log: SqliteLog, path: Path) -> tuple[SqliteLog, Ledger]:
    secrets = open_secrets(path, log.log_id, create=False)
    assert secrets is not None
    with closing(secrets):
        return log, open_ledger(log, path, log.log_id, secrets)


def tamper(path: Path, *statements: str) -> None:
    with closing(connect(path, mode="rw")) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_checkpoint_outside_speaks_of_the_whole_log(path: Path) -> None:
    protected(path, 5)

    note, keys = outside.read_note(path), outside.read_keys(path)
    assert note is not None
    checkpoint = Checkpoint.parse(note)
    with closing(open_log(path)) as log:
        tree = Tree()
        tree.extend([leaf(recorded) for recorded in log.read()])
        assert checkpoint == Checkpoint(f"stationkeeper/{log.log_id}", 5, tree.root())
    assert signer_of(note, keys) == keys[0]


def test_an_honest_log_opens_with_and_without_a_snapshot(path: Path) -> None:
    protected(path, 7, snapshot_at=3)

    log, ledger = open_with_secrets(path)
    with closing(log):
        assert (ledger.size, ledger.protected) == (7, 7)
        fill(log, 2)
        _, ledger = reopened(log, path)
        assert (ledger.size, ledger.protected) == (9, 7)


CUT = ("DELETE FROM event WHERE position > 4", "UPDATE head SET position = 4")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (CUT, "ends at position 4, but fleet.db.checkpoint knows of 7 events"),
        (("UPDATE event SET body = x'7b207d' WHERE position = 6",), "position 6 was changed"),
        (("UPDATE event SET private = x'00' WHERE position = 5",), "position 5 was changed"),
        (("UPDATE event SET private = x'00' WHERE position = 6",), "position 6 was changed"),
        (("UPDATE event SET position = 99 WHERE position = 6", "UPDATE event SET position = 6 WHERE position = 5",
          "UPDATE event SET position = 5 WHERE position = 99"), "an event up to position 7 was changed or replaced"),
    ],
    ids=["cut", "body", "private", "private where none was", "order"],
)  # fmt: skip
@pytest.mark.parametrize("snapshot_at", [None, 3])
def test_a_log_that_was_meddled_with_is_refused(
    path: Path, changes: tuple[str, ...], why: str, snapshot_at: int | None
) -> None:
    protected(path, 7, snapshot_at=snapshot_at)
    tamper(path, *changes)

    with pytest.raises(LogContradicted, match=why) as caught:
        open_with_secrets(path)
    assert "stationkeeper restore fleet.db fleet.db" in str(caught.value)


def test_an_event_changed_before_a_snapshot_is_found_when_the_checkpoint_is_older(path: Path) -> None:
    protected(path, 7)
    log, _ = open_with_secrets(path)
    with closing(log):
        fill(log, 3)
        _, ledger = reopened(log, path)
        log.keep_snapshots([ledger.snapshot()])
    tamper(path, "UPDATE event SET body = x'7b207d' WHERE position = 2")

    with pytest.raises(LogContradicted, match="position 2 was changed"):
        open_with_secrets(path)


@pytest.mark.parametrize(
    "state", [b"", b"{}", Tree().dump(), b'{"size":3,"peaks":["AAAA"]}'], ids=["empty", "odd", "small", "false"]
)
def test_a_snapshot_that_does_not_fit_is_not_trusted(path: Path, state: bytes) -> None:
    protected(path, 7, snapshot_at=3)
    with closing(connect(path, mode="rw")) as connection:
        connection.execute("UPDATE snapshot SET state = ? WHERE name = ?", (state, SNAPSHOT))

    log, ledger = open_with_secrets(path)
    log.close()
    assert ledger.size == 7


def test_an_older_copy_is_refused(path: Path) -> None:
    protected(path, 4)
    older = path.with_name("older")
    shutil.copy(path, older)
    log, _ = open_with_secrets(path)
    with closing(log):
        fill(log, 3)
        _, ledger = reopened(log, path)
        ledger.protect(*ledger.note())
    older.replace(path)

    with pytest.raises(LogContradicted, match="an older copy was put in its place"):
        open_with_secrets(path)


def forged(path: Path) -> None:
    outside.write_note(
        path, Checkpoint("stationkeeper/x", 7, bytes(32)).signed(SigningKey("stationkeeper/x", bytes(32)))
    )


def signed_by_a_stranger(path: Path) -> None:
    note = outside.read_note(path)
    assert note is not None
    checkpoint = Checkpoint.parse(note)
    outside.write_note(path, checkpoint.signed(SigningKey(checkpoint.origin, bytes(32))))


def torn(path: Path) -> None:
    outside.write_note(path, b"stationkeeper/x\n7\n")


def altered(path: Path) -> None:
    note = outside.read_note(path)
    assert note is not None
    outside.write_note(path, note.replace(b"\n7\n", b"\n6\n"))


@pytest.mark.parametrize(
    ("meddle", "why"),
    [(forged, "of another log"), (signed_by_a_stranger, "not signed by a key in fleet.db.vkey"),
     (torn, "no signed checkpoint"), (altered, "is false")],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_checkpoint_that_is_not_ours_is_refused(path: Path, meddle: Callable[[Path], None], why: str) -> None:
    protected(path, 7)
    meddle(path)

    with pytest.raises(LogContradicted, match=why):
        open_with_secrets(path)


def test_a_copy_is_compared_but_vouches_for_nothing(path: Path) -> None:
    protected(path, 7)
    with closing(open_log(path)) as log:
        ledger = open_ledger(log, path, log.log_id, MemorySecrets())
        assert (ledger.key, ledger.size, ledger.protected) == (None, 7, 7)
    tamper(path, *CUT)
    with closing(open_log(path)) as log, pytest.raises(LogContradicted):
        open_ledger(log, path, log.log_id, MemorySecrets())


def test_an_adopted_copy_trusts_what_the_old_key_signed_and_signs_with_its_own(path: Path) -> None:
    protected(path, 7)
    path.with_name("fleet.db.secrets").unlink()
    log, ledger = open_with_secrets(path)
    with closing(log):
        fill(log, 1)
        _, ledger = reopened(log, path)
        ledger.protect(*ledger.note())

    keys, note = outside.read_keys(path), outside.read_note(path)
    assert note is not None
    assert len(set(keys)) == 2
    assert signer_of(note, keys) == keys[1]


def test_a_newer_checkpoint_is_not_written_over(path: Path) -> None:
    protected(path, 3)
    log, older = open_with_secrets(path)
    with closing(log):
        note = older.note()
        fill(log, 2)
        _, newer = reopened(log, path)
        newer.protect(*newer.note())
        newer.protect(*note)

    kept = outside.read_note(path)
    assert kept is not None
    assert Checkpoint.parse(kept).size == 5


# --- kept by a running engine ----------------------------------------------------------------------------------------


def size_outside(path: Path) -> int:
    note = outside.read_note(path)
    return 0 if note is None else Checkpoint.parse(note).size


async def test_what_is_committed_is_vouched_for_within_a_second(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_engine(path, clock=VirtualClock(), inline=True) as engine:
        assert size_outside(path) == engine.position == 1
        for number in range(5):
            await engine.record(WebhookTested(), id=f"t{number}")
        assert size_outside(path) == 1
        await trio.sleep(1)
        assert size_outside(path) == engine.position == 6
    assert size_outside(path) == 7


async def test_a_thousand_events_are_vouched_for_at_once(path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_engine(path, clock=VirtualClock(), inline=True) as engine:
        batch = [engine.seal(WebhookTested(), id=f"t{number}") for number in range(1_000)]
        await engine.submit(batch).wait()
        begun = trio.current_time()
        await trio.sleep(0.01)
        assert (size_outside(path), trio.current_time() - begun < 0.1) == (1_001, True)


async def test_a_checkpoint_that_cannot_be_written_holds_nobody_up(
    path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LogUnavailable("the disk is full")

    async with open_engine(path, clock=VirtualClock(), inline=True) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(outside, "write_note", full)
            await engine.record(WebhookTested())
            await trio.sleep(5)
            assert engine.ledger is not None
            assert (engine.ledger.failures > 1, engine.ready, size_outside(path)) == (True, True, 1)
        await trio.sleep(2)
        assert size_outside(path) == 2


async def test_a_log_that_was_cut_is_not_served(path: Path) -> None:
    async with open_engine(path) as engine:
        await engine.record(WebhookTested())
    tamper(path, "DELETE FROM event WHERE position = 3", "UPDATE head SET position = 2")

    with pytest.raises(LogContradicted, match="ends at position 2"):
        async with open_engine(path):
            pass


def test_a_log_has_a_checkpoint_as_soon_as_it_has_a_key(path: Path) -> None:
    log, ledger = open_with_secrets(path)
    with closing(log):
        assert (ledger.protected, size_outside(path)) == (0, 0)
        fill(log, 3)
    outside.checkpoint_path(path).unlink()

    log, ledger = open_with_secrets(path)
    log.close()
    assert (ledger.protected, size_outside(path)) == (3, 3)


def test_a_checkpoint_that_was_removed_is_missed_aloud(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    protected(path, 3)
    assert caplog.records == []
    outside.checkpoint_path(path).unlink()

    open_with_secrets(path)[0].close()
    (said,) = caplog.messages
    assert "fleet.db.checkpoint is gone" in said

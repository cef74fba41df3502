"""Truth 5: whatever is done to a log up to its checkpoint is found, and where; what is not found lies past it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import second_verifier as second
from audited import append_all, audit, forged, keep_snapshots, make, tamper, vouch
from histories import History
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from strategies import arbitrary_histories

from stationkeeper.daemon.audit.verdict import Report
from stationkeeper.engine.entry import Entry, Recorded
from stationkeeper.engine.errors import LogError
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

# An example copies, changes and audits a whole log, which takes much longer than most.
few = settings(max_examples=max(20, settings().max_examples // 5))

REACH, END = 24, 32
"""How far the log that is meddled with is vouched for, and where it ends."""
COLUMNS = ("id", "at", "kind", "schema", "subject", "gateway", "run", "actor", "body", "private", "salt", "leaf")


def entries() -> Iterator[Entry]:
    story = History()
    story.started("r1")
    for n in range(1, 16):
        story.opened(f"CP-{n % 4}", f"r1-{n}")
        story.closed(f"CP-{n % 4}", f"r1-{n}")
    for recorded in story:
        # Every column holds something, so that there is something to change.
        yield some_entry(recorded.id, at=recorded.at, subject="CP-1", run="r1", private=b"192.0.2.1")
    yield some_entry("last", private=b"::1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose later events still stand in its `-wal`, copied while it was open."""
    folder = tmp_path_factory.mktemp("kept")
    made = folder / "open" / "fleet.db"
    made.parent.mkdir()
    all_of_it = [*entries()]
    for at, entry in enumerate(all_of_it):
        all_of_it[at] = forged(entry, actor="cli")
    make(made, all_of_it[:8])
    with closing(open_log(made)) as log:
        append_all(log, all_of_it[8:REACH])
        keep_snapshots(log)
        vouch(log)
        append_all(log, all_of_it[REACH:])
        assert log.position == END
        for file in made.parent.iterdir():
            copy(file, folder)
    return folder / "fleet.db"


@contextmanager
def scratch(kept: Path) -> Generator[Path]:
    """A copy of a log with all that stands beside it."""
    with TemporaryDirectory() as folder:
        for file in kept.parent.glob("fleet.db*"):
            if not file.name.endswith("-shm"):
                copy(file, folder)
        yield Path(folder, "fleet.db")


def judged(path: Path) -> Report | None:
    """Return what an audit found; none where SQLite itself refuses."""
    try:
        return audit(path)
    except LogError:
        return None


def value_at(path: Path, column: str, position: int) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {column} FROM event WHERE position = ?", (position,)).fetchone()[0]


def flipped(value: Any, byte: int, mask: int) -> tuple[str, Any]:
    """Return a value with one byte changed, and what SQL makes a column's value of it."""
    if isinstance(value, int):
        return "?", value ^ mask << 8 * (byte % 6)
    data = bytearray(value if isinstance(value, bytes) else value.encode())
    data[byte % len(data)] ^= mask
    return ("?" if isinstance(value, bytes) else "CAST(? AS TEXT)"), bytes(data)


def test_the_log_that_is_meddled_with_is_sound_at_first(kept: Path) -> None:
    with scratch(kept) as path:
        report = audit(path)

        assert report.sound
        assert (report.position, report.protection.position) == (END, REACH)
        assert second.first_wrong(second.rows(path)) is None


@few
@given(st.sampled_from(COLUMNS), st.integers(1, END), st.integers(0, 200), st.integers(1, 255))
def test_any_byte_that_is_changed_in_any_column_is_found_at_its_position(
    kept: Path, column: str, position: int, byte: int, mask: int
) -> None:
    with scratch(kept) as path:
        sql, value = flipped(value_at(path, column, position), byte, mask)
        try:
            tamper(path, (f"UPDATE event SET {column} = {sql} WHERE position = ?", (value, position)))
        except sqlite3.IntegrityError:
            reject()  # it became the id of another event, which the index of ids does not let in

        report = audit(path)
        assert not report.sound
        assert report.first_wrong is not None
        assert (report.first_wrong.position, report.first_wrong.at_most) == (position, None)


@few
@given(st.integers(1, END), st.integers(1, 255))
def test_an_event_that_was_changed_with_its_hash_is_found_up_to_the_checkpoint(
    kept: Path, position: int, mask: int
) -> None:
    with scratch(kept) as path:
        with closing(open_log(path)) as log:
            old = next(iter(log.read(position - 1)))
        changed = forged(old, at=old.at ^ mask)
        tamper(path, ("UPDATE event SET at = ?, leaf = ? WHERE position = ?", (changed.at, changed.leaf, position)))

        report = audit(path)
        wrong = report.first_wrong
        if position <= REACH:
            assert [check.name for check in report.failed if check.name.startswith("checkpoint")]
            assert wrong is not None
            assert wrong.position is not None
            assert wrong.position <= position <= (wrong.at_most or wrong.position)
        else:
            assert report.protection.position == REACH < position


@few
@given(st.integers(0, END - 1))
def test_a_tail_that_was_cut_is_found_up_to_the_checkpoint(kept: Path, length: int) -> None:
    with scratch(kept) as path:
        with closing(open_log(path)) as log:
            newest = max((recorded.at for recorded in log.read(until=length)), default=0)
        tamper(
            path,
            f"DELETE FROM event WHERE position > {length}",
            f"UPDATE head SET position = {length}, latest_at = {newest}",
            "DELETE FROM snapshot",
        )

        report = audit(path)
        if length < REACH:
            assert report.first_wrong is not None
            assert (report.first_wrong.position, report.first_wrong.at_most) == (length + 1, None)
        else:
            assert report.sound
            assert report.protection.position == REACH <= length


@few
@given(st.integers(1, END), st.integers(1, END))
def test_events_that_changed_places_are_found_up_to_the_checkpoint(kept: Path, one: int, other: int) -> None:
    with scratch(kept) as path:
        tamper(
            path,
            f"UPDATE event SET position = 99 WHERE position = {one}",
            f"UPDATE event SET position = {one} WHERE position = {other}",
            f"UPDATE event SET position = {other} WHERE position = 99",
        )

        report = audit(path)
        first = min(one, other)
        if one != other and first <= REACH:
            assert report.first_wrong is not None
            assert report.first_wrong.position is not None
            assert report.first_wrong.position <= first <= (report.first_wrong.at_most or first)
        else:
            assert report.protection.position == REACH


@few
@given(st.integers(1, END))
def test_an_event_that_was_put_in_between_is_found_up_to_the_checkpoint(kept: Path, position: int) -> None:
    entry = some_entry("intruder")
    with scratch(kept) as path:
        tamper(
            path,
            f"UPDATE event SET position = -position - 1 WHERE position >= {position}",
            "UPDATE event SET position = -position WHERE position < 0",
            f"UPDATE head SET position = {END + 1}",
            (
                f"INSERT INTO event (position, {', '.join(Entry.__struct_fields__)}) "
                f"VALUES ({position}, {', '.join('?' * len(Entry.__struct_fields__))})",
                tuple(getattr(entry, name) for name in Entry.__struct_fields__),
            ),
        )

        report = audit(path)
        if position <= REACH:
            assert not report.sound
            assert report.first_wrong is not None
            assert report.first_wrong.position is not None
            assert report.first_wrong.position <= position <= (report.first_wrong.at_most or position)
        else:
            assert report.protection.position == REACH


@few
@given(st.data())
@pytest.mark.parametrize("part", ["fleet.db", "fleet.db-wal"])
def test_a_bit_that_flips_in_the_files_is_found_or_changes_no_protected_event(
    kept: Path, part: str, data: st.DataObject
) -> None:
    good = [(row.position, row.leaf, row.private) for row in second.rows(kept)]
    with scratch(kept) as path:
        file = path.with_name(part)
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)

        report = judged(path)
        if report is not None and report.sound:
            assert report.protection.position == REACH
            left = [(row.position, row.leaf, row.private) for row in second.rows(path)]
            assert left == good[: len(left)]
            assert len(left) >= REACH


def test_a_schema_that_is_no_text_any_more_is_found(kept: Path) -> None:
    with scratch(kept) as path:
        for part in ("fleet.db", "fleet.db-wal"):
            file = path.with_name(part)
            if file.exists():
                file.write_bytes(file.read_bytes().replace(b'"migration_set" TEXT', b'"migration_set"\xa0TEXT'))

        report = audit(path)
        assert not report.sound
        assert "its schema cannot be read" in next(check.detail for check in report.failed if check.name == "schema")


@few
@given(arbitrary_histories(max_size=25).filter(len), st.integers(1, 25))
def test_the_second_verifier_agrees_about_any_history(history: list[Recorded], reach: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "fleet.db")
        reach, end = make(path, history[:reach], history[reach:])
        rows, note = second.rows(path), path.with_name("fleet.db.checkpoint").read_bytes()

        report = audit(path)
        assert [check for check in report.failed if check.name != "replay"] == []
        assert (report.position, report.protection.position) == (end, reach)
        assert second.first_wrong(rows) is None
        origin, size, root = second.opened(note, path.with_name("fleet.db.vkey").read_text())
        assert (origin, size) == (f"stationkeeper/{report.log_id}", reach)
        assert root == second.root([row.leaf for row in rows[:reach]])


@few
@given(arbitrary_histories(max_size=12).filter(len), st.data())
def test_both_verifiers_name_the_same_first_position(history: list[Recorded], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "fleet.db")
        _, end = make(path, history)
        for position in data.draw(st.sets(st.integers(1, end), min_size=1, max_size=3)):
            change = data.draw(
                st.sampled_from(["DELETE FROM event", "UPDATE event SET actor = 'x'", "UPDATE event SET leaf = x'00'"])
            )
            tamper(path, f"{change} WHERE position = {position}")

        report = audit(path)
        assert report.first_wrong is not None
        assert report.first_wrong.position == (second.first_wrong(second.rows(path)) or len(second.rows(path)) + 1)

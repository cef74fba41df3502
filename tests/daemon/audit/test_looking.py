"""Truth 22: verifying and proving leave a log byte for byte as it is, also beside whoever writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from audited import append_all, audit, files_of, keep_snapshots, make, vouch
from calling import Call
from served import kinds, register, serving, until

from stationkeeper.engine.entry import Entry
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.engine.testing.logs import some_entry

COMMANDS = (
    ("verify", "x.db"),
    ("verify", "x.db", "--no-replay", "--format", "json", "--checkpoint", "x.db.checkpoint"),
    ("prove", "x.db", "3"),
    ("prove", "x.db", "--since", "x.db.checkpoint"),
)


def entries(count: int, first: int = 1) -> Iterator[Entry]:
    return (some_entry(f"e{n}", private=b"192.0.2.1") for n in range(first, first + count))


@pytest.mark.parametrize("words", COMMANDS)
def test_a_log_that_nobody_writes_stays_as_it_is(call: Call, tmp_path: Path, words: tuple[str, ...]) -> None:
    make(tmp_path / "x.db", entries(7), entries(2, 8))
    before = {name: (data, (tmp_path / name).stat().st_mtime_ns) for name, data in files_of(tmp_path / "x.db").items()}

    assert call(*words).code == 0
    assert {
        name: (data, (tmp_path / name).stat().st_mtime_ns) for name, data in files_of(tmp_path / "x.db").items()
    } == before


@pytest.mark.parametrize("words", COMMANDS)
def test_a_log_that_is_written_meanwhile_stays_as_it_is(call: Call, tmp_path: Path, words: tuple[str, ...]) -> None:
    with closing(open_log(tmp_path / "x.db")) as log:
        append_all(log, entries(7))
        vouch(log)
        append_all(log, entries(2, 8))
        before = files_of(tmp_path / "x.db")
        assert before["x.db-wal"]

        assert call(*words).code == 0
        assert files_of(tmp_path / "x.db") == before
        append_all(log, entries(1, 10))


def test_a_log_that_grows_during_the_audit_is_sound(tmp_path: Path) -> None:
    over = Event()

    def write() -> None:
        with closing(open_log(tmp_path / "x.db")) as log:
            while not over.is_set():
                append_all(log, entries(7, log.position + 1))
                keep_snapshots(log)
                vouch(log)

    make(tmp_path / "x.db", entries(7))
    writer = Thread(target=write)
    writer.start()
    try:
        reports = [audit(tmp_path / "x.db")]
        while len(reports) < 10 or reports[-1].position == reports[0].position:
            reports.append(audit(tmp_path / "x.db"))
    finally:
        over.set()
        writer.join()
    assert [check for report in reports for check in report.failed] == []


def test_beside_a_daemon_a_log_is_sound_and_stays_as_it_is(call: Call, tmp_path: Path) -> None:
    password = register(tmp_path, "CP-1")
    log, wal = tmp_path / "x.db", tmp_path / "x.db-wal"
    with serving(tmp_path) as served:
        served.ready()
        with served.dial("CP-1", password.encode()):
            pass
        until(lambda: "connection.closed" in kinds(tmp_path), "the station has left")
        before, tail = log.read_bytes(), wal.read_bytes()

        said = call("verify", "x.db")
        assert said.code == 0, said.out
        assert call("prove", "x.db", "1").code == 0
        assert log.read_bytes() == before
        # The daemon goes on writing, behind what was there.
        assert wal.read_bytes()[: len(tail)] == tail
        assert served.stop() == 0
    said = call("verify", "x.db")
    assert said.code == 0, said.out
    assert "are protected by x.db.checkpoint" in said.out
    assert "are not yet" not in said.out

"""The daemon as a process: what it refuses to start with, each in one line and with an exit code that says why."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from served import serving

from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import StationRemoved
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog


def test_a_log_that_is_served_is_locked_and_the_holder_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        first.ready()
        with serving(tmp_path) as second:
            code = second.wait()

        assert code == 3
        (line,) = second.said
        assert f"process {first.process.pid}" in line["event"]
        assert first.get("/readyz")[0] == 200


@pytest.mark.parametrize("flag", ["--stations", "--http"])
def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving(tmp_path, flag, address) as served:
            code = served.wait()

    assert code == 2
    # Beside it stands only that a first start made the key of the secrets.
    (line,) = [said for said in served.said if said.get("level") != "info"]
    assert address in line["event"]
    assert "Error: " in line["event"]


def lost(folder: Path) -> None:
    """Another log's secrets, but not that log."""
    secrets = open_secrets(folder / "x.db", "another", create=True)
    assert secrets is not None
    secrets.close()


def foreign(folder: Path) -> None:
    (folder / "x.db").write_bytes(b"no database at all" * 100)


def newer(folder: Path) -> None:
    SqliteLog.open(folder / "x.db").close()
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(folder: Path) -> None:
    SqliteLog.open(folder / "x.db").close()
    content = (folder / "x.db").read_bytes()
    (folder / "x.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def from_the_future(folder: Path) -> None:
    log = SqliteLog.open(folder / "x.db")
    log.append([seal(StationRemoved(), id="later", at=time.time_ns() // 1000 + 3_600_000_000)])
    log.close()
    secrets = open_secrets(folder / "x.db", log.log_id, create=True)
    assert secrets is not None
    secrets.close()


def unknown_key(folder: Path) -> None:
    (folder / "stationkeeper.toml").write_text('[stations]\nlissten = "x"\n')


def no_token(folder: Path) -> None:
    (folder / "tokens").write_text("# nobody\n")


def missing_certificate(folder: Path) -> None:
    (folder / "stationkeeper.toml").write_text('[stations]\ntls_certificate = "a.pem"\ntls_key = "a.key"\n')


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (lost, 3, "To begin a new log here, move x.db.secrets away"),
        (foreign, 3, "x.db"),
        (newer, 3, "newer release"),
        (damaged, 3, "damaged"),
        (from_the_future, 3, "--accept-clock"),
        (unknown_key, 2, "did you mean listen?"),
        (no_token, 2, "holds no token"),
        (missing_certificate, 2, "a.pem does not exist"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], code: int, told: str
) -> None:
    spoil(tmp_path)
    with serving(tmp_path) as served:
        assert served.wait() == code
    (line,) = served.said
    assert told in line["event"]


def test_without_tokens_the_api_stays_on_this_machine(tmp_path: Path) -> None:
    with serving(tmp_path, "--http", "0.0.0.0:0") as served:
        assert served.wait() == 2
    (line,) = served.said
    assert "token_file" in line["event"]


def test_a_clock_that_is_right_after_all_can_be_accepted(tmp_path: Path) -> None:
    from_the_future(tmp_path)
    with serving(tmp_path, "--accept-clock") as served:
        assert served.get("/readyz")[0] == 200

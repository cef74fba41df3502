"""The daemon as a process, while it has no descriptors, a slow disk, or a log that somebody else lays hands on."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from faulting import FAIL, OPEN, SLOW, SYNC, compiled
from served import Served, kinds, serving, until
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.reading import read_log

WATCHFUL = {"STATIONKEEPER_LIVENESS_PING_INTERVAL": "1s", "STATIONKEEPER_LIVENESS_PING_TIMEOUT": "1s"}


def online(served: Served, station: str) -> bool:
    return bool(served.get(f"/chargestations/{station}")[1]["online"])


def pings(station: ClientConnection) -> list[Frame]:
    """Return what fills with the pings that reach a station from now on; it goes on answering them."""
    seen: list[Frame] = []
    receive = station.protocol.recv_frame

    def noting(frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            seen.append(frame)
        receive(frame)

    vars(station.protocol)["recv_frame"] = noting
    return seen


@contextmanager
def no_descriptors(process: int) -> Iterator[None]:
    """Let a process open nothing more for as long as the block lasts."""
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (1, before[1]))
    yield
    resource.prlimit(process, resource.RLIMIT_NOFILE, before)


def test_without_descriptors_nobody_goes_offline_and_the_log_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, "--open", environ=WATCHFUL) as served, served.dial("CP-1") as stays:
        place = urlsplit(served.ready()["stations"][0])
        seen = pings(stays)
        with served.dial("CP-2") as leaves, no_descriptors(served.process.pid):
            known = len(kinds(tmp_path))
            with socket.create_connection((place.hostname, place.port)):
                leaves.close()
                until(lambda: len(kinds(tmp_path)) > known, "what happened is in the log")
                until(lambda: len(seen) >= 2, "stations are still pinged")
        with served.dial("CP-3"):
            assert (online(served, "CP-1"), online(served, "CP-2"), online(served, "CP-3")) == (True, False, True)
        served.stop()

    assert "connection.ping_timed_out" not in kinds(tmp_path)
    assert (tmp_path / "x.db.checkpoint").read_text().split("\n")[1] == str(len(kinds(tmp_path)))


def test_on_a_slow_disk_everybody_is_let_in_and_nobody_times_out(tmp_path: Path) -> None:
    """Each sync but the first, which make the log, takes 0.2 s: the loop must not wait for any of them."""
    slow = f"*x.db* {SYNC} {SLOW} 30 0 200000"
    environ = {**WATCHFUL, "LD_PRELOAD": str(compiled("faults", tmp_path)), "FAULTS": slow}
    with serving(tmp_path, "--open", environ=environ) as served, ExitStack() as stack:
        stations = [stack.enter_context(served.dial(f"CP-{n}")) for n in range(5)]
        seen = [pings(station) for station in stations]
        until(lambda: all(len(each) >= 2 for each in seen), "each is pinged twice, and answers")
        assert all(online(served, f"CP-{n}") for n in range(5))
        for station in stations:
            station.close()
        until(lambda: not any(online(served, f"CP-{n}") for n in range(5)), "they are offline")
        served.stop()

    assert "connection.ping_timed_out" not in kinds(tmp_path)
    assert "gateway.stalled" not in kinds(tmp_path)


def test_while_a_tool_locks_the_log_nobody_is_let_in_and_no_flag_moves(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-1") as leaves:
        with closing(connect(tmp_path / "x.db", mode="rw")) as tool:
            tool.execute("BEGIN IMMEDIATE")
            leaves.close()
            until(lambda: served.get("/readyz")[0] == 503, "it says that it is not ready")
            with pytest.raises(InvalidStatus) as caught, served.dial("CP-2"):
                pass
            assert caught.value.response.status_code == 503
            assert "Retry-After" in caught.value.response.headers
            assert online(served, "CP-1"), "a flag moved before its event was committed"
            assert served.get("/healthz")[0] == 200
        until(lambda: served.get("/readyz")[0] == 200, "it has recovered by itself")
        until(lambda: not online(served, "CP-1"), "what had happened meanwhile is told")
        with served.dial("CP-2"):
            assert online(served, "CP-2")
        served.stop()

    closed = [decode(event) for event in read_log(tmp_path / "x.db", subject="CP-1", kinds=["connection.closed"])]
    assert [type(event) for event in closed] == [ConnectionClosed]


def test_a_log_that_somebody_else_writes_stops_it_with_exit_code_3(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-1") as station:
        with closing(connect(tmp_path / "x.db", mode="rw")) as tool:
            tool.execute("UPDATE head SET position = position + 1")
        station.close()
        assert served.wait() == 3
        assert "was written by another program" in str(served.said)


def test_a_start_without_descriptors_says_why(tmp_path: Path) -> None:
    none = f"*x.db* {OPEN} {FAIL} 1 0 {errno.EMFILE}"
    environ = {"LD_PRELOAD": str(compiled("faults", tmp_path)), "FAULTS": none}
    with serving(tmp_path, environ=environ) as served:
        assert served.wait() == 3
        assert "Too many open files" in str(served.said)

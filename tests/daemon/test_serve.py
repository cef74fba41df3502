"""The daemon as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from served import PATIENCE, kinds, serving, until
from websockets.exceptions import ConnectionClosed as Closed

from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed
from stationkeeper.engine.log.reading import read_log


def test_it_says_where_it_listens_and_answers_there(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        said = served.ready()

        assert said["stations"][0].startswith("ws://127.0.0.1:")
        assert said["http"].startswith("http://127.0.0.1:")
        assert served.get("/readyz")[0] == 200
        assert served.get("/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-7") as station:
        served.process.send_signal(number)
        with pytest.raises(Closed) as caught:
            station.recv(timeout=PATIENCE)
        assert served.line("stopped")["closed"] == 1
        code = served.wait()
    *_, closed, stopped = read_log(tmp_path / "x.db")
    event = decode(closed)

    assert code == 0
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    assert isinstance(event, ConnectionClosed)
    assert event.cause == "shutdown"
    assert stopped.kind == "gateway.stopped"


def test_a_second_signal_cuts_the_stop_short_and_the_next_start_finds_the_run_lost(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}"
        (tmp_path / "stationkeeper.toml").write_text(
            "[webhooks]\nallow_http = true\nallow_private_networks = true\n"
            f'[[webhook]]\nname = "hangs"\nurl = "{url}"\nsecret_file = "a.secret"\n'
        )
        with serving(tmp_path, "--open") as served, served.dial("CP-7"):
            message, _ = receiver.accept()  # and nobody answers it: an orderly stop waits for a while
            with message:
                served.process.send_signal(signal.SIGTERM)
                served.line("stopping")
                readiness, liveness = served.get("/readyz")[0], served.get("/healthz")[0]
                asked = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                code = served.wait()
                took = time.monotonic() - asked
        before = kinds(tmp_path)
        with serving(tmp_path, "--hold") as again:
            again.ready()
            again.stop()

    assert (readiness, liveness, code) == (503, 200, 0)
    assert took < 10
    assert "gateway.stopped" not in before
    assert kinds(tmp_path)[len(before) :][0] == "gateway.lost"


def test_after_a_kill_the_station_is_held_and_comes_back_without_a_flip(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-7"):
        until(lambda: served.get("/chargestations/CP-7")[1].get("online"), "it is online")
        served.process.kill()
        assert served.wait() == -signal.SIGKILL
    with serving(tmp_path, "--open") as again:
        held = again.get("/chargestations/CP-7")[1]
        with again.dial("CP-7"):
            back = until(lambda: (now := again.get("/chargestations/CP-7")[1])["observed"] and now, "it is back")
            again.stop()

    assert (held["online"], held["observed"], held["version"]) == (True, False, 1)
    assert (back["online"], back["observed"], back["version"]) == (True, True, 1)
    assert "gateway.lost" in kinds(tmp_path)


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        until(lambda: (tmp_path / "x.db.lock").exists(), "it has begun")
        served.process.send_signal(signal.SIGTERM)

        assert served.wait() == 0

"""The demo, as a user runs it: it shows the dashboard's address, survives a kill, and ends with a verdict."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from stationkeeper.daemon.simulation.gateway import NAME

COMMAND = [sys.executable, "-m", "stationkeeper", "demo", "--stations", "12"]


def test_the_demo_ends_with_its_verdict_and_runs_again_on_the_same_log(tmp_path: Path) -> None:
    for seconds in ("15", "4"):
        done = subprocess.run(
            [*COMMAND, "--seconds", seconds], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        print(done.stdout, done.stderr)

        assert done.returncode == 0
        assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+/", done.stdout)
        assert "Killing the daemon (SIGKILL)" in done.stdout
        assert done.stdout.splitlines()[-2] == "Every truth held."
        assert "do not serve it for real" in done.stdout.splitlines()[-1]
        assert done.stderr == ""


def test_ctrl_c_ends_the_demo_in_order_with_a_verdict(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        demo = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while "Ctrl-C ends it" not in output.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)

    assert demo.wait(timeout=120) == 0
    assert output.read_text().splitlines()[-2] == "Every truth held."


def test_a_demos_log_that_another_daemon_holds_is_a_message_and_code_3(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "stationkeeper", "serve", "--stations", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    named = {**os.environ, "STATIONKEEPER_GATEWAY_NAME": NAME}
    with (tmp_path / "output").open("w") as file:
        holder = subprocess.Popen(serve, cwd=tmp_path, env=named, stdout=file, stderr=subprocess.STDOUT)
    try:
        while '"ready"' not in (tmp_path / "output").read_text():
            time.sleep(0.05)
        done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    finally:
        holder.terminate()
        holder.wait()

    assert done.returncode == 3
    assert "Error: the gateway ended with code 3" in done.stderr
    assert "Traceback" not in done.stderr

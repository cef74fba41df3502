"""What the daemon says: one shape for all, and no value of a local variable in it."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import logging, sys
sys.stderr.isatty = lambda: {tty}
from stationkeeper.daemon import logs
logs.configure()
import structlog
def check(password):
    raise RuntimeError("it failed")
try:
    check("canary-" + "password")
except RuntimeError:
    logging.getLogger("stationkeeper.engine").exception("a %s one", "loud")
    structlog.get_logger("stationkeeper").exception("ours", station="CP-7")
structlog.get_logger("stationkeeper").info("ready", stations=["ws://here"])
"""


def said(*, tty: bool) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(tty=tty)], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stderr


def test_where_no_terminal_is_each_line_is_json_head_first() -> None:
    lines = [json.loads(line) for line in said(tty=False).splitlines()]

    assert [line["event"] for line in lines] == ["a loud one", "ours", "ready"]
    assert [list(line)[:3] for line in lines] == [["at", "level", "event"]] * 3
    assert lines[1]["station"] == "CP-7"
    assert lines[0]["exception"][0]["exc_value"] == "it failed"


def test_on_a_terminal_people_can_read_it() -> None:
    text = said(tty=True)

    assert "a loud one" in text
    assert "RuntimeError: it failed" in text


def test_no_local_variable_is_shown() -> None:
    for tty in (False, True):
        assert "canary-password" not in said(tty=tty)

"""systemd is told how we are, where there is one; and nothing breaks where it cannot be."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from stationkeeper.daemon.systemd import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_reaches_the_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@stationkeeper-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1\nSTATUS=here")

        assert manager.recv(100) == b"READY=1\nSTATUS=here"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with caplog.at_level(logging.WARNING):
        notify("READY=1")

    assert caplog.records == []


def test_a_manager_that_is_gone_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    with caplog.at_level(logging.WARNING):
        notify("READY=1\nSTATUS=here")

    (record,) = caplog.records
    assert "READY=1" in record.getMessage()

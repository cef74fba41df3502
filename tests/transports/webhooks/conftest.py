"""Names of receivers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from name_servers import Zone


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    zone = Zone()
    monkeypatch.setattr(socket, "getaddrinfo", zone.look_up)
    yield zone
    zone.nobody_answers.set()

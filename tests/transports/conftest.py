"""Clocks for tests with real sockets."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def patient_clock() -> MockClock:
    """Virtual time that jumps once nothing has happened on any socket for a tenth of a second."""
    return MockClock(autojump_threshold=0.1)

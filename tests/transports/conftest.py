"""Clocks for tests with real sockets."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def patient_clock() -> MockClock:
    """Virtual time that jumps once nothing has happened on any socket for a tenth of a second."""
    return MockClock(autojump_threshold=0.1)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name all bytes alike: masks and keys are random, and each process must give the tests the same names."""
    return "bytes" if isinstance(val, bytes) else None

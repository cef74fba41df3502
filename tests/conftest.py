"""How hard Hypothesis tries: `dev` by default, `ci` where CI is set, `soak` for `make soak`, which sets EXAMPLES."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# No deadline anywhere: a machine that is busy with something else is no failure of ours.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("ci"), max_examples=int(os.environ.get("EXAMPLES", "2000")))
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Generator[None]:
    """Let no command that a test runs within this process set how much the next tests hear, and where it goes."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers

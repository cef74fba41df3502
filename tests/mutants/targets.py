"""What is tried: the modules that decide what is true and what is owed, each with the tests that should notice."""

from __future__ import annotations

from typing import Final

GOAL: Final = 0.9
"""The share of mutants that the tests of each group must notice."""


def _alike(projection: str) -> tuple[str, ...]:
    """Return the tests of the public suite that judges any projection, but for those that start processes."""
    return tuple(
        f"tests/projections/test_conformance.py::{test}[{projection}]"
        for test in (
            "test_any_well_formed_history_is_folded_alike_at_once_and_from_any_snapshot",
            "test_a_legal_history_is_folded_alike_at_once_and_from_any_snapshot",
            "test_a_snapshot_keeps_all_that_there_is",
        )
    )


_FLAG: Final = (
    "tests/projections/test_presence_table.py",
    "tests/projections/test_chargestation.py",
    "tests/projections/test_presence.py",
    *_alike("presence"),
)
_LANES: Final = (
    "tests/engine/delivery/test_breaker.py",
    "tests/engine/delivery/test_condition.py",
    "tests/engine/delivery/test_retries.py",
    "tests/engine/delivery/test_lanes.py",
    "tests/engine/delivery/test_loop.py",
    "tests/engine/delivery/test_disruptions.py",
)
_OWED: Final = (
    "tests/projections/test_outbox.py",
    "tests/projections/test_outbox_machine.py",
    *_alike("outbox"),
)
_KEPT: Final = ("tests/engine/log/test_conformance.py", "tests/engine/log/test_log_machine.py")
_STORED: Final = (
    *_KEPT,
    "tests/engine/log/test_opening.py",
    "tests/engine/log/test_reading.py",
    "tests/engine/log/test_released_logs.py",
    "tests/engine/log/test_sqlite.py",
)

TARGETS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "fold": {
        "engine/fold.py": ("tests/engine/test_fold.py", "tests/projections/test_presence.py"),
        "projections/fleet.py": _FLAG,
        "projections/meeting.py": _FLAG,
        "projections/presence.py": (
            *_FLAG,
            "tests/engine/test_run.py::test_who_does_not_come_back_is_offline_after_the_grace",
        ),
    },
    "liveness": {
        "engine/watch/liveness.py": ("tests/engine/watch/test_liveness.py", "tests/engine/watch/test_watchdog.py"),
        "engine/watch/watchdog.py": ("tests/engine/watch/test_watchdog.py",),
        "engine/watch/grace.py": ("tests/engine/watch/test_grace.py", "tests/engine/test_run.py"),
    },
    "lanes": {
        "engine/delivery/scheduling/breaker.py": _LANES,
        "engine/delivery/scheduling/condition.py": _LANES,
        "engine/delivery/scheduling/retries.py": _LANES,
        "engine/delivery/scheduling/lanes.py": _LANES,
        "projections/box.py": _OWED,
        "projections/outbox.py": _OWED,
    },
    "log": {
        "engine/codec.py": ("tests/engine/test_codec.py", "tests/engine/test_entry.py"),
        "engine/entry.py": ("tests/engine/test_entry.py", "tests/engine/test_codec.py"),
        "engine/log/files.py": (*_STORED, "tests/engine/copies/test_restoring.py"),
        "engine/log/memory.py": (*_KEPT, "tests/engine/test_committer_failing.py"),
        "engine/log/plan.py": (*_KEPT, "tests/engine/log/test_plan.py"),
        "engine/log/queries.py": (*_STORED, "tests/projections/test_one_station.py"),
        "engine/log/sqlite.py": (*_STORED, "tests/engine/log/test_redaction.py"),
    },
}
"""Group -> module -> its tests."""

"""What is news: under any order of what comes, the newest version delivered is kept."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.transports.receiver import MemoryVersions, Message, Order, SQLiteVersions, Versions

STATIONS = ("CP-1", "CP-2", "Ütz/3\0")


def message(station: str | None, version: int | None, type: str = "") -> Message:
    online = None if version is None else bool(version % 2)
    return Message(
        id=f"msg_{station}_{version}",
        type=type or ("chargestation.online" if online else "chargestation.offline"),
        timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        data={},
        station=station,
        version=version,
        online=online,
    )


FLIPS = st.builds(message, st.sampled_from(STATIONS), st.integers(0, 6) | st.sampled_from((2**20 + 1, 2**63 - 1)))
CONFIRMED = "chargestation.offline.confirmed"
OTHERS = st.builds(
    message, st.sampled_from(STATIONS), st.integers(0, 6), st.sampled_from((CONFIRMED, "chargestation.x"))
)
STEPS = st.lists(st.tuples(FLIPS | OTHERS, st.sampled_from(("keep", "ask", "restart", "lose"))), max_size=40)


@pytest.mark.parametrize("kept", ["memory", "file"])
@settings(max_examples=examples(60))
@given(steps=STEPS)
def test_the_newest_version_delivered_is_kept_whatever_is_repeated_reordered_lost_or_restarted(
    kept: str, steps: list[tuple[Message, str]]
) -> None:
    newest: dict[str, int] = {}
    confirmed: dict[str, int] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:

        def opened() -> Versions:
            return (
                stack.enter_context(SQLiteVersions(Path(folder, "versions.db"))) if kept == "file" else MemoryVersions()
            )

        versions = opened()
        for told, step in steps if kept == "memory" else steps[:16]:  # a file is synced at each
            assert told.station is not None and told.version is not None  # noqa: PT018
            if step == "lose":
                continue
            if step == "restart" and kept == "file":
                versions = opened()
            order, before = Order(versions), newest.get(told.station, 0)
            expected = told.version > before if told.flip else told.version >= before
            if told.type == CONFIRMED:
                expected = expected and told.version > confirmed.get(told.station, 0)
            assert order.is_news(told) is expected
            if step != "ask":
                assert order.keep(told) is expected
                if told.flip:
                    newest[told.station] = max(before, told.version)
                elif told.type == CONFIRMED and expected:
                    confirmed[told.station] = told.version
        assert {station: versions.get(station) for station in newest} == newest


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_what_is_told_once_for_a_flip_is_acted_on_once_and_no_later_than_the_next_flip(
    kept: str, tmp_path: Path
) -> None:
    order = Order(MemoryVersions() if kept == "memory" else SQLiteVersions(tmp_path / "v.db"))
    offline, confirmed = message("CP-7", 2), message("CP-7", 2, CONFIRMED)

    assert [order.keep(one) for one in (offline, confirmed, confirmed, offline)] == [True, True, False, False]
    assert [order.keep(one) for one in (message("CP-7", 3), confirmed)] == [True, False]
    assert [order.keep(one) for one in (message("CP-7", 4, CONFIRMED), message("CP-7", 4))] == [True, True]
    assert order.is_news(message("CP-8", 2, CONFIRMED))


def test_what_is_about_no_station_is_always_news() -> None:
    order = Order(MemoryVersions())

    assert [order.keep(message(None, None, "webhook.ping")) for _ in range(2)] == [True, True]

"""Who was let in before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.gate.known import Known


@given(st.sets(st.text(min_size=1, max_size=48), max_size=50))
def test_nobody_is_forgotten(names: set[str]) -> None:
    known = Known()
    for name in names:
        known.add(name)

    assert all(name in known for name in names)


def test_hardly_a_stranger_is_taken_for_one_of_a_large_fleet() -> None:
    known = Known()
    for number in range(50_000):
        known.add(f"CP-{number}")
    taken = sum(f"stranger {number}" in known for number in range(10_000))

    assert taken < 100

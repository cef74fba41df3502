"""Accepting only while our loop is responsive, and never to starve those who wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.gate.pressure import Ease, Pressure

EASE = Ease()
lates = st.one_of(st.floats(0, 0.2), st.sampled_from([0.0, EASE.relieved, EASE.late]))


def test_whoever_is_on_time_accepts() -> None:
    pressure = Pressure()
    pressure.woke(0.049, 1.0)

    assert pressure.wait(1.0) == 0


def test_a_late_loop_leaves_peers_to_the_kernel_until_it_is_well_again() -> None:
    pressure = Pressure()
    pressure.woke(0.05, 1.0)
    held = pressure.wait(1.0)
    pressure.woke(0.03, 1.1)  # better, but not well: else it would flutter
    still_held = pressure.wait(1.1)
    pressure.woke(0.02, 1.2)

    assert 0 < held <= EASE.pause
    assert 0 < still_held <= EASE.pause
    assert pressure.wait(1.2) == 0


@given(st.lists(st.tuples(st.floats(0, 0.3), lates), max_size=200))
def test_however_late_the_loop_is_some_are_accepted_in_time_and_few_out_of_it(steps: list[tuple[float, float]]) -> None:
    pressure, now, well, accepted_at = Pressure(), 0.0, True, 0.0
    for passed, late in steps:
        now += passed
        pressure.woke(late, now)
        well = late < EASE.relieved or (well and late < EASE.late)
        if well:
            accepted_at = now
        wait = pressure.wait(now)
        if well:
            assert wait == 0
        elif wait:
            # Whoever asks as it is told is let in within a second of the last time.
            assert 0 < wait <= EASE.pause
            assert now + wait <= accepted_at + EASE.patience + 0.3 + 1e-9
        else:
            assert now >= accepted_at + EASE.patience - 1e-9
            accepted_at = now


def test_after_some_were_accepted_in_spite_of_it_the_rest_waits_again() -> None:
    pressure = Pressure()
    pressure.woke(1.0, 0.0)

    assert pressure.wait(EASE.patience) == 0
    assert pressure.wait(EASE.patience + 0.1) > 0
    assert pressure.wait(2 * EASE.patience) == 0

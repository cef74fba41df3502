"""One watchdog for all connections: nobody due is missed, nobody over is woken."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.watch.liveness import Due, Vigil
from stationkeeper.engine.watch.watchdog import GRAIN, Watchdog


class Patient:
    def __init__(self, interval: float = 25, now: float = 0.0) -> None:
        self.vigil = Vigil(Liveness(ping_interval=interval, ping_timeout=20), now)
        self.over = False


def test_it_sleeps_until_the_nearest_deadline() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    assert watchdog.next_deadline() == inf

    watchdog.watch(Patient(30))
    watchdog.watch(Patient(10))

    assert watchdog.next_deadline() == 10


def test_proof_of_life_need_not_touch_it() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    patient = Patient(25)
    watchdog.watch(patient)
    patient.vigil.heard(20.0)

    assert list(watchdog.due(25.0)) == []
    assert watchdog.next_deadline() == 45.0


@pytest.mark.parametrize("interval", [10, 25])
def test_a_station_that_answered_is_pinged_again_after_the_interval(interval: float) -> None:
    # Also where the timeout (20 s) is the longer of the two.
    watchdog: Watchdog[Patient] = Watchdog()
    patient = Patient(interval)
    watchdog.watch(patient)
    pinged: list[float] = []
    while len(pinged) < 3:
        now = watchdog.next_deadline()
        for _, due, _ in watchdog.due(now):
            assert due is Due.PING
            pinged.append(now)
            patient.vigil.pinged(now)
        if patient.vigil.pinged_at is not None:
            patient.vigil.heard(now + 1)

    assert pinged == [interval, 2 * interval + 1, 3 * interval + 2]


def test_who_is_over_is_forgotten() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    patient = Patient(25)
    watchdog.watch(patient)
    patient.over = True

    assert list(watchdog.due(1000.0)) == []
    assert watchdog.next_deadline() == inf


def test_who_is_over_hides_nobody_behind_it() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    gone, silent = Patient(25), Patient(26)
    watchdog.watch(gone)
    watchdog.watch(silent)
    gone.over = True

    assert [patient for patient, _, _ in watchdog.due(26.0)] == [silent]


def test_while_an_answer_is_awaited_it_sleeps() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    watchdog.watch(Patient(25))
    for patient, _, _ in watchdog.due(25.0):
        patient.vigil.pinged(25.0)

    assert watchdog.next_deadline() == 45.0


def test_it_says_how_late_it_is() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    watchdog.watch(Patient(25))

    for patient, due, lag in watchdog.due(27.5):
        assert (due, lag) == (Due.PING, 2.5)
        patient.vigil.pinged(27.5)


@given(st.lists(st.floats(1, 100), min_size=1, max_size=30), st.lists(st.floats(0.1, 30), max_size=60))
def test_everybody_who_is_due_comes_up_within_a_grain(intervals: list[float], waits: list[float]) -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    patients = [Patient(interval) for interval in intervals]
    for patient in patients:
        watchdog.watch(patient)
    now = 0.0
    for wait in waits:
        now += wait
        may = {id(p) for p in patients if not p.over and p.vigil.deadline() <= now}
        must = {id(p) for p in patients if not p.over and p.vigil.deadline() <= now - GRAIN}
        came: set[int] = set()
        for patient, due, _ in watchdog.due(now):
            came.add(id(patient))
            if due is Due.PING:
                patient.vigil.pinged(now)
            else:
                patient.over = True

        assert must <= came <= may


def test_an_interval_below_what_a_float_can_tell_apart_does_not_hold_it() -> None:
    watchdog: Watchdog[Patient] = Watchdog()
    patient = Patient(interval=1e-12, now=1e7)
    watchdog.watch(patient)
    for patient, due, _ in watchdog.due(1e7):
        assert due is Due.PING
        patient.vigil.heard(1e7)

    assert watchdog.next_deadline() > 1e7

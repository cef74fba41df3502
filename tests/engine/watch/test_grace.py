"""The grace counts only time in which stations could have come back, and every ended run lapses at last."""

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.watch.grace import Grace, Handshakes, Lapse


def test_a_run_lapses_once_we_listened_for_the_grace() -> None:
    grace = Grace(3, Handshakes())

    assert grace.second(listening=True, holding={"a": 0.0}) == []
    assert grace.second(listening=True, holding={"a": 0.0}) == []
    assert grace.second(listening=True, holding={"a": 0.0}) == [Lapse(run="a", listened=3.0)]


def test_what_earlier_runs_listened_counts_too() -> None:
    grace = Grace(120, Handshakes())

    assert grace.second(listening=True, holding={"a": 119.0, "b": 30.0}) == [Lapse(run="a", listened=120.0)]


def test_a_second_in_which_nobody_could_come_back_does_not_count() -> None:
    handshakes = Handshakes()
    grace = Grace(2, handshakes)
    grace.second(listening=True, holding={"a": 0.0})
    grace.second(listening=False, holding={"a": 0.0})
    handshakes.turned_away = True

    assert grace.second(listening=True, holding={"a": 0.0}) == []
    assert grace.listened == 1.0
    assert grace.second(listening=True, holding={"a": 0.0}) == [Lapse(run="a", listened=2.0)]


def test_no_grace_lapses_over_the_head_of_a_handshake_that_began_in_time() -> None:
    handshakes = Handshakes()
    grace = Grace(1, handshakes)
    with ExitStack() as later:
        with handshakes.one():
            assert grace.second(listening=True, holding={"a": 0.0}) == []
            later.enter_context(handshakes.one())  # began after the grace was over: it is not waited for
            assert grace.second(listening=True, holding={"a": 0.0}) == []

        assert grace.second(listening=True, holding={"a": 0.0}) == [Lapse(run="a", listened=3.0)]


def test_what_we_listened_before_a_run_ended_is_no_chance_to_come_back_after() -> None:
    grace = Grace(2, Handshakes())
    for _ in range(100):
        grace.second(listening=True, holding={})

    assert grace.second(listening=True, holding={"late": 0.0}) == []
    assert grace.second(listening=True, holding={"late": 0.0}) == [Lapse(run="late", listened=2.0)]


def test_a_run_whose_time_has_not_come_holds_back_no_other() -> None:
    grace = Grace(120, Handshakes())

    assert grace.second(listening=True, holding={"a": 0.0, "b": 119.0}) == [Lapse(run="b", listened=120.0)]


def test_a_later_run_waits_for_a_handshake_that_an_earlier_one_need_not_wait_for() -> None:
    handshakes = Handshakes()
    grace = Grace(2, handshakes)
    grace.second(listening=False, holding={"a": 1.0, "b": 0.0})
    with ExitStack() as open_still:
        with handshakes.one():
            assert grace.second(listening=True, holding={"a": 1.0, "b": 0.0}) == []
            open_still.enter_context(handshakes.one())
            assert grace.second(listening=True, holding={"a": 1.0, "b": 0.0}) == []

        assert grace.second(listening=True, holding={"a": 1.0, "b": 0.0}) == [Lapse(run="a", listened=4.0)]
    assert grace.second(listening=True, holding={"b": 0.0}) == [Lapse(run="b", listened=4.0)]


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 60), st.floats(0, 30))
def test_it_lapses_exactly_when_the_listened_seconds_reach_the_grace(
    seconds: list[bool], grace_seconds: int, others: float
) -> None:
    grace = Grace(float(grace_seconds), Handshakes())
    for count, listening in enumerate(seconds, 1):
        lapses = grace.second(listening=listening, holding={"a": others})

        assert bool(lapses) == (listening and sum(seconds[:count]) + others >= grace_seconds)

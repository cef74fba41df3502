"""Guesses slowed down, with time as data: by identity, exponentially, in bounds, and forgiven."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.registry.guesses import FIRST, FORGOTTEN, LONGEST, Guesses

identities = st.sampled_from(("CP-1", "CP-2", "CP-3"))
quarters = st.integers(0, 8 * int(FORGOTTEN)).map(lambda count: count / 4)
"""Seconds that add up without a rounding error."""
stories = st.lists(st.tuples(quarters, identities, st.sampled_from(("wrong", "right"))), max_size=60)


def tell(guesses: Guesses, story: list[tuple[float, str, str]], only: str = "") -> float:
    """Tell what happened, of one identity alone or of all; return when it ended."""
    now = 0.0
    for pause, identity, what in story:
        now += pause
        if not only or identity == only:
            if what == "right":
                guesses.right(identity)
            else:
                guesses.wrong(identity, now)
    return now


@given(stories, identities)
def test_what_happens_to_one_identity_changes_nothing_for_another(
    story: list[tuple[float, str, str]], identity: str
) -> None:
    alone, together = Guesses(), Guesses()
    now = tell(together, story)
    tell(alone, story, identity)

    assert together.wait(identity, now) == alone.wait(identity, now)
    assert together.wrong(identity, now) == alone.wrong(identity, now)


@given(stories, identities)
def test_no_answer_is_held_back_for_longer_than_two_pauses(story: list[tuple[float, str, str]], identity: str) -> None:
    guesses = Guesses()
    now = tell(guesses, story)
    delay = guesses.wrong(identity, now)

    assert delay is None or FIRST <= delay <= 2 * LONGEST
    assert guesses.wait(identity, now) <= 2 * LONGEST


@given(stories, identities)
def test_a_right_answer_forgives_all(story: list[tuple[float, str, str]], identity: str) -> None:
    guesses = Guesses()
    now = tell(guesses, story)
    guesses.right(identity)

    assert guesses.wait(identity, now, ahead=0) == 0
    assert not guesses.suspected(identity, now)
    assert guesses.wrong(identity, now) == FIRST


@given(stories, identities)
def test_quiet_forgives_all_too(story: list[tuple[float, str, str]], identity: str) -> None:
    guesses = Guesses()
    later = tell(guesses, story) + FORGOTTEN + 2 * LONGEST + 1

    assert guesses.wait(identity, later) == 0
    assert guesses.wrong(identity, later) == FIRST


@given(st.lists(st.integers(0, 10).map(lambda count: count / 4), min_size=1, max_size=200))
def test_guesses_that_are_looked_at_come_ever_more_slowly(pauses: list[float]) -> None:
    """However they are timed: whoever waits his turn, guesses again, and was wrong each time."""
    guesses, now, looked_at = Guesses(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        now += guesses.wait("CP-1", now)
        looked_at.append(now)
        assert guesses.wrong("CP-1", now) is not None
    for count, (earlier, later) in enumerate(pairwise(looked_at)):
        assert later - earlier >= min(LONGEST, FIRST * 2**count)


@given(st.integers(1, 2000), quarters)
def test_many_at_once_are_held_back_in_bounds_and_the_rest_is_told_to_come_later(count: int, now: float) -> None:
    guesses = Guesses()
    answers = [guesses.wrong("CP-1", now, b"%d" % number) for number in range(count)]
    held = [delay for delay in answers if delay is not None]

    assert held == sorted(held)
    assert len(held) <= 2 + LONGEST / FIRST
    assert answers[: len(held)] == held


@given(st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=30))
def test_the_same_again_is_no_new_guess(marks: list[bytes]) -> None:
    repeating, once = Guesses(), Guesses()
    before, now = b"", 0.0
    for mark in marks:
        now += LONGEST  # so that each is looked at
        repeating.wrong("CP-1", now, mark)
        for _ in range(5):
            assert repeating.wrong("CP-1", now, mark) == FIRST
        if mark != before:
            once.wrong("CP-1", now, mark)
        before = mark

    assert repeating.wait("CP-1", now) == once.wait("CP-1", now)


@given(st.lists(st.integers(0, 50), max_size=200))
def test_so_many_identities_are_remembered_and_no_more(numbers: list[int]) -> None:
    guesses = Guesses(kept=10)
    for now, number in enumerate(numbers):
        guesses.wrong(f"CP-{number}", float(now))
    newest = list(dict.fromkeys(reversed(numbers)))[:10]

    assert len(guesses) == len(newest)
    assert all(guesses.suspected(f"CP-{number}", len(numbers)) for number in newest)

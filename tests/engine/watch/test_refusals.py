"""Strangers cannot fill the log, and no refusal goes uncounted."""

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.watch.refusals import BUDGET, Refusal, Refusals


def note(refusals: Refusals, claimed: str, reason: str = "unknown_station") -> Refusal | None:
    return refusals.note(claimed, reason=reason, status=404, hint="", remote="192.0.2.1", at=1)


def test_the_first_is_told_at_once_and_repeats_once_a_minute() -> None:
    refusals = Refusals(0.0)

    first = note(refusals, "CP-1")
    assert first is not None
    assert first.event.count == 1
    assert [note(refusals, "CP-1") for _ in range(5)] == [None] * 5
    assert refusals.minute(59.0) == []
    assert [summary.event.count for summary in refusals.minute(60.0)] == [5]
    assert refusals.minute(120.0) == []


def test_a_claimed_id_is_cut_at_255_bytes_and_may_be_anything() -> None:
    refusal = note(Refusals(0.0), "\udcff" + "ü" * 500)

    assert refusal is not None
    assert refusal.event.claimed.startswith("\\udcff")
    assert len(refusal.event.claimed.encode()) <= 255


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3)), max_size=400))
def test_the_budget_holds_and_every_refusal_is_counted(knocks: list[tuple[int, int]]) -> None:
    refusals = Refusals(0.0)
    told = [refusal for claimed, reason in knocks if (refusal := note(refusals, f"CP-{claimed}", f"reason-{reason}"))]
    told += refusals.minute(60.0)

    assert len(told) <= BUDGET
    assert sum(refusal.event.count for refusal in told) == len(knocks)


def test_memory_is_bounded_under_a_flood_of_names() -> None:
    refusals = Refusals(0.0)
    told = [refusal for n in range(50_000) if (refusal := note(refusals, f"CP-{n}"))]
    told += refusals.minute(61.0)

    assert len(told) <= BUDGET
    assert sum(refusal.event.count for refusal in told) == 50_000
    assert len(refusals._counts) == 0


def test_a_hint_that_quotes_a_stranger_at_length_is_cut() -> None:
    refusal = Refusals(0.0).note("CP", reason="r", status=404, hint="x" * 8000, remote="", at=1)

    assert refusal is not None
    assert len(refusal.event.hint) == 200

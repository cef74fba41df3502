"""Strangers cannot fill the log, and no refusal goes uncounted."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.stations import Hint
from stationkeeper.engine.watch.refusals import ASKED, BUDGET, BY_ADDRESS, Refusal, Refusals


def note(
    refusals: Refusals, claimed: str, reason: str = "unknown_station", *, status: int = 404, hint: Hint = ""
) -> Refusal | None:
    return refusals.note(claimed, reason=reason, status=status, hint=hint, remote="192.0.2.1", at=1)


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


def test_a_dear_hint_is_asked_for_when_it_is_told_and_not_for_repeats() -> None:
    refusals, asked = Refusals(0.0), list[str]()

    def hint() -> str:
        asked.append("once")
        return "did you mean CP-007?"

    first = refusals.note("CP-7", reason="r", status=404, hint=hint, remote="", at=1)
    for _ in range(5):
        refusals.note("CP-7", reason="r", status=404, hint=hint, remote="", at=2)
    summaries = refusals.minute(60.0)

    assert first is not None
    assert [first.event.hint, *(summary.event.hint for summary in summaries)] == ["did you mean CP-007?"] * 2
    assert asked == ["once"] * 2


def test_a_flood_asks_for_few_dear_hints_a_minute() -> None:
    refusals, asked = Refusals(0.0), list[int]()

    def hint() -> str:
        asked.append(1)
        return "x" * 8000

    for minute in (60.0, 120.0):
        told = [refusals.note(f"CP-{n}", reason="r", status=404, hint=hint, remote="", at=1) for n in range(5_000)]
        summaries = refusals.minute(minute)
        hints = [refusal.event.hint for refusal in [*told, *summaries] if refusal is not None]
        assert sum(hint == "x" * 200 for hint in hints) == ASKED // 2
        assert len(asked) == minute / 60 * (ASKED // 2)


def test_what_is_found_out_about_one_id_is_not_said_of_many() -> None:
    refusals = Refusals(0.0)
    for n in range(BUDGET * 2):
        refusals.note(f"CP-{n}", reason="r", status=404, hint=lambda: "did you mean CP-007?", remote="", at=1)
        refusals.note(f"CP-{n}", reason="s", status=401, hint="give it a new password", remote="", at=1)
        refusals.note(f"CP-{n}", reason="t", status=101, hint=f"it offers {n}", remote="", at=1)

    summed = {
        summary.event.reason: summary.event.hint for summary in refusals.minute(60.0) if not summary.event.claimed
    }

    assert summed == {"r": "", "s": "give it a new password", "t": ""}


def test_a_hint_that_cannot_be_found_leaves_the_refusal_without_one(caplog: pytest.LogCaptureFixture) -> None:
    def hint() -> str:
        raise LookupError("the registry is gone")

    with caplog.at_level(logging.ERROR):
        refusal = Refusals(0.0).note("CP-7", reason="r", status=404, hint=hint, remote="", at=1)

    assert refusal is not None
    assert refusal.event.hint == ""
    assert "the registry is gone" in caplog.text


STRANGERS: list[tuple[int, str, Hint]] = [
    (404, "unknown_station", lambda: "a dear one"),
    (400, "malformed_id", ""),
    (405, "wrong_method", ""),
    (408, "handshake_timeout", ""),
    (426, "not_websocket", ""),
    (431, "oversized_head", ""),
    (403, "foreign_origin", ""),
    (429, "too_often", BY_ADDRESS),
]
KNOWN: list[tuple[int, str, Hint]] = [
    (401, "wrong_credentials", lambda: "nearly the registered one"),
    (403, "wrong_profile", ""),
    (403, "wrong_certificate", ""),
    (101, "no_subprotocol", ""),
    (429, "too_often", "it connects again and again"),
    (503, "busy", ""),
]


@pytest.mark.parametrize(("status", "reason", "hint"), STRANGERS)
def test_a_flood_of_strangers_hides_no_registered_station(status: int, reason: str, hint: Hint) -> None:
    """Whoever dials in under a thousand names must not blind `why` for the station whose password is wrong."""
    refusals = Refusals(0.0)
    told = [refusal for n in range(5_000) if (refusal := note(refusals, f"x{n}", reason, status=status, hint=hint))]
    at_once = [note(refusals, "CP-7", why, status=code, hint=found) for code, why, found in KNOWN]
    told += [refusal for refusal in at_once if refusal is not None]
    for n in range(5_000):
        note(refusals, f"x{n}", reason, status=status, hint=hint)
        note(refusals, f"x{n}", reason, status=status, hint=hint)
    for code, why, found in KNOWN:
        note(refusals, "CP-7", why, status=code, hint=found)
    summaries = refusals.minute(60.0)

    assert len(told) + len(summaries) <= BUDGET
    assert sum(refusal.event.count for refusal in [*told, *summaries]) == 15_000 + 2 * len(KNOWN)
    assert None not in at_once
    assert [refusal.event.hint for refusal in at_once if refusal and refusal.event.status == 401] == [
        "nearly the registered one"
    ]
    named = {summary.event.reason: summary.event.hint for summary in summaries if summary.event.claimed == "CP-7"}
    assert named.keys() == {why for _, why, _ in KNOWN}
    assert named["wrong_credentials"] == "nearly the registered one"


def test_a_registered_station_that_comes_when_the_budget_is_spent_is_named_in_the_summary() -> None:
    refusals = Refusals(0.0)
    for n in range(BUDGET):
        note(refusals, f"CP-{n}", "wrong_credentials", status=401)
    for n in range(BUDGET * 2):
        for _ in range(3):
            note(refusals, f"x{n}")

    named = {summary.event.claimed for summary in refusals.minute(60.0) if summary.event.reason == "wrong_credentials"}
    assert any(named)
    assert not any(claimed.startswith("x") for claimed in named)


def test_a_summary_bears_what_was_newest() -> None:
    refusals = Refusals(0.0)
    refusals.note("CP-7", reason="wrong_credentials", status=401, hint="no password", remote="192.0.2.1", at=1)
    refusals.note("CP-7", reason="wrong_credentials", status=401, hint="in capitals", remote="192.0.2.2", at=2)
    refusals.note("CP-7", reason="wrong_credentials", status=403, hint=lambda: "nearly it", remote="192.0.2.3", at=3)

    (summary,) = refusals.minute(60.0)
    assert (summary.event.hint, summary.event.status, summary.event.count) == ("nearly it", 403, 2)
    assert (summary.event.first_at, summary.event.last_at, summary.remote) == (2, 3, "192.0.2.3")


def test_at_the_end_all_is_due_at_once_and_the_bound_still_holds() -> None:
    refusals = Refusals(0.0)
    told = [refusal for n in range(500) for _ in range(2) if (refusal := note(refusals, f"CP-{n}"))]
    told += refusals.minute(1.0, over=True)
    assert sum(refusal.event.count for refusal in told) == 1000

    told += [refusal for n in range(500) if (refusal := note(refusals, f"CP-{n}", "wrong_credentials", status=401))]
    assert len(told) <= BUDGET

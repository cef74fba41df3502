"""The picture of a webhook's past: it is well-formed, and shape and words say what was."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.api.deliveries import Bucket, Past
from stationkeeper.daemon.dashboard.chart import DAY, NARROW, WEEK, Span, chart, columns_of, in_words
from stationkeeper.engine.events import Micros
from stationkeeper.projections.deliveries import EDGES, PERIOD, Fared, Move, Tally

NOW: Micros = 1_764_000_000 * 1_000_000 + 123
BEGIN = NOW - NOW % PERIOD


def tally(accepted: int = 0, parked: int = 0, failed: int = 0, latency: int = 10) -> Tally:
    classes = [accepted if number == latency else 0 for number in range(len(EDGES) + 1)]
    return Tally(accepted, parked, failed, 0.0, classes)


def past(*buckets: Bucket, moves: tuple[Move, ...] = (), span: Span = DAY) -> Past:
    whole = Tally()
    for bucket in buckets:
        whole.add(bucket.tally)
    return Past(since=NOW - span.length, until=NOW, buckets=buckets, sum=whole, moves=moves)


def bucket(quarters_ago: int, of: Tally, failing: int = 0) -> Bucket:
    return Bucket(at=BEGIN - quarters_ago * PERIOD, tally=of, failing=failing)


def drawn(shown: Past, span: Span = DAY) -> ElementTree.Element:
    return ElementTree.fromstring(chart(shown, span))


def heights(picture: ElementTree.Element, kind: str) -> list[float]:
    return [float(one.attrib["height"]) for one in picture.iter("rect") if one.attrib["class"] == kind]


def test_failed_attempts_stand_on_accepted_ones_and_what_was_given_up_is_marked() -> None:
    picture = drawn(past(bucket(8, tally(accepted=60, failed=20)), bucket(4, tally(parked=1, failed=10))))

    [accepted], failed = heights(picture, "accepted"), heights(picture, "failed")
    assert accepted == 3 * failed[0] == 6 * failed[1] > 60
    marks = [one for one in picture.iter("path") if one.attrib["class"] == "parked"]
    assert len(marks) == 1
    titles = [title.text or "" for title in picture.iter("title")]
    assert any("60 accepted, 20 failed attempts, answered within" in title for title in titles)
    assert any("nothing accepted, 1 given up, 10 failed attempts" in title for title in titles)


def test_one_failure_of_thousands_is_seen() -> None:
    [height] = heights(drawn(past(bucket(8, tally(accepted=9999, failed=1)))), "failed")
    assert height >= 1


def test_what_still_fails_is_drawn_with_the_failed_attempts_and_told_apart() -> None:
    picture = drawn(past(bucket(1, tally(), failing=3)))

    assert len(heights(picture, "failed")) == 1
    assert "nothing accepted, 3 messages failed and wait" in picture.attrib["aria-label"]


def test_a_week_has_a_column_an_hour() -> None:
    shown = past(*(bucket(number, tally(accepted=1)) for number in range(7, -1, -1)), span=WEEK)

    columns = columns_of(shown, WEEK)
    assert sum(column.tally.accepted for column in columns) == 8
    assert len(columns) in (2, 3)
    assert len(columns_of(shown, DAY)) == 8


def test_each_state_has_its_time_and_its_own_height() -> None:
    moves: tuple[tuple[int, Fared], ...] = ((30, "active"), (12, "failing"), (6, "suspended"), (3, "paused"))
    picture = drawn(past(moves=tuple(Move(NOW - hours * 4 * PERIOD, state) for hours, state in moves)))

    states = {one.attrib["class"]: one for one in picture.iter("rect")}
    widths = [float(states[state].attrib["width"]) for _, state in moves]
    assert [round(width / widths[-1]) for width in widths] == [4, 2, 1, 1]
    assert len({one.attrib["height"] for one in states.values()}) == 4


def test_answers_are_drawn_where_there_were_some_and_slower_is_higher() -> None:
    slow, quick = tally(accepted=5, latency=20), tally(accepted=5, latency=5)
    picture = drawn(past(bucket(40, quick), bucket(39, slow), bucket(10, quick)))

    lines = [one.attrib["d"] for one in picture.iter("path") if one.attrib["class"] == "half"]
    assert len(lines) == 2
    first, second = (float(point.split()[1]) for point in lines[0][1:].split("L"))
    assert second < first


def test_a_narrow_picture_tells_the_same_in_fewer_columns_and_its_words_do_not_touch() -> None:
    shown = past(*(bucket(ago, tally(accepted=1)) for ago in range(90, 0, -1)))
    wide, narrow = drawn(shown), drawn(shown, NARROW[DAY])

    assert len(heights(wide, "accepted")) == 90
    assert 20 <= len(heights(narrow, "accepted")) <= 25
    assert wide.attrib["aria-label"] == narrow.attrib["aria-label"]
    for span in NARROW.values():
        marks = [float(one.attrib["x"]) for one in drawn(shown, span).iter("text") if one.attrib["y"] == "292"]
        assert 3 <= len(marks) <= 5
        assert all(right - left > 60 for left, right in pairwise(marks))


buckets = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 10**6), st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 9)),
    max_size=6,
    unique_by=lambda one: one[0],
)
states = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from(("active", "failing", "suspended", "paused", "disabled"))),
    max_size=4,
)


@given(drawn_of=buckets, fared=states, span=st.sampled_from((DAY, WEEK, *NARROW.values())))
def test_whatever_was_the_picture_is_sound_and_within_its_frame(
    drawn_of: list[tuple[int, int, int, int, int]], fared: list[tuple[int, Fared]], span: Span
) -> None:
    some = [bucket(ago, tally(*counts), failing) for ago, *counts, failing in sorted(drawn_of, reverse=True)]
    moves = tuple(Move(NOW - ago * PERIOD, state) for ago, state in sorted(fared, key=lambda one: -one[0]))
    picture = drawn(past(*some, moves=moves, span=span), span)

    for rect in picture.iter("rect"):
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 58 <= x <= x + width <= span.width - 6
        assert 0 <= y <= y + height <= 300
    assert not [one for one in picture.iter() if "style" in one.attrib or one.tag == "script"]


def test_nothing_is_said_in_words_too() -> None:
    assert in_words(Tally(), 0) == "nothing accepted"
    assert in_words(tally(accepted=1200), 0).startswith("1\N{NARROW NO-BREAK SPACE}200 accepted, answered within ")

"""Pages, one after the other."""

from __future__ import annotations

from itertools import islice
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.receiver import BadMessage, pages

ENTRY = {
    "id": "msg_1",
    "position": 4,
    "type": "chargestation.offline",
    "timestamp": "2026-11-22T09:15:00Z",
    "data": {"id": "CP-7", "version": 2, "online": False},
}


def test_each_page_is_asked_for_where_the_one_before_ended() -> None:
    answers: dict[str, dict[str, Any]] = {
        "0": {"data": [ENTRY], "next": "4.1", "position": 3},
        "4.1": {"data": [], "next": None, "position": 9},
        "9": {"data": [], "next": None, "position": 9},
    }
    found = list(islice(pages(answers.__getitem__), 3))

    assert [(page.after, page.more) for page in found] == [("4.1", True), ("9", False), ("9", False)]
    assert [(message.id, message.station, message.version) for message in found[0].messages] == [("msg_1", "CP-7", 2)]


@given(
    answer=st.fixed_dictionaries(
        {"data": st.lists(st.none() | st.sampled_from((ENTRY, {}))) | st.integers(), "next": st.none() | st.integers()},
        optional={"position": st.integers() | st.none()},
    )
    | st.none()
)
def test_what_is_no_page_is_a_bad_message(answer: Any) -> None:
    try:
        page = next(pages(lambda after: answer))
    except BadMessage:
        return
    assert page.messages == () or answer["data"][0] == ENTRY

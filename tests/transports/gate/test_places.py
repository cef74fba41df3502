"""Who has to make room when there is none left."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.transports.gate.places import SILENT, STUCK, Places, Waiting


class Guest:
    """A peer, and how far it has come."""

    def __init__(self, places: Places, now: float) -> None:
        self.come: int | None = 0
        places.reserve()
        self.waiting = places.enter(lambda: self.come, lambda: None, now)


def test_who_says_nothing_goes_first_and_the_oldest_of_those() -> None:
    places = Places(3)
    begun, silent, another = (Guest(places, now) for now in (0.0, 0.1, 0.2))
    begun.come = 60

    assert places.full
    assert places.must_go(0.99) is None
    assert places.must_go(0.1 + SILENT) is silent.waiting
    assert places.must_go(0.1 + SILENT) is None
    assert places.must_go(0.2 + SILENT) is another.waiting
    assert (begun.waiting.cut, silent.waiting.cut, another.waiting.cut) == (False, True, True)


def test_a_head_that_gets_no_further_makes_room_and_one_that_grows_does_not() -> None:
    places = Places(2)
    stuck, slow = Guest(places, 0.0), Guest(places, 0.0)
    stuck.come, slow.come = 1, 10
    seen = places.must_go(SILENT)
    slow.come = 20

    assert seen is None
    assert places.must_go(SILENT + STUCK) is stuck.waiting
    assert places.must_go(SILENT + STUCK) is None


def test_who_waits_for_us_makes_room_for_nobody() -> None:
    places = Places(1)
    Guest(places, 0.0).come = None

    assert all(places.must_go(now) is None for now in range(100))


def test_who_waited_for_us_and_then_gets_no_further_makes_room() -> None:
    places = Places(1)
    guest = Guest(places, 0.0)
    guest.come = None
    assert places.must_go(SILENT) is None
    guest.come = 1
    assert places.must_go(SILENT + STUCK) is None
    assert places.must_go(SILENT + 2 * STUCK) is guest.waiting


def test_a_place_is_free_when_its_holder_has_left() -> None:
    places = Places(1)
    guest = Guest(places, 0.0)
    cut = places.must_go(5.0)
    full = places.full
    places.leave(guest.waiting)

    assert (cut, full, places.full) == (guest.waiting, True, False)
    assert places.next_look() == inf


def test_who_has_left_has_to_go_no_more() -> None:
    places = Places(2)
    guests = [Guest(places, 0.0), Guest(places, 0.0)]
    guests[0].come = 1
    places.must_go(SILENT)
    for guest in guests:
        places.leave(guest.waiting)

    assert places.must_go(100.0) is None
    assert places.next_look() == inf


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["enter", "send", "ask", "leave", "look"])), max_size=120))
def test_nobody_goes_before_its_time_and_whoever_asks_when_told_finds_it(steps: list[tuple[int, str]]) -> None:
    places, guests, now = Places(8), list[Guest](), 0.0
    by_waiting: dict[Waiting, Guest] = {}
    moved: dict[Waiting, float] = {}
    for passed, step in steps:
        now += passed / 4
        if step == "enter":
            guest = Guest(places, now)
            guests.append(guest)
            by_waiting[guest.waiting], moved[guest.waiting] = guest, now
        elif guests and step == "leave":
            places.leave(guests.pop(0).waiting)
        elif guests and step in ("send", "ask"):
            guest = guests[len(guests) // 2]
            guest.come = None if step == "ask" or guest.come is None else guest.come + 1
            moved[guest.waiting] = now
        else:
            cut = places.must_go(now)
            if cut is not None:
                guest = by_waiting[cut]
                assert guest in guests
                assert guest.come is not None
                assert now - moved[cut] >= (STUCK if guest.come else SILENT)
            else:
                assert places.next_look() > now

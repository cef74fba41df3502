"""Two devices that fight over one identity are found; a zombie's device that comes back and a flapper are none."""

from __future__ import annotations

from histories import SECOND, START, History
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.events import Cause, ConnectionClosed, ConnectionOpened, Micros, StationRemoved
from stationkeeper.engine.fold import fold
from stationkeeper.projections import conflicts
from stationkeeper.projections.conflicts import ALIVE, ENOUGH, JUST, QUIET, SPOKEN, Conflict, Conflicts

MOMENT: Micros = 1000
"""From an open to the close of the connection that it took over."""
INTERVAL: Micros = 25 * SECOND
"""Of pings."""


class Day(History):
    """A history in which stations dial in at given times, and what they spoke is known."""

    def __init__(self, *, interval: float = INTERVAL / SECOND) -> None:
        super().__init__()
        self.started()
        self.admissions = 0
        self.interval = interval

    def dials_in(self, station: str, at: Micros) -> str:
        """Let a station be admitted; return its connection."""
        self.admissions += 1
        connection = f"r1-{self.admissions}"
        event = ConnectionOpened(connection=connection, ping_interval=self.interval, ping_timeout=20.0, silence=900.0)
        self.add(event, station, at=at)
        return connection

    def ends(self, station: str, connection: str, at: Micros, *, cause: Cause = "superseded", alive_at: Micros) -> None:
        event = ConnectionClosed(connection=connection, side="gateway", cause=cause, alive_at=alive_at)
        self.add(event, station, at=at)

    def takes_over(self, station: str, older: str, at: Micros, *, alive_at: Micros) -> str:
        """Let a station be admitted, and its older connection be closed for it."""
        newer = self.dials_in(station, at)
        self.ends(station, older, at + MOMENT, alive_at=alive_at)
        return newer

    def conflict(self, station: str = "CP-7", *, later: Micros = 0) -> Conflict | None:
        return fold(conflicts, self).of(station, self.events[-1].at + later)


def fight(waits: list[Micros], silences: list[Micros]) -> Day:
    """Let two devices dial in, in turns: each so long after the other, which had spoken so short a time before."""
    day = Day()
    at, connection = START, day.dials_in("CP-7", START)
    for wait, silence in zip(waits, silences, strict=True):
        at += wait
        connection = day.takes_over("CP-7", connection, at, alive_at=at - min(silence, wait - 1))
    return day


micros = st.integers(1, QUIET)
just = st.integers(0, JUST)
"""Who spoke so short a time ago has just spoken."""
idle = st.integers(JUST + 1, INTERVAL + JUST)
"""For so long a living connection may be silent."""
POINTS = {True: SPOKEN, False: ALIVE}


@given(st.lists(st.tuples(micros, just), min_size=3, max_size=8))
def test_two_devices_that_talk_are_found_at_the_third_takeover(turns: list[tuple[Micros, Micros]]) -> None:
    """ts-ocpp#19, citrineos#190: to the one who looks at the flag alone, such a station is just online."""
    waits, silences = [min(wait + 1, QUIET) for wait, _ in turns], [silence for _, silence in turns]
    found = fight(waits, silences).conflict()

    assert found is not None
    assert found.takeovers == len(turns)
    assert found.since == START + waits[0]
    assert found.last == START + sum(waits)
    assert fight(waits[:2], silences[:2]).conflict() is None


@given(st.lists(idle, min_size=6, max_size=9), st.integers(1, QUIET - INTERVAL - 2 * JUST))
def test_two_idle_devices_that_wait_before_they_come_back_are_found_at_the_sixth(
    silences: list[Micros], spoke: Micros
) -> None:
    """mobilityhouse#321: they say something when they connect, and come back after ten seconds, or a minute."""
    waits = [silence + spoke for silence in silences]

    assert fight(waits, silences).conflict() is not None
    assert fight(waits[:5], silences[:5]).conflict() is None


@given(st.lists(just | idle, max_size=9))
def test_what_points_to_another_device_is_added_up(silences: list[Micros]) -> None:
    day = fight([60 * SECOND] * len(silences), silences)
    points = sum(POINTS[silence <= JUST] for silence in silences)

    assert (day.conflict() is not None) is (points >= ENOUGH)


@given(st.lists(st.tuples(st.integers(1, QUIET), st.integers(1, QUIET)), min_size=1, max_size=12))
def test_a_device_that_comes_back_and_takes_over_from_its_zombie_is_no_conflict(
    outages: list[tuple[Micros, Micros]],
) -> None:
    """ocpp-go#314, citrineos#190, citrineos-core#583: it lost its network and comes back, however often and soon."""
    day = Day()
    at, connection = START, day.dials_in("CP-7", START)
    for spoke, silent in outages:
        last = at + spoke
        at = last + INTERVAL + JUST + silent
        connection = day.takes_over("CP-7", connection, at, alive_at=last)
        assert day.conflict() is None


@given(st.lists(st.tuples(st.lists(idle, min_size=1, max_size=5), st.booleans()), max_size=5))
def test_quick_returns_are_no_conflict_where_others_come_between(days: list[tuple[list[Micros], bool]]) -> None:
    """ConnectorIO#211: a bad network; some of its zombies are old, and some of its connections are closed."""
    day = Day()
    at, connection = START, day.dials_in("CP-7", START)
    for silences, closed in days:
        for silence in silences:
            at += 60 * SECOND
            connection = day.takes_over("CP-7", connection, at, alive_at=at - silence)
        at += 60 * SECOND
        if closed:
            day.ends("CP-7", connection, at, cause="network_lost", alive_at=at)
            connection = day.dials_in("CP-7", at)
        else:
            connection = day.takes_over("CP-7", connection, at, alive_at=at - INTERVAL - 2 * JUST)

    assert day.conflict() is None


def test_a_station_that_is_never_pinged_may_be_silent_so_only_what_it_just_said_counts() -> None:
    quiet, talking = Day(interval=0.0), Day(interval=0.0)
    for day, silence in ((quiet, JUST + 1), (talking, JUST)):
        at, connection = START, day.dials_in("CP-7", START)
        for _ in range(9):
            at += 60 * SECOND
            connection = day.takes_over("CP-7", connection, at, alive_at=at - silence)

    assert quiet.conflict() is None
    assert talking.conflict() is not None


def test_five_seconds_are_just_and_no_moment_more() -> None:
    assert fight([60 * SECOND] * 3, [JUST] * 3).conflict() is not None
    assert fight([60 * SECOND] * 3, [JUST + 1] * 3).conflict() is None


def test_an_odd_close_of_another_connection_counts_for_nothing() -> None:
    day, at = Day(), START
    for _ in range(9):
        day.dials_in("CP-7", at)
        at += SECOND
        newer = day.dials_in("CP-7", at)
        day.ends("CP-7", newer, at + MOMENT, alive_at=at + MOMENT)
        at += SECOND

    assert day.conflict() is None


def test_what_is_over_is_forgotten_though_what_began_before_goes_on() -> None:
    day = Day()
    first = day.dials_in("CP-7", START)
    first = day.takes_over("CP-7", first, START + SECOND, alive_at=START + SECOND // 2)
    other = day.dials_in("CP-8", START + SECOND)
    day.takes_over("CP-8", other, START + 2 * SECOND, alive_at=START + 2 * SECOND - 1)
    late = START + QUIET
    day.takes_over("CP-7", first, late, alive_at=late)
    day.dials_in("CP-9", late + 3 * SECOND)

    state = fold(conflicts, day)
    assert list(state) == ["CP-7"]


def test_a_conflict_that_stands_is_not_ended_by_one_outage() -> None:
    day = fight([10 * SECOND] * 3, [SECOND] * 3)
    at = day.events[-1].at
    day.ends("CP-7", "r1-4", at + SECOND, cause="network_lost", alive_at=at)

    assert day.conflict() is not None


@given(st.lists(st.tuples(st.integers(1, QUIET), st.integers(1, QUIET)), min_size=1, max_size=12))
def test_a_flapper_is_no_conflict(lives: list[tuple[Micros, Micros]]) -> None:
    """mobilityhouse#79: it reconnects every 40 s, and ends its connection each time."""
    day, at = Day(), START
    for life, away in lives:
        connection = day.dials_in("CP-7", at)
        at += life
        day.ends("CP-7", connection, at, cause="station_closed", alive_at=at)
        at += away
    day.dials_in("CP-7", at)

    assert fold(conflicts, day) == {}
    assert day.conflict() is None


@given(st.lists(st.integers(1, JUST), min_size=1, max_size=12))
def test_a_device_that_never_hears_our_answer_and_tries_again_is_no_conflict(waits: list[Micros]) -> None:
    """Such a connection never spoke: its last proof of life is its own open."""
    day = Day()
    at, connection = START, day.dials_in("CP-7", START)
    for wait in waits:
        newer = day.takes_over("CP-7", connection, at + wait, alive_at=at)
        at, connection = at + wait, newer

    assert day.conflict() is None


def test_a_conflict_is_over_once_it_has_been_quiet() -> None:
    day = fight([10 * SECOND] * 3, [SECOND] * 3)

    assert day.conflict(later=QUIET - MOMENT) is not None
    assert day.conflict(later=QUIET - MOMENT + 1) is None


def test_takeovers_that_are_far_apart_are_not_added_up() -> None:
    day = fight([QUIET + 1] * 9, [SECOND] * 9)

    assert day.conflict() is None


def test_a_device_that_opens_its_next_connection_before_it_closes_the_last_is_no_conflict() -> None:
    day = Day()
    at, connection = START, day.dials_in("CP-7", START)
    for _ in range(9):
        at += 60 * SECOND
        newer = day.dials_in("CP-7", at)
        day.ends("CP-7", connection, at + MOMENT, cause="station_closed", alive_at=at)
        connection = newer

    assert day.conflict() is None
    assert fold(conflicts, day) == {}


def test_a_takeover_of_a_strange_time_keeps_no_other_from_being_forgotten_in_the_count() -> None:
    day = Day()
    far = START + 99 * QUIET
    strange = day.dials_in("CP-8", far)
    day.takes_over("CP-8", strange, far + SECOND, alive_at=far + SECOND)
    at, connection = START, day.dials_in("CP-7", START)
    for _ in range(9):
        at += QUIET + 1
        connection = day.takes_over("CP-7", connection, at, alive_at=at - SECOND)

    assert day.conflict() is None


def test_after_a_pause_the_count_begins_anew() -> None:
    day = fight([SECOND * 10] * 4 + [QUIET + 1] + [SECOND * 10] * 2, [SECOND] * 7)
    found = day.conflict()

    assert found is not None
    assert found.takeovers == 3
    assert found.since == START + 40 * SECOND + QUIET + 1


def test_what_is_over_is_forgotten_when_anybody_dials_in() -> None:
    day = fight([10 * SECOND] * 3, [SECOND] * 3)
    day.dials_in("CP-8", day.events[-1].at + QUIET)

    state = fold(conflicts, day)
    assert list(state) == []
    assert vars(state) == vars(Conflicts())


def test_a_station_that_is_removed_is_forgotten() -> None:
    day = fight([10 * SECOND] * 3, [SECOND] * 3)
    day.add(StationRemoved(), "CP-7")

    assert vars(fold(conflicts, day)) == vars(Conflicts())


def test_conflicts_are_told_apart_by_station() -> None:
    day = fight([10 * SECOND] * 4, [SECOND] * 4)
    last = day.events[-1].at
    other = day.dials_in("CP-8", last)
    day.takes_over("CP-8", other, last + SECOND, alive_at=last + SECOND // 2)

    assert [found.station for found in fold(conflicts, day).standing(day.events[-1].at)] == ["CP-7"]


@given(st.integers(1, 200))
def test_nothing_is_kept_of_stations_that_never_took_over_from_themselves(many: int) -> None:
    day = Day()
    for n in range(many):
        day.dials_in(f"CP-{n}", START + n)

    assert vars(fold(conflicts, day)) == vars(Conflicts())

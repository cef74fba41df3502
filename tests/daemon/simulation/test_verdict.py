"""The judge: it must convict a gateway that lies, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stationkeeper.daemon.simulation.fleet import Fleet, Member
from stationkeeper.daemon.simulation.line import Caller
from stationkeeper.daemon.simulation.receiver import Receipt, Told
from stationkeeper.daemon.simulation.station import Sighting
from stationkeeper.daemon.simulation.verdict import SECOND, Judge, Look, misjudged, unmatched
from stationkeeper.engine.clock import rfc3339

T = 1_800_000_000 * SECOND


def dial(at: float, *, status: int | None = 101, took: float = 0.1, **more: Any) -> Sighting:
    """A dial *at* so many seconds after T."""
    begun = T + int(at * SECOND)
    subprotocol = "ocpp1.6" if status == 101 else None
    answered = begun + int(took * SECOND)
    return Sighting(
        station="CP-1", dialled_at=begun, answered_at=answered, status=status, subprotocol=subprotocol, **more
    )


def judge_of(*sightings: Sighting, behaviour: str = "steady") -> Judge:
    fleet = Fleet("ws://gateway", [Member(caller=Caller(station="CP-1"), behaviour=behaviour)], seed=0)
    fleet.stations["CP-1"].sightings += sightings
    return Judge(fleet=fleet, told=Told(), silence=5, grace=10, since=T)


def shown(at: float, *, online: bool, observed: bool = True, version: int = 1) -> Look:
    station = {"id": "CP-1", "online": online, "observed": observed, "version": version}
    return Look(begun=T + int(at * SECOND), stations={"CP-1": station})


# --- 101s and connection.opened --------------------------------------------------------------------------------------

outcomes = st.lists(st.sampled_from([101, 401, 503, None]), max_size=8)


@given(outcomes, st.data())
def test_a_true_log_is_not_convicted(statuses: list[int | None], data: st.DataObject) -> None:
    dials = [dial(10 * number, status=status) for number, status in enumerate(statuses)]
    # One who got no answer may have been let in: the gateway died between the two. So may one who got a 503: the
    # gateway stopped between the two.
    opened = [
        s.dialled_at + SECOND // 20
        for s in dials
        if s.admitted or (s.status in (None, 503) and data.draw(st.booleans()))
    ]

    assert unmatched("CP-1", dials, opened) == []


@given(outcomes, st.data())
def test_a_log_that_lacks_an_open_or_has_one_too_many_is(statuses: list[int | None], data: st.DataObject) -> None:
    dials = [dial(10 * number, status=status) for number, status in enumerate(statuses)]
    opened = [s.dialled_at + SECOND // 20 for s in dials if s.admitted]
    answered = [s.dialled_at for s in dials if s.status not in (None, 503)]
    assume(answered)
    changed = data.draw(st.sampled_from(answered))
    near = [at for at in opened if changed <= at <= changed + SECOND]
    lost = data.draw(st.booleans(), label="lost")
    if near and lost:
        opened.remove(near[0])
    else:
        opened.append(changed + SECOND // 20)

    assert len(unmatched("CP-1", dials, opened)) == 1


def test_an_open_while_nobody_dials_is_found() -> None:
    assert unmatched("CP-1", [dial(0), dial(10)], [T, T + 5 * SECOND, T + 10 * SECOND]) != []


def test_what_was_opened_after_the_last_dial_in_question_is_left_for_later() -> None:
    assert unmatched("CP-1", [dial(0)], [T, T + 10 * SECOND]) == []


def test_a_gap_in_the_positions_is_found() -> None:
    judge = judge_of()
    judge.read_log({"position": number, "kind": "x", "subject": "", "at": rfc3339(T)} for number in (1, 2, 4))

    assert judge.broken["positions"] == ["position 4 follows 2"]


def test_what_an_earlier_trial_left_in_the_log_is_left_aside() -> None:
    judge = judge_of(dial(0))
    judge.read_log(
        {"position": number, "kind": "connection.opened", "subject": "CP-1", "at": rfc3339(T + seconds * SECOND)}
        for number, seconds in enumerate((-60, -50, 0), start=1)
    )
    judge.compare_dials(until=T + SECOND)

    assert judge.held


# --- handshakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected", "wrong"),
    [
        (101, None, False), (503, None, False), (None, None, False), (401, None, True), (404, None, True),
        (401, 401, False), (404, 401, True), (101, 401, True), (101, 404, True), (101, 101, True),
    ],
)  # fmt: skip
def test_nobody_is_let_in_or_locked_out_wrongly(status: int | None, expected: int | None, wrong: bool) -> None:
    assert misjudged(dial(0, status=status), expected) == wrong


# --- flags -----------------------------------------------------------------------------------------------------------

GONE: dict[str, Any] = {"ended_at": T + 20 * SECOND, "ended_by": "station"}
DEAF: dict[str, Any] = {"deaf_at": T + 20 * SECOND}


@pytest.mark.parametrize(
    ("sighting", "at", "online", "right"),
    [
        (dial(0), 60, True, True),
        (dial(0), 60, False, False),
        (dial(0, **GONE), 60, False, True),
        (dial(0, **GONE), 60, True, False),
        (dial(0, **GONE), 21, True, True),  # too young to be judged
        (dial(0, **DEAF), 24, True, True),  # the gateway has until 25 to find it
        (dial(0, **DEAF), 60, True, False),
        (dial(0, **DEAF), 60, False, True),
        (dial(0, status=401), 60, True, False),
    ],
)
def test_a_flag_is_what_the_station_saw(sighting: Sighting, at: float, online: bool, right: bool) -> None:
    judge = judge_of(sighting)
    first = judge.compare_flags(shown(at, online=online), {})
    second = judge.compare_flags(shown(at + 0.5, online=online), {})

    assert first.wrong == ()  # one look may have met the moment of the change
    assert (not second.wrong) == right == judge.held


def test_a_flag_held_over_a_restart_is_no_lie() -> None:
    judge = judge_of(dial(0, **GONE))
    for at in (60, 61):
        flags = judge.compare_flags(shown(at, online=True, observed=False), {})

    assert (flags.held, flags.wrong) == (1, ())


def test_a_get_that_is_older_than_a_message_is_found() -> None:
    judge = judge_of(dial(0))
    judge.compare_flags(shown(60, online=True, version=3), {"CP-1": 4})

    assert judge.broken["reading"]


# --- offline messages ------------------------------------------------------------------------------------------------


def told_online(judge: Judge, *versions: int) -> None:
    for version in versions:
        judge.told.receipts.append(
            Receipt(id=str(version), type="chargestation.online", station="CP-1", version=version, at=T, data={})
        )
    judge.compare_messages()


@pytest.mark.parametrize(("before", "versions", "missed"), [(0, [1, 2], 0), (0, [2], 1), (7, [8, 9], 0), (7, [9], 1)])
def test_a_message_that_never_came_is_missed(before: int, versions: list[int], missed: int) -> None:
    judge = judge_of(dial(0))
    judge.versions["CP-1"] = before
    told_online(judge, *versions)

    assert len(judge.broken["order"]) == missed
    assert judge.versions["CP-1"] == versions[-1]


def told_offline(judge: Judge, at: float) -> None:
    disconnect = {"detectedAt": rfc3339(T + int(at * SECOND)), "cause": "ping_timeout"}
    data = {"id": "CP-1", "version": 1, "disconnect": disconnect}
    judge.told.receipts.append(
        Receipt(id="msg_1", type="chargestation.offline", station="CP-1", version=1, at=T, data=data)
    )
    judge.compare_messages()


@pytest.mark.parametrize(("at", "lie"), [(10, True), (19, True), (20.1, False), (30, False)])
def test_a_station_that_answers_must_not_be_called_offline(at: float, lie: bool) -> None:
    judge = judge_of(dial(0, **GONE))
    told_offline(judge, at)

    assert bool(judge.broken["offline"]) == lie


def test_a_station_that_stood_still_with_us_may_be() -> None:
    judge = judge_of(dial(0))
    judge.stalls.append((T + 3 * SECOND, T + 9 * SECOND))
    told_offline(judge, 10)

    assert judge.held


@pytest.mark.parametrize(
    ("before", "after", "at", "blamed"),
    [
        (dial(0, ended_at=T + 20 * SECOND), dial(22), 21, True),  # the gateway was ready again at 21
        (dial(0, ended_at=T + 20 * SECOND), dial(22), 23, False),  # after it was back: for a reason of its own
        (dial(0, ended_at=T + 20 * SECOND), dial(40), 32, False),  # the grace was over
        (dial(0, ended_at=T + 19 * SECOND), dial(22), 21, False),  # gone before the gateway was
        (dial(0, deaf_at=T + 19 * SECOND), dial(22), 21, False),
    ],
)
def test_no_station_is_offline_for_the_gateways_death(
    before: Sighting, after: Sighting, at: float, blamed: bool
) -> None:
    judge = judge_of(before, after)
    judge.deaths.append((T + 20 * SECOND, T + 21 * SECOND))
    told_offline(judge, at)

    assert bool(judge.broken["restart"]) == blamed

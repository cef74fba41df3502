"""Sessions: one story per connection, told once, whatever it was that ended it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from histories import SECOND, START, History
from hypothesis import given
from strategies import arbitrary_histories, legal_histories

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold, fold
from stationkeeper.projections import presence, sessions
from stationkeeper.projections.sessions import Session


def ended(history: Iterable[Recorded]) -> list[Session]:
    folding = Fold([sessions])
    return [session for recorded in history for session in folding.advance(recorded).changes(sessions)]


def still_open(history: Iterable[Recorded]) -> list[str]:
    return [open.connection for open in fold(sessions, history).everywhere()]


def running() -> History:
    history = History()
    history.started()
    return history


def test_a_close_tells_the_whole_story() -> None:
    history = running()
    opened = history.opened("CP-7", "r1-1")
    close = e.ConnectionClosed(
        connection="r1-1", side="station", code=1001, reason="going", cause="station_closed",
        alive_at=opened.at + 7, received=5, sent=3,
    )  # fmt: skip
    closed = history.add(close, "CP-7")

    assert ended(history) == [
        Session(
            station="CP-7",
            connection="r1-1",
            run="r1",
            opened_at=opened.at,
            alive_at=opened.at + 7,
            ended_at=closed.at,
            cause="station_closed",
            side="station",
            code=1001,
            reason="going",
            received=5,
            sent=3,
        )
    ]


def test_a_timeout_is_told_once_with_its_close() -> None:
    history = running()
    history.opened("CP-7", "r1-1")
    history.timed_out("CP-7", "r1-1")

    assert (ended(history), still_open(history)) == ([], ["r1-1"])

    history.closed("CP-7", "r1-1", "ping_timeout", side="gateway")
    (session,) = ended(history)

    assert (session.cause, session.side) == ("ping_timeout", "gateway")
    assert still_open(history) == []


def test_one_that_was_taken_over_ends_with_its_own_close() -> None:
    history = running()
    history.opened("CP-7", "r1-1")
    history.opened("CP-7", "r1-2")

    assert still_open(history) == ["r1-1", "r1-2"]
    assert fold(sessions, history)["CP-7"].connection == "r1-2"

    history.closed("CP-7", "r1-1", "superseded", side="gateway", code=1001)
    (session,) = ended(history)

    assert (session.connection, session.cause, session.code) == ("r1-1", "superseded", 1001)
    assert still_open(history) == ["r1-2"]


def test_a_lost_run_takes_its_sessions_along_each_alive_as_long_as_the_run_was() -> None:
    history = running()
    opened = history.opened("CP-7", "r1-1")
    history.opened("CP-8", "r1-2")
    history.opened("CP-8", "r1-3")
    history.timed_out("CP-8", "r1-3", alive_at=opened.at + 9)
    lost = history.add(e.GatewayLost(run="r1", alive_at=opened.at + 5, listened=1.0, found_by="g"))

    assert [(s.connection, s.cause, s.side, s.ended_at, s.received) for s in ended(history)] == [
        ("r1-1", "gateway_lost", "gateway", lost.at, None),
        ("r1-2", "gateway_lost", "gateway", lost.at, None),
        ("r1-3", "ping_timeout", None, lost.at, None),
    ]
    assert [s.alive_at - opened.at for s in ended(history)] == [5, SECOND, 9]
    assert still_open(history) == []


def test_a_run_takes_along_no_sessions_of_others() -> None:
    history = running()
    history.started("r2", gateway="h")
    history.opened("CP-7", "r1-1")
    history.opened("CP-8", "r2-1")
    history.stopped("r2")

    assert [(s.connection, s.cause) for s in ended(history)] == [("r2-1", "shutdown")]
    assert still_open(history) == ["r1-1"]


def test_a_close_of_a_stranger_ends_nothing() -> None:
    history = running()
    history.opened("CP-7", "r1-1")
    history.closed("CP-8", "r1-1")
    history.closed("CP-7", "r1-9")

    assert (ended(history), still_open(history)) == ([], ["r1-1"])


def opened_in(history: Iterable[Recorded]) -> Counter[str]:
    return Counter(event.connection for event in map(decode, history) if isinstance(event, e.ConnectionOpened))


@given(legal_histories())
def test_each_connection_of_a_legal_history_has_one_session_or_is_open(history: list[Recorded]) -> None:
    told = Counter(session.connection for session in ended(history))

    assert told + Counter(still_open(history)) == opened_in(history)


@given(legal_histories())
def test_a_session_ends_with_its_close_or_with_its_run(history: list[Recorded]) -> None:
    closes = {c.connection: c for c in map(decode, history) if isinstance(c, e.ConnectionClosed)}
    for session in ended(history):
        close = closes.get(session.connection)
        assert session.received == (None if close is None else close.received)
        assert session.opened_at >= START
        if close is not None:
            assert (session.cause, session.alive_at) == (close.cause, close.alive_at)


@given(arbitrary_histories())
def test_whatever_comes_no_connection_of_a_station_has_two_sessions(history: list[Recorded]) -> None:
    told = [(session.station, session.connection) for session in ended(history)]
    opens = [
        (recorded.subject, event.connection)
        for recorded in history
        if isinstance(event := decode(recorded), e.ConnectionOpened)
    ]

    assert not Counter(told) - Counter(opens)


@given(arbitrary_histories())
def test_the_connection_that_presence_sees_is_open(history: list[Recorded]) -> None:
    open = fold(sessions, history)
    for id, station in fold(presence, history).items():
        if station.connection is not None:
            assert open[id].connection == station.connection.id

"""Why a station is online or offline: told from the log alone, and never otherwise than the whole log has it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from calling import Call
from histories import START, History
from hypothesis import given
from office import open_office
from strategies import legal_histories

from stationkeeper.daemon.api.why_shapes import WhyShown
from stationkeeper.daemon.why import as_json, explain
from stationkeeper.engine.entry import Entry, Recorded
from stationkeeper.engine.events import (
    DeliverySkipped,
    Event,
    HandshakeRefused,
    WebhookAdded,
    WebhookDisabled,
    WebhookFailed,
    WebhookPaused,
    WebhookResumed,
    WebhookSuspended,
)
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log import Attempted
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.log.sqlite import SqliteLog
from stationkeeper.projections import outbox, presence
from stationkeeper.projections.conflicts import QUIET


def logged(events: list[Recorded], log: MemoryLog | SqliteLog | None = None) -> MemoryLog | SqliteLog:
    log = MemoryLog() if log is None else log
    for recorded in events:
        log.append([Entry(*(getattr(recorded, name) for name in Entry.__struct_fields__))])
    return log


def a_bad_day() -> History:
    """A station that was on, went with our gateway, came back in time, was superseded, and lost its network."""
    history = History()
    history.add(WebhookAdded(url="https://user:secret@hooks.example/secret", secrets=("s",)), "w")
    history.started("r1")
    history.opened("CP-7", "r1-1")
    history.lost("r1")
    history.started("r2")
    history.opened("CP-7", "r2-1")
    history.opened("CP-7", "r2-2")
    history.closed("CP-7", "r2-1", "superseded", side="gateway")
    history.opened("CP-8", "r2-3")
    history.closed("CP-7", "r2-2", "network_lost", side="network", alive_at=START + 8_000_000)
    return history


def test_it_tells_what_happened_what_it_meant_and_who_was_told() -> None:
    """mobilityhouse#357, ev-server#4229: which station went, and closed by whom, for which reason?"""
    why = explain(logged(list(a_bad_day())), "CP-7")

    assert why.answer == (
        "CP-7 is offline since 2025-11-24 16:00:10 UTC, because the network connection broke; "
        "its last sign of life was at 2025-11-24 16:00:08 UTC."
    )
    assert [(moment.position, moment.flag or moment.note) for moment in why.moments] == [
        (3, "online"),
        (4, ""),
        (6, "back in time, so nobody is told"),
        (7, "takes over from its older connection"),
        (8, ""),
        (10, "offline"),
    ]
    told = [(moment.position, message.type, message.state) for moment in why.moments for message in moment.messages]
    assert told == [(3, "chargestation.online", "pending"), (10, "chargestation.offline", "pending")]
    assert "secret" not in json.dumps(as_json(why))


def test_each_attempt_is_told_with_its_answer() -> None:
    history = a_bad_day()
    fold = Fold([outbox])
    for recorded in history:
        fold.advance(recorded)
    first, second, _ = fold.state(outbox).pending()
    history.delivered(first)
    history.parked(second)
    log = logged(list(history))
    log.append([], attempts=[Attempted(first.id, 0, number, number, 9, 1.0, 503, "") for number in (1, 2)])

    moments = explain(log, "CP-7").moments
    attempts = {message.type: message for moment in moments for message in moment.messages}
    online, offline = attempts["chargestation.online"], attempts["chargestation.offline"]
    assert (online.state, offline.state) == ("delivered", "parked")
    assert [(attempt.number, attempt.status) for attempt in online.attempts] == [(1, 204), (2, 503)]
    assert online.attempts[0].result.startswith("accepted")
    assert (online.attempts[1].result, online.attempts[1].next) == ("HTTP 503", 9)
    assert [attempt.result.partition(":")[0] for attempt in offline.attempts] == ["given up"]


FAILED = WebhookFailed(since=START, reason="the receiver answered 500", status=500)
SUSPENDED = WebhookSuspended(since=START, reason="the receiver answered 500", status=500)


@pytest.mark.parametrize(
    ("events", "note"),
    [
        ((), ""),
        ((FAILED,), "its webhook fails since 2025-11-24 16:00:00 UTC: the receiver answered 500"),
        ((FAILED, SUSPENDED), "its webhook is suspended since 2025-11-24 16:00:00 UTC: the receiver answered 500"),
        ((FAILED, WebhookResumed()), ""),
        ((FAILED, WebhookPaused()), "its webhook is paused by hand"),
        ((WebhookDisabled(since=START, reason="gone"),), "its webhook is disabled: gone"),
    ],
)
def test_a_message_that_waits_says_why(events: tuple[Event, ...], note: str) -> None:
    history = a_bad_day()
    for event in events:
        history.add(event, "w")

    moments = explain(logged(list(history)), "CP-7").moments
    assert [message.note for moment in moments for message in moment.messages] == [note, note]


def test_a_message_that_was_skipped_says_who_asked_for_that() -> None:
    history = a_bad_day()
    fold = Fold([outbox])
    for recorded in history:
        fold.advance(recorded)
    first = next(iter(fold.state(outbox).pending()))
    skipped = DeliverySkipped(message=first.id, webhook="w", position=first.position, round=first.round)
    history.add(skipped, "CP-7")

    [message, _] = [one for moment in explain(logged(list(history)), "CP-7").moments for one in moment.messages]
    assert (message.state, message.note) == ("skipped", "somebody asked for that")


def test_only_the_newest_moments_are_kept() -> None:
    why = explain(logged(list(a_bad_day())), "CP-7", most=2)

    assert ([moment.position for moment in why.moments], why.earlier) == ([8, 10], 4)


def test_it_can_be_asked_as_of_any_position() -> None:
    log = logged(list(a_bad_day()))

    assert explain(log, "CP-7", until=3).answer.startswith("CP-7 is online: it has been connected since")
    assert explain(log, "CP-7", until=4).answer.startswith("CP-7 counts as online, but is not observed")
    assert explain(log, "CP-7", until=4).answer.endswith(
        "No gateway watches: this is the last state that was reported."
    )


@given(legal_histories())
def test_it_tells_each_flip_and_each_message_that_the_whole_log_has(events: list[Recorded]) -> None:
    flips: dict[str, list[tuple[int, str]]] = {}
    messages: dict[str, set[str]] = {}
    whole = Fold([outbox])
    for recorded in events:
        below = whole.advance(recorded)
        for change in below.changes(presence):
            flips.setdefault(change.station, [])
            if change.flipped:
                flips[change.station].append((recorded.position, "online" if change.now.online else "offline"))
        for owed in below.changes(outbox):
            if owed.position == recorded.position:
                messages.setdefault(owed.subject, set()).add(owed.id)
    log = logged(events)
    for station in whole.state(presence):
        why = explain(log, station, most=10_000)
        assert [(moment.position, moment.flag) for moment in why.moments if moment.flag] == flips.get(station, [])
        assert {m.id for moment in why.moments for m in moment.messages} == messages.get(station, set())
        assert why.station is not None
        assert why.station["version"] == whole.state(presence)[station].version


def test_the_command_prints_it_for_people_and_for_programs(call: Call) -> None:
    log = SqliteLog.open(Path("x.db"))
    logged(list(a_bad_day()), log)
    log.close()
    before = Path("x.db").read_bytes()

    text, program = call("why", "x.db", "CP-7", "--last", "1"), call("why", "x.db", "CP-7", "--format", "json")
    assert (text.code, program.code, Path("x.db").read_bytes()) == (0, 0, before)
    lines = text.out.splitlines()
    assert lines[0].startswith("CP-7 is offline since")
    assert lines[3] == "  ... 5 earlier events; --last shows more"
    assert lines[4].endswith("the network connection broke  => offline, version 2")
    assert lines[5].strip().startswith("chargestation.offline to hooks.example: pending (msg_")
    assert json.loads(program.out)["moments"][0]["flag"] == "online"
    assert call("why", "x.db", "CP-7", "--at", "3").out.startswith("CP-7 is online")


def test_a_station_that_the_log_does_not_know_is_said_to_be_unknown(call: Call) -> None:
    SqliteLog.open(Path("x.db")).close()

    outcome = call("why", "x.db", "CP-7")
    assert (outcome.code, outcome.err) == (
        1,
        "Error: there is no station 'CP-7' as of position 0, and nobody came under that id in the last seven days. "
        "Who was turned away is listed by `stationkeeper why LOG`, without an id, and by GET /refusals.\n",
    )


def test_of_an_id_that_nobody_knows_those_that_are_like_it_are_named(call: Call) -> None:
    history = a_bad_day()
    history.registered("CP-007")
    with closing(SqliteLog.open(Path("x.db"))) as opened:
        logged(list(history), opened)

    outcome = call("why", "x.db", "cp_007")
    assert outcome.code == 1
    assert "nobody came under that id in the last seven days. Registered is CP-007, which is like it. " in outcome.err
    assert "Registered" not in call("why", "x.db", "NOPE").err


async def test_the_api_says_the_same(tmp_path: Path) -> None:
    async with open_office(tmp_path / "log.db") as office:
        station = await office.stations.connect("CP 7")
        opened = office.engine.position
        await station.close()
        await office.until_offline("CP 7")
        now = (await office.ask("GET", "/chargestations/CP%207/why")).json
        then = (await office.ask("GET", f"/chargestations/CP%207/why?at={opened}&last=1")).json
        unknown = await office.ask("GET", "/chargestations/CP-9/why")
        with office.engine.reader() as log:
            expected = as_json(explain(log, "CP 7"))

    assert now == {**expected, "meant": []}
    described = WhyShown.model_validate(now)
    assert described.model_dump(mode="json", by_alias=True, exclude_unset=True) == now  # and nothing else is answered
    assert (then["position"], then["chargestation"]["online"]) == (opened, True)
    assert unknown.status == 404


def test_who_was_turned_away_of_late_is_told_with_what_helps() -> None:
    history = a_bad_day()
    for at in (1, 2):
        refused = HandshakeRefused(
            claimed="CP-7", reason="wrong_credentials", status=401, hint="the password is not the registered one",
            count=at, first_at=START, last_at=START + at * 1_000_000,
        )  # fmt: skip
        history.add(refused)
    history.add(HandshakeRefused(claimed="CP-9", reason="unknown_station", status=404, first_at=START, last_at=START))
    log = logged(list(history))

    assert explain(log, "CP-7").refused == (
        "It was turned away 3 times in the last seven days, most lately at 2025-11-24 16:00:02 UTC: "
        "the password is not the registered one"
    )
    assert explain(log, "CP-8").refused == ""
    late = history.add(WebhookAdded(url="https://late.example/", secrets=("s",)), "late", at=START + 9 * 86_400_000_000)
    assert explain(logged([*history]), "CP-7", until=late.position).refused == ""


def stranger(log: Path, claimed: str = "CP-7") -> None:
    """Leave a log in which somebody was turned away who is not registered and was never let in."""
    history = a_bad_day()
    for count in (1, 11):
        refused = HandshakeRefused(
            claimed=claimed, reason="unknown_station", status=404, hint="did you mean CP-007? If not, register it",
            count=count, first_at=START + count * 1_000_000, last_at=START + 20_000_000,
        )  # fmt: skip
        history.add(refused)
    with closing(SqliteLog.open(log)) as opened:
        logged(list(history), opened)


def test_a_station_that_nobody_registered_and_that_never_came_in_has_an_answer(call: Call) -> None:
    """steve#33, Java-OCA-OCPP#240: why does my charger not connect?"""
    stranger(Path("x.db"), "CP-7 x")

    text, program = call("why", "x.db", "CP-7 x"), call("why", "x.db", "CP-7 x", "--format", "json")
    assert (text.code, program.code) == (0, 0)
    assert text.out.splitlines()[:6] == [
        "CP-7 x is not registered, and was never let in.",
        "It was turned away 12 times in the last seven days, most lately at 2025-11-24 16:00:20 UTC: "
        "did you mean CP-007? If not, register it",
        "As of position 12.",
        "  12 times, 2025-11-24T16:00:01.000000Z to 2025-11-24T16:00:20.000000Z: 404 unknown_station",
        "    because no station of this id is registered",
        "    did you mean CP-007? If not, register it",
    ]
    said = json.loads(program.out)
    assert (said["chargestation"], said["conflict"], said["moments"]) == (None, None, [])
    assert [(row["reason"], row["status"], row["count"]) for row in said["refusals"]] == [("unknown_station", 404, 12)]
    assert said["refusals"][0]["remedy"].startswith("Register it")


def test_without_an_id_it_tells_who_was_turned_away(call: Call) -> None:
    """lbbrhzn#442, ev-mobile#106: one of them, but which?"""
    stranger(Path("x.db"))

    assert call("why", "x.db").out.splitlines()[:2] == [
        "CP-7",
        "  12 times, 2025-11-24T16:00:01.000000Z to 2025-11-24T16:00:20.000000Z: 404 unknown_station",
    ]
    assert [row["claimed"] for row in json.loads(call("why", "x.db", "--format", "json").out)] == ["CP-7"]
    assert call("why", "x.db", "--at", "9").out == "Nobody was turned away in the last seven days.\n"


def test_one_time_is_told_once(call: Call) -> None:
    history = a_bad_day()
    history.add(HandshakeRefused(claimed="x", reason="wrong_path", status=404, first_at=START, last_at=START))
    with closing(SqliteLog.open(Path("x.db"))) as opened:
        logged(list(history), opened)

    assert call("why", "x.db").out.splitlines()[1] == "  1 time, 2025-11-24T16:00:00.000000Z: 404 wrong_path"


def test_what_a_stranger_claims_cannot_steer_a_terminal(call: Call) -> None:
    stranger(Path("x.db"), "\x1b[2J")

    for args in (["x.db"], ["x.db", "\x1b[2J"]):
        assert "\x1b" not in call("why", *args).out


def test_two_devices_with_one_identity_are_told_of() -> None:
    """ts-ocpp#19: the flag alone says that such a station is just online."""
    history = History()
    history.started("r1")
    for n in range(1, 6):
        opened = history.opened("CP-7", f"r1-{n}")
        if n > 1:
            history.closed("CP-7", f"r1-{n - 1}", "superseded", side="gateway", alive_at=opened.at - 500_000)
    why = explain(logged(list(history)), "CP-7")

    assert why.conflict is not None
    assert why.conflict.takeovers == 4
    assert (
        "Two devices use its identity, or one opens a second connection while it has one: it was taken over 4 times"
    ) in why.answer
    assert as_json(why)["conflict"]["takeovers"] == 4
    assert explain(logged(list(history)), "CP-7", until=3).conflict is None
    assert explain(logged(list(history)), "CP-7", now=why.conflict.last + QUIET + 1).conflict is None


def test_an_id_that_is_called_like_a_reason_is_not_taken_for_it() -> None:
    history = a_bad_day()
    history.add(HandshakeRefused(claimed="x", reason="CP-7", status=404, first_at=START, last_at=START))

    assert explain(logged(list(history)), "CP-7").refusals == []


def test_a_registered_station_that_is_turned_away_is_told_of_with_the_reason() -> None:
    """shiv3#260, libocpp#826: its key was changed on one side alone."""
    history = a_bad_day()
    history.registered("CP-9")
    refused = HandshakeRefused(claimed="CP-9", reason="wrong_credentials", status=401, first_at=START, last_at=START)
    history.add(refused)
    why = explain(logged(list(history)), "CP-9")

    assert why.answer == "CP-9 is offline: it is registered, and was never let in."
    assert why.refused.startswith(
        "It was turned away once in the last seven days, most lately at 2025-11-24 16:00:00 UTC: its"
    )
    assert [row.reason for row in why.refusals] == ["wrong_credentials"]
    assert why.station is not None

"""Whoever asks what was true at some moment is told the same, and the same as subscribers were told then.

A day is drawn, and lived by the whole engine over a log on the disk. Then `replay --at`, `events`, `why`, the API's
`?at=` and the library's `fold` and `read_log` are asked about every message that was sent, by position and by time.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import trio
from calling import Call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from office import Office, open_office

from stationkeeper.daemon.why import explain
from stationkeeper.engine import fold, read_log
from stationkeeper.engine.clock import parse_time
from stationkeeper.engine.events import WebhookAdded
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.projections import presence

STATIONS = ["CP-1", "CP-2"]
OF_NOW = ("asOf", "conflict", "liveness", "profile", "serial", "lenient", "registered", "live")
"""What the API adds to the object that everybody else shows."""

days = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["dial", "dial", "close", "lose"]), st.sampled_from(STATIONS)),
        st.tuples(st.sampled_from(["stop", "crash"]), st.just("")),
    ),
    min_size=1,
    max_size=12,
)


async def live(path: Path, day: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Live a day, and return what was sent, each message with what the API said of that moment when all was over."""
    plan, sent = list(day), list[dict[str, Any]]()
    while True:
        async with open_office(path) as office:
            if office.engine.position == 1:
                office.engine.secrets.keep("s", b"k" * 24)
                await office.engine.record(WebhookAdded(url="https://hooks.example/", secrets=("s",)), subject="w")
            ended = await lived(office, plan)
            sent += [json.loads(attempt.body) for attempt in office.receiver.attempts]
            if not plan and ended != "crash":
                for message in sent:
                    data = message["data"]
                    for name, at in (("by position", data["position"]), ("by time", message["timestamp"])):
                        answer = await office.ask("GET", f"/chargestations/{data['id']}?at={at}")
                        assert answer.status == 200, answer.text
                        message[name] = answer.json
                return sent
            if ended == "crash":
                office.engine.hurry()


async def lived(office: Office, plan: list[tuple[str, str]]) -> str:
    """Live on until the gateway ends; return how."""
    sockets: dict[str, Any] = {}
    while plan:
        verb, station = plan.pop(0)
        match verb:
            case "dial":
                sockets[station] = await office.stations.connect(station)
            case "close" | "lose" if station in sockets:
                socket = sockets.pop(station)
                if verb == "close":
                    await socket.close()
                else:
                    socket.lose()
                await office.until_offline(station)
            case "stop" | "crash":
                return verb
            case _:
                pass
    # What is owed is sent at once, for the receiver takes everything.
    assert office.engine.outbox is not None
    while next(iter(office.engine.owing().pending()), None) is not None:
        await office.engine.beyond(office.engine.position)
    return "rest"


def plain(shown: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key not in OF_NOW}


# A day takes some 0.2 s: a fifth of the examples that others get.
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=max(settings().max_examples // 5, 5)
)
@given(day=days)
def test_everybody_tells_the_same_of_any_moment_and_the_same_as_was_told_then(call: Call, day: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        sent = trio.run(live, path, day)
        by_id = {message["data"]["id"] for message in sent}
        assert by_id <= set(STATIONS)
        for message in sent:
            data = message["data"]
            id, position = data["id"], data["position"]

            assert plain(message["by position"]) == data
            # Of one microsecond there may be several events: the last of them is meant.
            same_moment = list(read_log(path, after=position, until=message["timestamp"]))
            if not same_moment:
                assert plain(message["by time"]) == data
            replayed = json.loads(call("replay", str(path), "--at", str(position), "--station", id).out)
            assert (replayed["position"], replayed["chargestations"]) == (position, [data])
            assert replayed["at"] == message["timestamp"]
            whole = json.loads(call("replay", str(path), "--at", str(position)).out)
            assert [station for station in whole["chargestations"] if station["id"] == id] == [data]
            station = fold(presence, read_log(path, until=position))[id]
            assert (station.online, station.version, station.position) == (data["online"], data["version"], position)
            reader = open_reader(path)
            why = explain(reader, id, until=position)
            reader.close()
            assert (why.station, why.moments[-1].position) == (data, position)
            assert why.moments[-1].flag == ("online" if data["online"] else "offline")
            line = json.loads(
                call("events", str(path), "--since", str(position), "--until", str(position), "--format", "jsonl").out
            )
            assert (line["position"], parse_time(line["at"])) == (position, parse_time(message["timestamp"]))

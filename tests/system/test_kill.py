"""The daemon is killed with SIGKILL, again and again, while stations come and go: nothing acknowledged may be lost.

Afterwards the log is judged by a checker that stands in this file alone: it reads the SQLite file as it is, and folds
it by a model written anew from the tables of the semantics, so that it shares no error with the projections.

KILLS sets how often (20; `make soak`: 1 000), SEED repeats a run's misfortunes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random, randrange
from typing import Any, Literal, NamedTuple

import pytest
import trio

from stationkeeper.daemon.simulation.gateway import Gateway, Terms, free_port
from stationkeeper.daemon.simulation.station import Backoff, Pace
from stationkeeper.daemon.simulation.trial import Recruit, Trial
from stationkeeper.daemon.simulation.verdict import unmatched
from stationkeeper.daemon.simulation.waiting import NeverCame, until

KILLS = int(os.environ.get("KILLS", 1000 if os.environ.get("SOAK") else 20))
STATIONS = 30
TERMS = Terms(ping_interval=1, ping_timeout=1, grace=5)
PACE = Pace(
    ramp=0.5,
    heartbeat=1,
    up=3,
    down=0.5,
    linger=6,
    slowness=0.4,
    backoff=Backoff(minimum=0.1, spread=0.3, doublings=2),
)
MIX = ("steady", "flapping", "half-open", "flapping", "slow", "flapping", "wrong password", "unknown id")


class Fact(NamedTuple):
    """An event, as it stands in the file."""

    position: int
    id: str
    at: int
    kind: str
    subject: str
    gateway: str
    run: str
    body: dict[str, Any]


class Flip(NamedTuple):
    station: str
    version: int
    type: str
    position: int


async def test_nothing_is_lost_and_no_lie_is_told_however_often_it_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", randrange(10**6)))
    print(f"{KILLS} kills, seed {seed}")
    gateway = Gateway(tmp_path / "killed.db", TERMS, stations_port=free_port(), http_port=free_port())
    recruits = [Recruit(id=f"CP-{number}", behaviour=MIX[number % len(MIX)]) for number in range(STATIONS)]
    trial = Trial(gateway, TERMS, recruits, seed=seed, pace=PACE, failing=0.05)
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(trial.receiver.serve)
            await gateway.start()
            await trial.enrol(url)
            nursery.start_soon(trial.fleet.run)
            await kill_at_random(gateway, Random(seed))
            shown = await come_to_rest(trial)
            # In order, and with the stations still connected: their flags must outlast this, too.
            assert await gateway.stop() == 0
            nursery.cancel_scope.cancel()
    finally:
        await gateway.kill()
    check(trial, list(facts(gateway.log)), shown)


async def kill_at_random(gateway: Gateway, random: Random) -> None:
    """Kill the daemon at any moment of its life, some of them before it is ready, and start it again each time."""
    for _ in range(KILLS):
        await trio.sleep(random.uniform(0.1, 1.5))
        await gateway.kill()
        if random.random() < 0.2:
            await gateway.launch()
            await trio.sleep(random.uniform(0, 0.8))
            await gateway.kill()
        await gateway.start()


async def come_to_rest(trial: Trial) -> dict[str, dict[str, Any]]:
    """Let the stations settle, and return what GET shows once it is what they see, and the receiver was told it."""
    shown: dict[str, dict[str, Any]] = {}
    disagreeing: dict[str, str] = {}
    latest = trial.receiver.told.latest
    trial.fleet.settle()

    async def agreed() -> bool:
        shown.update({station["id"]: station for station in await trial.gateway.api.pages("/chargestations")})
        disagreeing.clear()
        disagreeing.update(dict.fromkeys(trial.fleet.restless(), "is on its way"))
        for id, station in shown.items():
            seen = trial.fleet.stations[id].connected, latest[id].version if id in latest else 0
            if (station["online"], station["version"]) != seen:
                disagreeing[id] = f"sees and was told {seen}; GET: {station}; {trial.fleet.stations[id].sightings[-3:]}"
        return not disagreeing

    try:
        await until(agreed, within=60, what="sockets, flags and messages agree")
    except NeverCame:
        pytest.fail(f"{disagreeing}\n{trial.gateway.last_words()}")
    return shown


def check(trial: Trial, history: list[Fact], shown: dict[str, dict[str, Any]]) -> None:
    assert [fact.position for fact in history] == list(range(1, len(history) + 1))
    assert sum(fact.kind == "gateway.lost" for fact in history) >= KILLS
    assert [problem for story in stories(history).values() for problem in problems(story, history)] == []
    for id, station in trial.fleet.stations.items():
        opened = [fact.at for fact in history if fact.kind == "connection.opened" and fact.subject == id]
        assert unmatched(id, [dial for dial in station.sightings if dial.answered_at is not None], opened) == []

    flips, online = model(history)
    versions = Counter(flip.station for flip in flips)
    assert {id: (station["online"], station["version"]) for id, station in shown.items()} == {
        id: (id in online, versions[id]) for id in shown
    }
    assert {
        station["id"]: (station["online"], station["version"])
        for station in replayed(trial.gateway.log)
        if station["version"]
    } == {flip.station: (flip.type.endswith("online"), flip.version) for flip in flips}

    told = trial.receiver.told
    assert {what: number for what, number in told.trouble.items() if what != "duplicate"} == {}
    for id in trial.fleet.stations:
        received = [(receipt.version, receipt.type) for receipt in told.receipts if receipt.station == id]
        assert received == [(flip.version, flip.type) for flip in flips if flip.station == id]


# --- the checker -----------------------------------------------------------------------------------------------------


def facts(log: Path) -> Iterator[Fact]:
    columns = "position, id, at, kind, subject, gateway, run, body"
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
        for row in connection.execute(f"SELECT {columns} FROM event ORDER BY position"):
            yield Fact._make((*row[:-1], json.loads(row[-1])))


def stories(history: list[Fact]) -> dict[str, list[Fact]]:
    """Return what happened to each connection."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in history:
        if fact.kind.startswith("connection."):
            found[fact.body["connection"]].append(fact)
    return found


def problems(story: list[Fact], history: list[Fact]) -> Iterator[str]:
    """Truth 13: one opened, at most one timeout, exactly one closed unless the run was lost, and nothing after it."""
    kinds = [fact.kind.removeprefix("connection.") for fact in story]
    lost = {fact.body["run"] for fact in history if fact.kind == "gateway.lost"}
    legal = [["opened", "closed"], ["opened", "ping_timed_out", "closed"]]
    if kinds not in legal and not (kinds in (["opened"], ["opened", "ping_timed_out"]) and story[0].run in lost):
        yield f"{story[0].body['connection']} has the story {kinds}"
    if len({(fact.run, fact.subject) for fact in story}) != 1:
        yield f"{story[0].body['connection']} belongs to two runs or stations"


def model(history: list[Fact]) -> tuple[list[Flip], set[str]]:
    """Fold the history by the table of semantics 3, and return all flips and who is online at its end."""
    state: dict[str, tuple[Literal["on", "held"], str]] = {}  # on a connection, or held for a run; OFF is no entry
    running: dict[str, str] = {}  # run -> gateway
    mark: Counter[tuple[str, str]] = Counter()
    versions: Counter[str] = Counter()
    flips: list[Flip] = []

    def flip(station: str, type: str, position: int) -> None:
        versions[station] += 1
        flips.append(Flip(station, versions[station], f"chargestation.{type}", position))

    def end(run: str) -> None:
        running.pop(run, None)
        for station, (what, name) in state.items():
            if what == "on" and name.rpartition("-")[0] == run:
                state[station] = ("held", run)

    for fact in history:
        connection = fact.body.get("connection", "")
        run, _, number = connection.rpartition("-")
        match fact.kind:
            case "gateway.started":
                for other in [other for other, gateway in running.items() if gateway == fact.gateway]:
                    end(other)
                running[fact.id] = fact.gateway
            case "gateway.stopped":
                end(fact.run)
            case "gateway.lost":
                end(fact.body["run"])
            case "gateway.lapsed":
                for station in [station for station, held in state.items() if held == ("held", fact.body["run"])]:
                    del state[station]
                    flip(station, "offline", fact.position)
            case "connection.opened" if run in running and int(number) > mark[run, fact.subject]:
                mark[run, fact.subject] = int(number)
                if fact.subject not in state:
                    flip(fact.subject, "online", fact.position)
                state[fact.subject] = ("on", connection)
            case "connection.closed" | "connection.ping_timed_out" if state.get(fact.subject) == ("on", connection):
                if fact.body.get("cause") == "shutdown":
                    state[fact.subject] = ("held", run)
                else:
                    del state[fact.subject]
                    flip(fact.subject, "offline", fact.position)
    return flips, set(state)


def replayed(log: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "stationkeeper", "replay", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    chargestations: list[dict[str, Any]] = json.loads(done.stdout)["chargestations"]
    return chargestations

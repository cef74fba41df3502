"""The daemon is killed with SIGKILL, again and again, while stations come and go: nothing acknowledged may be lost.

Afterwards the log is judged by a checker that stands in this file alone: it reads the SQLite file as it is, and folds
it by a model written anew from the tables of the semantics, so that it shares no error with the projections.

Most kills hit it at work, some while it starts or stops. Meanwhile an operator registers stations.

KILLS sets how often (20; `make soak`: 1 000), SEED repeats a run's misfortunes.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random, randrange
from typing import Any, Literal, NamedTuple

import pytest
import trio
from attrs import define, field
from tally import counted

from stationkeeper.daemon.simulation.api import Api, Unanswered
from stationkeeper.daemon.simulation.gateway import Gateway, Terms, free_port
from stationkeeper.daemon.simulation.line import Caller, Line, dial
from stationkeeper.daemon.simulation.station import Backoff, Pace
from stationkeeper.daemon.simulation.trial import Recruit, Trial
from stationkeeper.daemon.simulation.verdict import unmatched
from stationkeeper.daemon.simulation.waiting import NeverCame, until

KILLS = int(os.environ.get("KILLS", 1000 if os.environ.get("SOAK") else 20))
STATIONS = 30
LIFE = 0.4
"""Seconds from the moment it is ready to its death, on average."""
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


@define
class Newcomers:
    """Stations that an operator registers meanwhile."""

    asked: int = 0
    acknowledged: dict[str, str] = field(factory=dict[str, str])
    """Id and password, as a 201 gave them."""

    async def come(self, api: Api, random: Random) -> None:
        """Register one after the other until cancelled. Whether one that got no answer is registered is not known."""
        while True:
            await trio.sleep(random.uniform(0, 0.6))
            self.asked += 1
            id = f"NEW-{self.asked}"
            with suppress(Unanswered):
                reply = await api.ask("POST", "/chargestations", {"id": id, "generate": True})
                assert reply.status in (201, 503), reply
                if reply.status == 201:
                    self.acknowledged[id] = reply.body["password"]


async def test_nothing_is_lost_and_no_lie_is_told_however_often_it_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", randrange(10**6)))
    print(f"{KILLS} kills, seed {seed}", flush=True)
    gateway = Gateway(tmp_path / "killed.db", TERMS, stations_port=free_port(), http_port=free_port())
    recruits = [Recruit(id=f"CP-{number}", behaviour=MIX[number % len(MIX)]) for number in range(STATIONS)]
    trial = Trial(gateway, TERMS, recruits, seed=seed, pace=PACE, failing=0.05)
    newcomers = Newcomers()
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(trial.receiver.serve)
            await gateway.start()
            await trial.enrol(url)
            nursery.start_soon(trial.fleet.run)
            async with trio.open_nursery() as registering:
                registering.start_soon(newcomers.come, gateway.api, Random(f"{seed}:newcomers"))
                moments = await kill_at_random(gateway, Random(seed))
                registering.cancel_scope.cancel()
            await let_in(gateway, newcomers.acknowledged)
            shown = await come_to_rest(trial)
            # In order, and with the stations still connected: their flags must outlast this, too.
            assert await gateway.stop() == 0
            nursery.cancel_scope.cancel()
    finally:
        await gateway.kill()
    history = list(facts(gateway.log))
    check(trial, history, shown)
    assert newcomers.acknowledged.keys() <= shown.keys()
    for moment, number in moments.items():
        counted(f"kills {moment}", number)
    counted("events", len(history))
    counted("101s", sum(dial.admitted for station in trial.fleet.stations.values() for dial in station.sightings))
    counted("webhooks", len(trial.receiver.told.receipts))
    counted("registrations", len(newcomers.acknowledged))


async def kill_at_random(gateway: Gateway, random: Random) -> Counter[str]:
    """Kill the daemon at any moment of its life, and start it again each time. Returns how often, by that moment."""
    moments: Counter[str] = Counter()
    moment = "at work"
    while True:
        process = gateway.process
        assert process is not None
        if moment == "while it starts":
            await trio.sleep(random.uniform(0, 1))
        else:
            await trio.sleep(random.expovariate(1 / LIFE))
        if moment == "while it stops":
            process.send_signal(signal.SIGTERM)
            await trio.sleep(random.uniform(0, 0.1))
        assert process.poll() in (None, 0), gateway.last_words()
        await gateway.kill()
        if process.returncode == -signal.SIGKILL:  # not where it had stopped in order by then
            moments[moment] += 1
            if moments.total() % 100 == 0:
                print(f"{moments.total()} kills", flush=True)
        if moments.total() == KILLS:
            await gateway.start()
            return moments
        moment = random.choices(("at work", "while it starts", "while it stops"), (7, 2, 1))[0]
        await (gateway.launch() if moment == "while it starts" else gateway.start())


async def let_in(gateway: Gateway, registered: dict[str, str]) -> None:
    """Let the newest of those dial in whose registration was acknowledged: a password once printed is good for ever."""
    for id, password in list(registered.items())[-20:]:
        line = await dial(gateway.stations_url, Caller(station=id, password=password.encode()))
        assert isinstance(line, Line), f"{id} was acknowledged, and is now refused: {line}"
        await line.hang_up()


async def come_to_rest(trial: Trial) -> dict[str, dict[str, Any]]:
    """Let the stations settle, and return what GET shows once it is what they see, and the receiver was told it."""
    shown: dict[str, dict[str, Any]] = {}
    disagreeing: dict[str, str] = {}
    latest = trial.receiver.told.latest
    fleet = trial.fleet.stations
    trial.fleet.settle()

    async def agreed() -> bool:
        shown.update({station["id"]: station for station in await trial.gateway.api.pages("/chargestations?limit=500")})
        disagreeing.clear()
        disagreeing.update(dict.fromkeys(trial.fleet.restless(), "is on its way"))
        for id, station in shown.items():
            seen = id in fleet and fleet[id].connected, latest[id].version if id in latest else 0
            if (station["online"], station["version"]) != seen:
                sightings = fleet[id].sightings[-3:] if id in fleet else ""
                disagreeing[id] = f"sees and was told {seen}; GET: {station}; {sightings}"
        return not disagreeing

    try:
        await until(agreed, within=60, what="sockets, flags and messages agree")
    except NeverCame:
        pytest.fail(f"{disagreeing}\n{trial.gateway.last_words()}")
    return shown


def check(trial: Trial, history: list[Fact], shown: dict[str, dict[str, Any]]) -> None:
    assert [fact.position for fact in history] == list(range(1, len(history) + 1))
    assert list(unfinished_runs(history)) == []
    lost = {fact.body["run"] for fact in history if fact.kind == "gateway.lost"}
    assert [problem for story in stories(history).values() for problem in problems(story, lost)] == []
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
    received, owed = defaultdict[str, list[Flip]](list), defaultdict[str, list[Flip]](list)
    for receipt in told.receipts:
        received[receipt.station].append(Flip(receipt.station, receipt.version, receipt.type))
    for flip in flips:
        owed[flip.station].append(flip)
    assert received == owed


# --- the checker -----------------------------------------------------------------------------------------------------


def facts(log: Path) -> Iterator[Fact]:
    columns = "position, id, at, kind, subject, gateway, run, body"
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
        for row in connection.execute(f"SELECT {columns} FROM event ORDER BY position"):
            yield Fact._make((*row[:-1], json.loads(row[-1])))


def unfinished_runs(history: list[Fact]) -> Iterator[str]:
    """Each run has one end, stopped or lost, and appends nothing after it."""
    ends: dict[str, int] = {}
    started = {fact.id for fact in history if fact.kind == "gateway.started"}
    for fact in history:
        if fact.run in ends:
            yield f"{fact} comes after the end of its run at {ends[fact.run]}"
        if fact.kind in ("gateway.stopped", "gateway.lost"):
            run = fact.run if fact.kind == "gateway.stopped" else fact.body["run"]
            if run in ends:
                yield f"{fact} ends a run that ended at {ends[run]}"
            ends[run] = fact.position
    if ends.keys() != started:
        yield f"without an end, or without a start: {ends.keys() ^ started}"


def stories(history: list[Fact]) -> dict[str, list[Fact]]:
    """Return what happened to each connection."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in history:
        if fact.kind.startswith("connection."):
            found[fact.body["connection"]].append(fact)
    return found


def problems(story: list[Fact], lost: set[str]) -> Iterator[str]:
    """Truth 13: one opened, at most one timeout, exactly one closed unless the run was lost, and nothing after it."""
    kinds = [fact.kind.removeprefix("connection.") for fact in story]
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

    def flip(station: str, type: str) -> None:
        versions[station] += 1
        flips.append(Flip(station, versions[station], f"chargestation.{type}"))

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
                    flip(station, "offline")
            case "connection.opened" if run in running and int(number) > mark[run, fact.subject]:
                mark[run, fact.subject] = int(number)
                if fact.subject not in state:
                    flip(fact.subject, "online")
                state[fact.subject] = ("on", connection)
            case "connection.closed" | "connection.ping_timed_out" if state.get(fact.subject) == ("on", connection):
                if fact.body.get("cause") == "shutdown":
                    state[fact.subject] = ("held", run)
                else:
                    del state[fact.subject]
                    flip(fact.subject, "offline")
    return flips, set(state)


def replayed(log: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "stationkeeper", "replay", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    chargestations: list[dict[str, Any]] = json.loads(done.stdout)["chargestations"]
    return chargestations

"""The judge: what happened in a world, against what its log holds, its receivers were told, and its GETs answered.

log       positions have no gaps; what was acknowledged is there, as it was; nothing comes in the name of an ended run
story     one `opened` for each 101, before it; at most one timeout; exactly one `closed` unless the run was lost
cause     no connection ends in the log for what did not happen to its socket
answers   nobody is timed out whose bytes had come, nor before its timeout was over
silence   silence is found within interval + timeout + lag + 1 s, while a gateway watched
grace     nobody lapses before stations could come back for the grace; every ended run lapses at last
flag      at rest the flag is the socket; every GET says what the log said at its position
order     each receiver takes the flips of a station in order, none that was not, and none twice for nothing
reading   a GET after a message is never older than it; no message goes out before its cause is durable
told      every flip reaches every receiver that asks for it, unless it was parked, or its lane of 64 was full just then
engine    the engine never falls over
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, Final

from ...engine.entry import Recorded
from .history import (
    Accepting,
    Asked,
    AtRest,
    Began,
    Broke,
    Died,
    Dropped,
    Fact,
    History,
    LetIn,
    Silent,
    Stalled,
    Stopping,
    Told,
    Unwritable,
)
from .lanes import Lanes
from .model import Flip, Model

TRUTHS: Final = (
    "log", "story", "cause", "answers", "silence", "grace", "flag", "order", "reading", "told", "engine",
)  # fmt: skip
EPSILON: Final = 1e-4
"""Seconds that are lost where times are written as whole microseconds."""


class Judge:
    """Reads a history. `findings` are what is wrong with it, each as a truth and the words for it."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.model = Model()
        self.flips: list[Flip] = []
        self.bodies: list[dict[str, Any]] = [json.loads(row.body) for row in history.rows]
        self.by_id: dict[str, tuple[int, dict[str, Any]]] = {
            row.id: (row.position, body) for row, body in zip(history.rows, self.bodies, strict=True)
        }
        self.let_in: dict[str, LetIn] = {fact.connection: fact for fact in self.facts(LetIn)}
        self.times: list[float] = self._times()
        self.findings: list[str] = [f"{truth}: {words}" for truth in TRUTHS for words in getattr(self, f"_{truth}")()]

    def facts(self, *kinds: type[Fact]) -> list[Any]:
        """Return the facts of some kinds."""
        return [fact for fact in self.history.facts if isinstance(fact, kinds)]

    def _times(self) -> list[float]:
        """Return the moment at which each row was made: its time, less what the wall clock was set by."""
        based = {fact.run: (fact.based, fact.wall) for fact in self.facts(Began)}
        times: list[float] = []
        for row, body in zip(self.history.rows, self.bodies, strict=True):
            if row.kind == "gateway.clock_set":
                began, wall = based[row.run]
                based[row.run] = began, wall + round(body["offset"] * 1e6)
            began, wall = based.get(row.run, (0.0, row.at))
            times.append(began + (row.at - wall) / 1e6)
        return times

    # --- the log -----------------------------------------------------------------------------------------------------

    def _engine(self) -> Iterator[str]:
        if self.history.failure:
            yield self.history.failure

    def _log(self) -> Iterator[str]:
        rows, ended = self.history.rows, set[str]()
        if [row.position for row in rows] != list(range(1, len(rows) + 1)):
            yield "its positions are not 1, 2, 3 ..."
        held = {row.position: row.leaf for row in rows}
        for position, leaf in self.history.acknowledged.items():
            if held.get(position) != leaf:
                yield f"what was acknowledged at position {position} is gone, or is another"
        for row, body in zip(rows, self.bodies, strict=True):
            if row.run in ended:
                yield f"position {row.position} comes in the name of a run that has ended"
            if row.kind in ("gateway.stopped", "gateway.lost"):
                ended.add(body.get("run", row.run))

    def _story(self) -> Iterator[str]:
        stories: defaultdict[str, list[str]] = defaultdict(list)
        lost = {body["run"] for _, body in self._rows("gateway.lost")}
        for row, body in self._rows("connection.opened", "connection.ping_timed_out", "connection.closed"):
            stories[body["connection"]].append(row.kind.removeprefix("connection."))
        for connection, story in stories.items():
            whole = story in (["opened", "closed"], ["opened", "ping_timed_out", "closed"])
            if not whole and not (story == ["opened"] and connection.rpartition("-")[0] in lost | self.model.running):
                yield f"{connection} has the story {story}"
            if whole and connection not in self.let_in:
                first, last = (self.times[self.by_id[f"{connection}:{end}"][0] - 1] for end in ("opened", "closed"))
                if last - first > 1.0 + self._late(first, last, self.facts(Stalled)):
                    yield f"{connection} stood for {last - first:.3f} s, though nobody was let in"
        yield from self._newest()
        for fact in self.let_in.values():
            position, _ = self.by_id.get(f"{fact.connection}:opened", (None, None))
            if position is None or position > fact.durable:
                yield f"{fact.station} had its 101 as {fact.connection} before that was durable"

    def _newest(self) -> Iterator[str]:
        """Of two connections of a station the older goes at once, whatever becomes of its socket."""
        late, older = self.facts(Stalled, Unwritable), dict[str, str]()
        for row, body in self._rows("connection.opened"):
            before, older[row.subject] = older.get(row.subject, ""), body["connection"]
            end = self.by_id.get(f"{before}:closed")
            if end is not None and before.rpartition("-")[0] == row.run:
                since, until = self.times[row.position - 1], self.times[end[0] - 1]
                if until - since > 1.0 + self._late(since, until, late):
                    yield f"{before} stands beside {body['connection']} of the same station"

    def _cause(self) -> Iterator[str]:
        broke = {(fact.socket, fact.how): fact.at for fact in reversed(self.facts(Broke))}
        stopping = {fact.run: fact.at for fact in self.facts(Stopping)}
        newest: dict[str, int] = {row.subject: row.position for row, _ in self._rows("connection.opened")}
        for row, body in self._rows("connection.closed"):
            connection, cause, at = body["connection"], body["cause"], self.times[row.position - 1] + EPSILON
            fact = self.let_in.get(connection)
            match cause:
                case "station_closed" | "network_lost":
                    how = "closed" if cause == "station_closed" else "reset"
                    happened = fact is not None and broke.get((fact.socket, how), at + 1) <= at
                case "ping_timeout":
                    happened = f"{connection}:timed_out" in self.by_id
                case "superseded":
                    happened = newest[row.subject] > self.by_id[f"{connection}:opened"][0]
                case "shutdown":
                    happened = stopping.get(row.run, at + 1) <= at
                case _:
                    happened = cause == "handshake_aborted" and fact is None
            if not happened:
                yield f"position {row.position} says {cause} of {connection}, and nothing of the kind happened"

    def _answers(self) -> Iterator[str]:
        dropped = {fact.socket: fact for fact in self.facts(Dropped)}
        for row, body in self._rows("connection.ping_timed_out"):
            fact = self.let_in.get(body["connection"])
            drop = dropped.get(fact.socket) if fact is not None else None
            if drop is None:
                continue  # the process died before its socket was dropped
            at = self.times[row.position - 1]
            alive = at - (row.at - body["alive_at"]) / 1e6
            if any(alive + EPSILON < arrived <= at - EPSILON for arrived in drop.arrived):
                yield f"position {row.position} times out {row.subject}, whose bytes had come"
            waited = at - (drop.pinged if body["interval"] and drop.pinged is not None else alive)
            if waited < body["timeout"] - EPSILON:
                yield f"position {row.position} times out {row.subject} after {waited:.3f} s"

    def _silence(self) -> Iterator[str]:
        late = self.facts(Stalled, Unwritable)
        for fact in self.facts(Silent):
            lag = self._late(fact.since, fact.at, late)
            if fact.at - fact.since > fact.bound + lag + self.history.turn + 1.0:
                yield f"socket {fact.socket} was silent from {fact.since:.3f} to {fact.at:.3f}, and nobody found it"

    @staticmethod
    def _late(since: float, until: float, late: Sequence[Stalled | Unwritable]) -> float:
        """Return for how long, of a time, the gateway had no turn or no log."""
        spans = ((f.since, f.at) if isinstance(f, Stalled) else (f.at, f.until) for f in late)
        return sum(max(0.0, min(b, until) - max(a, since)) for a, b in spans)

    def _grace(self) -> Iterator[str]:
        died = {fact.run: fact.at for fact in self.facts(Died)}
        doors = [*self.facts(Accepting), Accepting(float("inf"), False)]
        outages = self.facts(Unwritable)
        for row, body in self._rows("gateway.lapsed"):
            # A run whose start was written, and whose process died of that, has lived for no time.
            since = died.get(body["run"], self.times[self.by_id[body["run"]][0] - 1])
            until = self.times[row.position - 1]
            listened = 0.0
            for a, b in pairwise(doors):
                begin, end = max(a.at, since), min(b.at, until)
                if a.yes and begin < end:
                    # Seconds count whole: an outage may leave the ones in which it began and ended.
                    out = (min(fact.over, end) - max(fact.at, begin) - 1.0 for fact in outages)
                    listened += end - begin - sum(max(0.0, seconds) for seconds in out)
            if listened < body["grace"] - EPSILON:
                yield f"position {row.position} lapses a run after {listened:.3f} s of {body['grace']:.0f}"
        yield from (f"{s} is held by a run for ever" for s, (_, n) in self._final().held.items() if not n)

    # --- the flag, and what was told of it ---------------------------------------------------------------------------

    def _final(self) -> Model:
        """Return the model as of the moment when all is at rest: what comes after is our own stop."""
        if not self.model.versions:
            end = max((fact.position for fact in self.facts(AtRest)), default=len(self.history.rows))
            for row in self.history.rows[:end]:
                self.flips += self.model.follow(row)
        return self.model

    def _flag(self) -> Iterator[str]:
        online = set(self._final().held)
        for fact in self.facts(AtRest):
            if fact.connected != (fact.station in online):
                yield f"{fact.station} is {'' if fact.connected else 'not '}connected, and the log says otherwise"
        history: defaultdict[str, list[Flip]] = defaultdict(list)
        for flip in self.flips:
            history[flip.station].append(flip)
        for fact in self.facts(Asked):
            flips = [flip for flip in history[fact.station] if flip.position <= fact.position]
            truth = (flips[-1].online, flips[-1].version) if flips else (False, 0)
            if truth != (fact.online, fact.version):
                yield f"at {fact.position} a GET of {fact.station} says {fact.online, fact.version}, not {truth}"

    def _order(self) -> Iterator[str]:
        flips = {(flip.station, flip.version): flip.online for flip in self.flips}
        newest: dict[tuple[str, str], int] = {}
        done: dict[str, Told] = {}
        for told in self.facts(Told):
            lane = told.webhook, told.station
            before = done.get(told.message)
            if flips.get((told.station, told.version)) is not told.online:
                yield f"{told.webhook} is told {told.type} of {told.station} at {told.version}, which never was"
            if before is not None and before.run == told.run:
                yield f"{told.webhook} is told {told.message} again, though it had accepted it"
            if told.taken and told.version < newest.get(lane, 0):
                yield f"{told.webhook} is told version {told.version} of {told.station} after {newest[lane]}"
            if told.taken:
                newest[lane] = max(told.version, newest.get(lane, 0))
            if told.accepted:
                done[told.message] = told

    def _reading(self) -> Iterator[str]:
        positions = {(flip.station, flip.version): flip.position for flip in self.flips}
        outages = self.facts(Unwritable)
        for told in self.facts(Told):
            if any(fact.at < told.begun < fact.over for fact in outages):
                yield f"{told.webhook} is told {told.message}, begun while the log could not be written"
            if told.asked[1] < told.version:
                yield f"a GET of {told.station} shows version {told.asked[1]} after a message of {told.version}"
            if positions.get((told.station, told.version), 0) > told.durable:
                yield f"{told.webhook} is told version {told.version} of {told.station} before that is durable"

    def _told(self) -> Iterator[str]:
        taken = {told.message for told in self.facts(Told) if told.taken}
        lanes: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for told in self.facts(Told):
            if told.taken:
                lanes[told.webhook, told.station].add(told.version)
        outcomes: set[str] = set()
        for row, body in self._rows("delivery.succeeded", "delivery.parked"):
            outcomes.add(body["message"])
            if row.kind == "delivery.parked":
                if body["attempts"] < self.history.attempts:
                    yield f"position {row.position} gives a message up after {body['attempts']} attempts"
            elif body["message"] not in taken:
                yield f"position {row.position} says that a message was taken, and it was not"
        for told in self.facts(Told):
            if told.accepted and told.message not in outcomes:
                yield f"{told.webhook} accepted {told.message}, and the log does not say so"
        for webhook, owing in self._owing().items():
            for station, flips in owing.owed.items():
                got = lanes[webhook, station]
                missing = [f for f in flips if f.version not in got and (f.position, station) not in owing.excused]
                if missing:
                    yield f"{webhook} was never told version {missing[-1].version} of {station}"

    def _owing(self) -> dict[str, Lanes]:
        """Return what each webhook was owed, by the log's flips and outcomes in their order."""
        self._final()
        flips: defaultdict[int, list[Flip]] = defaultdict(list)
        for flip in self.flips:
            flips[flip.position].append(flip)
        owing: dict[str, Lanes] = {}
        for row, body in zip(self.history.rows, self.bodies, strict=True):
            if row.kind == "webhook.added":
                owing[row.subject] = Lanes(body["stations"], latest=body.get("mode") == "latest")
            elif row.kind in ("delivery.succeeded", "delivery.parked") and body["webhook"] in owing:
                parked = row.kind == "delivery.parked"
                owing[body["webhook"]].settle(row.subject, body["position"], parked=parked)
            for flip, lanes in product(flips[row.position], owing.values()):
                lanes.owe(flip)
        return owing

    def _rows(self, *kinds: str) -> Iterator[tuple[Recorded, dict[str, Any]]]:
        return ((r, b) for r, b in zip(self.history.rows, self.bodies, strict=True) if r.kind in kinds)

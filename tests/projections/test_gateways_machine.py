"""Several gateways over one log on the disk, with their runs, crashes and late words, against a model of what is true.

The model is of sockets: which gateway holds which, and which of a station's is newest. It knows nothing of the table.
After each step the states that were folded along, those of a snapshot and the tail after it, and those of a full replay
through a reader of its own must be one, byte for byte, and say what the model says.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.errors import Fenced
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    LogRestored,
)
from stationkeeper.engine.fold import Fold, Projection
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.names import closed_id, connection_name, lapsed_id, lost_id, opened_id, timed_out_id
from stationkeeper.engine.runs import runs
from stationkeeper.engine.snapshots import fold_of, take
from stationkeeper.projections import outbox, presence

GATEWAYS = ["east", "west"]
STATIONS = ["CP-1", "CP-2", "CP-3"]
FOLDED: list[Projection[Any, Any]] = [runs, outbox]
RESTORED = 2**20


@define
class Truth:
    """A station, as anybody would put it who saw the sockets."""

    socket: str = ""
    """Its newest connection, while that is up and its gateway's run lasts."""
    held: str = ""
    """The run that its connection went with."""
    flips: int = 0

    @property
    def online(self) -> bool:
        return bool(self.socket or self.held)

    def go(self, *, socket: str = "", held: str = "") -> None:
        before = self.online
        self.socket, self.held = socket, held
        self.flips += before != self.online


class GatewaysMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gateways-"))
        self.lives = 0
        self.log: SqliteLog = open_log(self.path)
        self.fold = Fold(FOLDED)
        self.clock = 1_790_000_000_000_000
        self.drawn = 0
        self.running: dict[str, str] = {}
        """Run -> its gateway: those that have not ended."""
        self.ended: list[str] = []
        self.lapsed: set[str] = set()
        self.admitted: dict[str, int] = {}
        self.sockets: dict[str, str] = {}
        """Connection -> its station, as long as the connection owes a `closed`."""
        self.stations = {station: Truth() for station in STATIONS}
        self.restored = 0

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}.db"

    # --- words -------------------------------------------------------------------------------------------------------

    def write(self, *events: tuple[Event, str, str, str]) -> None:
        """Append (event, id, run, subject) as one batch, and fold along."""
        batch: list[Entry] = []
        for event, id, run, subject in events:
            self.drawn += 1
            gateway = self.running.get(run, "")
            batch.append(
                seal(event, id=id or f"e{self.drawn}", at=self.clock, subject=subject, gateway=gateway, run=run)
            )
        self.log.append(batch)
        for recorded in self.log.read(self.fold.position):
            self.fold.advance(recorded)

    def let_go(self, run: str) -> None:
        """A run is over: what it held goes on being online, unseen."""
        for truth in self.stations.values():
            if truth.socket.startswith(f"{run}-"):
                truth.go(held=run)
        self.running.pop(run)
        self.ended.append(run)

    def pick(self, data: st.DataObject) -> tuple[str, str]:
        """Return a connection of a running run, and that run."""
        ours = [socket for socket in self.sockets if socket.rpartition("-")[0] in self.running]
        socket = data.draw(st.sampled_from(sorted(ours)))
        return socket, socket.rpartition("-")[0]

    def some_socket(self) -> bool:
        return any(socket.rpartition("-")[0] in self.running for socket in self.sockets)

    # --- what gateways do --------------------------------------------------------------------------------------------

    @rule(gateway=st.sampled_from(GATEWAYS))
    def start(self, gateway: str) -> None:
        """Start; an older run of the same gateway that never ended is found lost in the same commit."""
        self.drawn += 1
        run = f"r{self.drawn}"
        dead = [old for old, whose in self.running.items() if whose == gateway]
        started = GatewayStarted(
            public_url=f"ws://{gateway}/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
            settling=300.0, rules=1, software="0.1", host="host",
        )  # fmt: skip
        self.running[run] = gateway
        losses = [(lost(old, gateway), lost_id(old), run, "") for old in dead]
        self.write(*losses, (started, run, run, ""))
        for old in dead:
            self.let_go(old)
        self.admitted[run] = 0

    @precondition(lambda self: self.running)
    @rule(data=st.data(), station=st.sampled_from(STATIONS))
    def open(self, data: st.DataObject, station: str) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        self.admitted[run] += 1
        socket = connection_name(run, self.admitted[run])
        opened = ConnectionOpened(
            connection=socket, subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0
        )
        self.write((opened, opened_id(socket), run, station))
        self.sockets[socket] = station
        self.stations[station].go(socket=socket)

    @precondition(some_socket)
    @rule(data=st.data(), cause=st.sampled_from(["station_closed", "network_lost", "superseded", "shutdown"]))
    def close(self, data: st.DataObject, cause: Cause) -> None:
        """A connection closes, be it the station's newest or one that was superseded long ago."""
        socket, run = self.pick(data)
        station = self.sockets.pop(socket)
        self.write((closed(socket, cause, self.clock), closed_id(socket), run, station))
        if self.stations[station].socket == socket:
            self.stations[station].go(held=run if cause == "shutdown" else "")

    @precondition(some_socket)
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        socket, run = self.pick(data)
        station = self.sockets.pop(socket)
        timed_out = ConnectionPingTimedOut(
            connection=socket, alive_at=self.clock, pinged_at=self.clock, interval=25.0, timeout=20.0, lag=0.0
        )
        ended = closed(socket, "ping_timeout", self.clock)
        self.write((timed_out, timed_out_id(socket), run, station), (ended, closed_id(socket), run, station))
        if self.stations[station].socket == socket:
            self.stations[station].go()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        self.write((GatewayStopped(listened=9.0), "", run, ""))
        self.let_go(run)

    @precondition(lambda self: len(self.running) > 1)
    @rule(data=st.data())
    def find_lost(self, data: st.DataObject) -> None:
        """One gateway finds another's run dead; if it lives all the same, it is fenced out."""
        run, finder = data.draw(st.permutations(sorted(self.running)))[:2]
        self.write((lost(run, self.running[finder]), lost_id(run), finder, ""))
        self.let_go(run)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), station=st.sampled_from(STATIONS))
    def speak_after_the_end(self, data: st.DataObject, station: str) -> None:
        run = data.draw(st.sampled_from(self.ended))
        socket = connection_name(run, self.admitted[run] + 1)
        opened = ConnectionOpened(
            connection=socket, subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0
        )
        with pytest.raises(Fenced):
            self.write((opened, opened_id(socket), run, station))

    @precondition(lambda self: self.ended and self.running)
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.ended))
        if run in self.lapsed:
            return
        teller = data.draw(st.sampled_from(sorted(self.running)))
        self.write((GatewayLapsed(run=run, grace=120.0, listened=120.0), lapsed_id(run), teller, ""))
        self.lapsed.add(run)
        for truth in self.stations.values():
            if truth.held == run:
                truth.go()

    @rule()
    def restore(self) -> None:
        self.write((LogRestored(checkpoint_size=1, checkpoint_root="00"), "", "", ""))
        self.restored += 1

    # --- what befalls log and clock ----------------------------------------------------------------------------------

    @rule(step=st.sampled_from([-3_600_000_000, -1, 1_000, 90_000_000]))
    def let_the_clock_step(self, step: int) -> None:
        self.clock += step

    @rule()
    def open_again(self) -> None:
        self.log.close()
        self.log = open_log(self.path)

    @rule()
    def crash(self) -> None:
        """Go on with the files as they stood, and with what a start takes up from them."""
        left = self.path
        self.lives += 1
        for end in ("", "-wal"):
            if Path(f"{left}{end}").exists():
                shutil.copy(f"{left}{end}", f"{self.path}{end}")
        self.log.close()
        self.log = open_log(self.path)
        self.fold = fold_of(self.log, FOLDED)
        for recorded in self.log.read(self.fold.position):
            self.fold.advance(recorded)

    @rule()
    def keep_snapshots(self) -> None:
        self.log.keep_snapshots(take(self.fold))

    # --- what must be true -------------------------------------------------------------------------------------------

    @invariant()
    def the_fold_says_what_is_true(self) -> None:
        fleet = self.fold.state(presence)
        for station, truth in self.stations.items():
            known = fleet.known(station)
            socket = known.connection.id if known.connection else ""
            assert (socket, known.run if known.state == "held" else "") == (truth.socket, truth.held), station
            assert (known.online, known.version) == (truth.online, truth.flips + RESTORED * self.restored)
        still: dict[str, str] = self.fold.state(runs)
        assert still == self.running
        assert fleet.watching == bool(self.running)

    @invariant()
    def every_way_to_the_state_leads_to_the_same_bytes(self) -> None:
        live = {snapshot.name: snapshot for snapshot in take(self.fold)}
        resumed = fold_of(self.log, FOLDED)
        replayed = Fold(FOLDED)
        for recorded in self.log.read(resumed.position):
            resumed.advance(recorded)
        with closing(open_reader(self.path)) as reader:
            for recorded in reader.read():
                replayed.advance(recorded)
        for other in (resumed, replayed):
            assert {snapshot.name: snapshot for snapshot in take(other)} == live

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.folder)


def closed(socket: str, cause: Cause, at: int) -> ConnectionClosed:
    return ConnectionClosed(connection=socket, side="station", cause=cause, alive_at=at)


def lost(run: str, by: str) -> GatewayLost:
    return GatewayLost(run=run, alive_at=1, listened=2.0, found_by=by)


TestGatewaysMachine = GatewaysMachine.TestCase
TestGatewaysMachine.settings = settings(stateful_step_count=30)

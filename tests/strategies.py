"""Hypothesis strategies for histories: legal ones, as a gateway would write them, and well-formed ones in any order.

The pools are small on purpose, so that the events of a drawn history meet each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from histories import SECOND, START, History, record
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.sending import Owed
from stationkeeper.projections import outbox
from stationkeeper.projections.bodies import message_id

STATIONS = ("CP-1", "CP-2", "Ütz/3")
RUNS = ("r1", "r2", "r3")
GATEWAYS = ("g", "h")
WEBHOOKS = ("w1", "w2")
TYPES = (
    "chargestation.online",
    "chargestation.offline",
    "chargestation.offline.confirmed",
    "webhook.disabled",
    "webhook.ping",
)
SITES = ("", "north")
PATTERNS = ("*", "CP-*", "CP-[12]", "ütz/3", "", "[", "[z-a]", "CP-?")

stations = st.sampled_from(STATIONS)
webhooks = st.sampled_from(WEBHOOKS)
runs = st.sampled_from(RUNS)
causes: SearchStrategy[e.Cause] = st.sampled_from(get_args(e.Cause))
sides: SearchStrategy[e.Side] = st.sampled_from(get_args(e.Side))
times = st.integers(START, START + 1000 * SECOND)
seconds = st.sampled_from((0.0, 0.1, 1.0, 60.0, -1.0, 1e308))
codes = st.none() | st.sampled_from((1000, 1001, 1006, 4000))
positions = st.integers(0, 40)
rounds = st.integers(0, 3)
connections = st.builds("{}-{}".format, runs, st.integers(0, 6)) | st.sampled_from(
    ("", "r1", "-", "r1-x", "r1-" + "9" * 5000)
)


def _records(cls: type[e.Event]) -> SearchStrategy[e.Event]:
    """Draw a registration or a subscription."""
    if issubclass(cls, e.StationRecord):
        return st.builds(
            cls,
            protocol=st.none() | st.just("ocpp1.6"),
            security=st.sampled_from(("basic", "none")),
            credentials=st.just(()) | st.just((e.Validity(id="c1"),)),
            name=st.text(max_size=2),
            site=st.sampled_from(SITES),
        )
    return st.builds(
        cls,
        url=st.sampled_from(("https://a.example/", "https://b.example/")),
        events=st.lists(st.sampled_from(TYPES), max_size=5, unique=True).map(tuple),
        stations=st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple) | st.just(("*",)),
        secrets=st.just(("s1",)),
        initial=st.sampled_from(("none", "state")),
        sites=st.just(("*",)) | st.lists(st.sampled_from(("*", "n*", "north", "?*")), max_size=2).map(tuple),
        format=st.sampled_from(("standard", "cloudevents")),
        mode=st.sampled_from(("every", "latest")),
    )


def _started(rules: SearchStrategy[int]) -> SearchStrategy[e.Event]:
    return st.builds(
        e.GatewayStarted,
        public_url=st.sampled_from(("ws://one/ocpp", "ws://two/ocpp")),
        ping_interval=seconds,
        ping_timeout=seconds,
        silence=seconds,
        grace=seconds,
        settling=seconds,
        rules=rules,
        software=st.just("0.1"),
        host=st.just("host"),
    )


def _opened(connection: SearchStrategy[str]) -> SearchStrategy[e.Event]:
    return st.builds(
        e.ConnectionOpened,
        connection=connection,
        subprotocol=st.sampled_from((None, "ocpp1.6", "ocpp2.0.1")),
        security=st.sampled_from(("none", "basic")),
        ping_interval=seconds,
        ping_timeout=seconds,
        silence=seconds,
    )


def _timed_out(connection: SearchStrategy[str]) -> SearchStrategy[e.Event]:
    return st.builds(
        e.ConnectionPingTimedOut,
        connection=connection,
        alive_at=times,
        pinged_at=times,
        interval=seconds,
        timeout=seconds,
        lag=seconds,
    )


def _closed(connection: SearchStrategy[str], cause: SearchStrategy[e.Cause]) -> SearchStrategy[e.Event]:
    return st.builds(
        e.ConnectionClosed,
        connection=connection,
        side=sides,
        code=codes,
        reason=st.sampled_from(("", "bye")),
        cause=cause,
        alive_at=times,
    )


PRESENCE: SearchStrategy[tuple[e.Event, str]] = st.one_of(
    st.tuples(_started(st.sampled_from((0, 1, 1, 1, 1, 1, 2))), st.just("")),
    st.tuples(st.builds(e.GatewayStopped, listened=seconds), st.just("")),
    st.tuples(st.builds(e.GatewayLost, run=runs, alive_at=times, listened=seconds, found_by=st.just("g")), st.just("")),
    st.tuples(st.builds(e.GatewayLapsed, run=runs, grace=seconds, listened=seconds), st.just("")),
    st.tuples(_opened(connections), stations | st.just("")),
    st.tuples(_opened(connections), stations),
    st.tuples(_timed_out(connections), stations),
    st.tuples(_closed(connections, causes), stations),
    st.tuples(st.builds(e.LogRestored, checkpoint_size=positions, checkpoint_root=st.just("00")), st.just("")),
)
"""Events that presence folds, each with its subject."""

OTHERS: SearchStrategy[tuple[e.Event, str]] = st.one_of(
    st.tuples(st.builds(e.GatewayStalled, since=times, until=times), st.just("")),
    st.tuples(
        st.builds(
            e.HandshakeRefused,
            claimed=stations | st.just(""),
            reason=st.sampled_from(("unknown_station", "wrong_credentials")),
            status=codes.map(lambda code: code or 404),
            hint=st.sampled_from(("", "a hint")),
            count=rounds,
            first_at=times,
            last_at=times,
        ),
        st.just(""),
    ),
    st.tuples(st.sampled_from((e.StationRegistered, e.StationUpdated)).flatmap(_records), stations),
    st.tuples(st.builds(e.StationRemoved), stations),
    st.tuples(st.builds(e.StationSettled, version=rounds, settling=seconds), stations),
    st.tuples(_records(e.WebhookAdded), webhooks | st.just("")),
    st.tuples(_records(e.WebhookUpdated), webhooks),
    st.tuples(
        st.sampled_from((e.WebhookRemoved, e.WebhookPaused, e.WebhookEnabled, e.WebhookResumed, e.WebhookTested)).map(
            lambda cls: cls()
        ),
        webhooks,
    ),
    st.tuples(
        st.sampled_from((e.WebhookDisabled, e.WebhookFailed, e.WebhookSuspended)).flatmap(
            lambda cls: st.builds(cls, reason=st.just("dead"), since=times, status=codes)
        ),
        webhooks,
    ),
    st.tuples(st.builds(e.WebhookRecovered, since=positions, until=positions), webhooks),
)
"""Events of stations' records, of refusals and of webhooks, each with its subject."""


def _deliveries(history: list[Recorded]) -> SearchStrategy[tuple[e.Event, str]]:
    """Draw outcomes and requests of messages that the history may or may not have caused."""

    def deliver(kind: int, cause: Recorded | None, webhook: str, type: str, station: str, round: int) -> e.Event:
        causing, position = ("", 0) if cause is None else (cause.id, cause.position)
        restores = sum(one.kind == e.LogRestored.kind for one in history[:position])
        message = Owed(
            message_id(webhook, causing, type, station, restores * 2**20),
            webhook,
            station,
            type,
            position,
            round - (kind == 0),
            "pending",
        )
        story = History()
        tell = (story.requested, story.parked, story.delivered, story.skipped)[kind]
        return decode(tell(message))

    causes = st.sampled_from(history) if history else st.none()
    return stations.flatmap(
        lambda station: st.tuples(
            st.builds(
                deliver, st.integers(0, 3), causes, webhooks, st.sampled_from(TYPES[:2]), st.just(station), rounds
            ),
            st.just(station),
        )
    )


@composite
def arbitrary_histories(draw: DrawFn, max_size: int = 30, *, presence_alone: bool = False) -> list[Recorded]:
    """Draw well-formed events in any order, at any time; ids differ, and the computed ones are what they must be."""
    history: list[Recorded] = []
    used: set[str] = set()
    # Where nothing runs and nobody subscribes, little can go wrong: half of the histories begin with both.
    begin = [(draw(_started(st.just(1))), ""), (e.WebhookAdded(url="https://a.example/"), "w1")]
    given = [*begin * draw(st.booleans()), *[None] * draw(st.integers(0, max_size))]
    for position, event_and_subject in enumerate(given, start=1):
        anything = PRESENCE if presence_alone else PRESENCE | OTHERS | _deliveries(history)
        event, subject = event_and_subject or draw(anything)
        id = _computed_id(event, draw(runs))
        if not id or id in used:
            id = f"e{position}"
        used.add(id)
        envelope = {"gateway": draw(st.sampled_from(GATEWAYS)), "run": draw(runs)}
        history.append(record(event, position, id=id, at=draw(times), subject=subject, **envelope))
    return history


def _computed_id(event: e.Event, run: str) -> str:
    match event:
        case e.GatewayStarted():
            return run
        case e.ConnectionOpened() | e.ConnectionClosed() | e.ConnectionPingTimedOut():
            return f"{event.connection}:{event.kind.rpartition('.')[2].removeprefix('ping_')}"
        case e.GatewayLost() | e.GatewayLapsed():
            return f"{event.run}:{event.kind.rpartition('.')[2]}"
        case _:
            return ""


class World:
    """Gateways and stations that behave: whatever is drawn of it, the history that they leave is a legal one."""

    def __init__(self, draw: DrawFn) -> None:
        self.draw = draw
        self.history = History()
        self.folding = Fold([outbox])
        self.running: dict[str, str] = {}
        """Gateway -> run."""
        self.ended: list[str] = []
        self.open: dict[str, list[tuple[str, str]]] = {}
        """Run -> its open connections, each with its station."""
        self.admissions: dict[str, int] = {}
        self.registered: set[str] = set()
        self.subscribed: set[str] = set()
        self.webhooks = 0

    def write(self, event: e.Event, subject: str = "", **envelope: str) -> None:
        self.folding.advance(self.history.add(event, subject, **envelope))

    def start(self) -> None:
        gateway = self.draw(st.sampled_from(GATEWAYS))
        if gateway in self.running:
            lost = self.running.pop(gateway)
            self.write(
                e.GatewayLost(run=lost, alive_at=self.draw(times), listened=self.draw(seconds), found_by=gateway),
                id=f"{lost}:lost",
            )
            self.ended.append(lost)
            del self.open[lost]
        run = f"r{len(self.admissions) + 1}"
        self.write(self.draw(_started(st.just(1))), id=run, run=run, gateway=gateway)
        self.running[gateway], self.open[run], self.admissions[run] = run, [], 0

    def stop(self) -> None:
        gateway = self.draw(st.sampled_from(sorted(self.running)))
        run = self.running.pop(gateway)
        for station, connection in self.open.pop(run):
            self.write(self.draw(_closed(st.just(connection), st.just("shutdown"))), station, id=f"{connection}:closed")
        self.write(e.GatewayStopped(listened=self.draw(seconds)), run=run, gateway=gateway)
        self.ended.append(run)

    def connect(self) -> None:
        run = self.draw(st.sampled_from(sorted(self.open)))
        station = self.draw(stations)
        self.admissions[run] += 1
        connection = f"{run}-{self.admissions[run]}"
        self.write(self.draw(_opened(st.just(connection))), station, id=f"{connection}:opened")
        self.open[run].append((station, connection))

    def disconnect(self) -> None:
        run = self.draw(st.sampled_from(sorted(run for run, open in self.open.items() if open)))
        station, connection = self.open[run].pop(self.draw(st.integers(0, len(self.open[run]) - 1)))
        cause: SearchStrategy[e.Cause] = causes.filter(lambda cause: cause != "shutdown")
        if self.draw(st.booleans()):
            self.write(self.draw(_timed_out(st.just(connection))), station, id=f"{connection}:timed_out")
            cause = st.just("ping_timeout")
        self.write(self.draw(_closed(st.just(connection), cause)), station, id=f"{connection}:closed")

    def lapse(self) -> None:
        run = self.ended.pop(0)
        self.write(e.GatewayLapsed(run=run, grace=1.0, listened=1.0), id=f"{run}:lapsed")

    def register(self) -> None:
        station = self.draw(stations)
        if station not in self.registered:
            self.write(self.draw(_records(e.StationRegistered)), station)
            self.registered.add(station)
        elif self.draw(st.booleans()):
            self.write(self.draw(_records(e.StationUpdated)), station)
        else:
            self.write(e.StationRemoved(), station)
            self.registered.discard(station)

    def settle(self) -> None:
        station = self.draw(stations)
        version = self.draw(st.integers(1, 6))
        self.write(e.StationSettled(version=version, settling=1.0), station)

    def subscribe(self) -> None:
        self.webhooks += 1
        webhook = f"w{self.webhooks}"
        self.write(self.draw(_records(e.WebhookAdded)), webhook)
        self.subscribed.add(webhook)

    def change_webhook(self) -> None:
        webhook = self.draw(st.sampled_from(sorted(self.subscribed)))
        choices: list[e.Event] = [
            e.WebhookPaused(),
            e.WebhookEnabled(),
            e.WebhookDisabled(reason="dead", since=START),
            e.WebhookFailed(reason="refused", since=START),
            e.WebhookSuspended(reason="refused", since=START, status=500),
            e.WebhookResumed(),
            e.WebhookTested(),
            e.WebhookRecovered(since=1, until=1000),
            e.WebhookRemoved(),
            self.draw(_records(e.WebhookUpdated)),
        ]
        event = self.draw(st.sampled_from(choices))
        self.write(event, webhook)
        if isinstance(event, e.WebhookRemoved):
            self.subscribed.discard(webhook)

    def deliver(self) -> None:
        message = self.draw(st.sampled_from(self.owed()))
        outcome = self.draw(st.sampled_from((self.history.delivered, self.history.parked)))
        self.folding.advance(outcome(message))

    def redeliver(self) -> None:
        message = self.draw(st.sampled_from(self.settled()))
        self.folding.advance(self.history.requested(message))

    def owed(self) -> list[Owed]:
        return list(self.folding.state(outbox).pending())

    def settled(self) -> list[Owed]:
        state = self.folding.state(outbox)
        return [
            message
            for webhook in sorted(self.subscribed)
            for box_state in ("parked", "skipped", "delivered")
            for message in state.messages(webhook, box_state)
        ]

    def possible(self) -> list[Callable[[], None]]:
        """Return what can happen next, in a world that keeps the rules."""
        steps = [self.start, self.register, self.settle, self.subscribe]
        when: tuple[tuple[object, Callable[[], None]], ...] = (
            (self.running, self.stop),
            (self.running, self.connect),
            (self.running, self.connect),
            (any(self.open.values()), self.disconnect),
            (self.ended, self.lapse),
            (self.subscribed, self.change_webhook),
            (self.owed(), self.deliver),
            (self.settled(), self.redeliver),
        )
        return steps + [step for condition, step in when if condition]


@composite
def legal_histories(draw: DrawFn, max_size: int = 30) -> list[Recorded]:
    """Draw a history as behaving gateways write it: runs end before their gateway starts anew, each connection is
    opened once and closed once, and only what is owed is delivered."""
    world = World(draw)
    for _ in range(draw(st.integers(0, max_size))):
        draw(st.sampled_from(world.possible()))()
    return world.history.events


def histories(max_size: int = 30) -> SearchStrategy[list[Recorded]]:
    """Draw a history of either sort."""
    return legal_histories(max_size) | arbitrary_histories(max_size)

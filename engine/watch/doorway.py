"""The doorway: who is admitted, under which name, and that each admission has one story with one end.

A connection lives here from the moment its `connection.opened` is queued, because from then on it owes a
`connection.closed`, until that is durable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ..clock import Clock, EventClock
from ..codec import decode
from ..entry import Entry, Recorded
from ..errors import LogError, LogUnavailable
from ..events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Micros,
    StationRemoved,
    StationUpdated,
)
from ..names import closed_id, connection_name, opened_id, run_and_number, timed_out_id
from ..settings import EngineSettings, Liveness
from ..stations import Arrival, Busy, Ending, Hint, Link, NotAdmitted
from .desk import Desk, Ticket
from .grace import Handshakes, Undecided
from .liveness import Vigil
from .refusals import Refusal, Refusals
from .watchdog import Watchdog

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
ABNORMAL = 1006
"""Never on the wire (RFC 6455, 7.4.1): here it tells a transport to end the socket without a Close frame."""

STRANGER = "crowded"
"""A 503 that holds up no grace: who had to make room had shown nothing that would tell it from anybody who can open a
socket, and such must not be able to keep a lost run's stations online for ever."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly however many there are: the phases of successive admissions."""

_ABORTED = Ending(side="gateway", cause="handshake_aborted")
_ENDED = Busy(reason="ended", retry_after=5)
_SUPERSEDED = Busy(
    reason="superseded",
    retry_after=5,
    hint="another connection of this id came in at the same moment: do two devices have it, or does it dial twice?",
)
_NOT_OURS = {STRANGER, _ENDED.reason, _SUPERSEDED.reason}
"""The 503s that are no sign that stations could not come back, so that they hold up no grace."""

_CODES: dict[Cause, int] = {
    "superseded": GOING_AWAY,
    "shutdown": GOING_AWAY,
    "internal_error": 1011,
}


class LiveConnection:
    """An admitted connection, as the transport that holds it and the engine see it (`stations.Connection`)."""

    __slots__ = ("_doorway", "admitted", "arrival", "ending", "link", "number", "opening", "received", "sent", "vigil")

    def __init__(self, doorway: Doorway, number: int, arrival: Arrival, link: Link, vigil: Vigil) -> None:
        self._doorway = doorway
        self.number = number
        """n, of the n-th admission of the run."""
        self.arrival = arrival
        self.link = link
        self.vigil = vigil
        self.opening: Ticket | None = None
        """Where its `opened` stands on its way into the log; none once it is there."""
        self.admitted = False
        """Whether its transport was told; before that no order goes out over its link."""
        self.ending: Ending | None = None
        self.received = 0
        self.sent = 0

    @property
    def id(self) -> str:
        return connection_name(self._doorway.run, self.number)

    @property
    def station(self) -> str:
        return self.arrival.station

    @property
    def liveness(self) -> Liveness:
        return self.vigil.settings

    @property
    def over(self) -> bool:
        """Whether its end has been recorded; there is nothing after it."""
        return self.ending is not None

    @property
    def alive_at(self) -> Micros:
        """When the newest proof of life came."""
        return self._doorway.times.at(self.vigil.alive)

    @property
    def rtt(self) -> float | None:
        """Seconds between the newest answered ping and the first byte after it."""
        return self.vigil.rtt

    def round_trip(self) -> float | None:
        """Return `rtt`; for a station that talks and is never pinged, what its network measured."""
        return self.link.rtt() if self.vigil.rtt is None else self.vigil.rtt

    def heard(self) -> None:
        self.vigil.heard(self._doorway.clock.stepless())

    def ended(self, ending: Ending) -> None:
        self._doorway.end(self, ending)

    async def send(self, text: str) -> None:
        await self.link.send(text)


class Doorway:
    """Admits stations, and keeps the connections of this run (`stations.Door`)."""

    def __init__(
        self, desk: Desk, settings: EngineSettings, clock: Clock, times: EventClock, tally: Counter[str]
    ) -> None:
        self.clock = clock
        self.times = times
        self.handshakes = Handshakes()
        self.watchdog: Watchdog[LiveConnection] = Watchdog()
        self.draining = False
        self.abandoned = False
        """Whether this run ends without a word: nothing is recorded any more, and the next start finds it lost."""
        self.run = ""
        """The run in whose name stations are admitted."""
        self.watched_sooner: Callable[[], None] = lambda: None
        """Called when someone came under watch: the watchdog's next deadline may be nearer than it was."""
        self._desk = desk
        self._settings = settings
        self._tally = tally
        self._refusals = Refusals(clock.stepless())
        self._admissions = 0
        self._owing: dict[int, LiveConnection] = {}
        """By number: everyone whose `closed` is not durable yet."""
        self._current: dict[str, LiveConnection] = {}
        """By station: the newest connection that stands."""

    # --- what transports ask (stations.Door) -------------------------------------------------------------------------

    def kept_waiting(self) -> None:
        self.handshakes.turned_away = True

    def busy(self, station: str) -> Busy | None:
        busy = self.why_busy(station)
        if busy is not None:
            self.handshakes.turned_away = True
        return busy

    def handshake(self) -> Undecided:
        return self.handshakes.one()

    async def admit(self, arrival: Arrival, link: Link) -> LiveConnection:
        connection, ticket = self._enter(arrival, link)
        try:
            await ticket.wait()
        except BaseException:
            self.end(connection, _ABORTED)
            raise
        if connection.over:
            raise NotAdmitted(_why_over(connection))
        self._stands(connection)
        return connection

    def let_in(self, arrival: Arrival, link: Link, decided: Callable[[LogUnavailable | None], None]) -> LiveConnection:
        connection, ticket = self._enter(arrival, link)

        def settled(error: LogError | None) -> None:
            if error is not None:
                self.end(connection, _ABORTED)
                decided(error if isinstance(error, LogUnavailable) else LogUnavailable(str(error)))
            elif connection.over:
                decided(NotAdmitted(_why_over(connection)))
            else:
                self._stands(connection)
                decided(None)

        ticket.then(settled)
        return connection

    def _enter(self, arrival: Arrival, link: Link) -> tuple[LiveConnection, Ticket]:
        """Have an `opened` queued, in the name of the next admission."""
        if (busy := self.why_busy(arrival.station)) is not None:
            self.handshakes.turned_away = True
            raise NotAdmitted(busy)
        self._admissions += 1
        settings = self._settings.liveness.for_station(arrival.liveness)
        vigil = Vigil(settings, self.clock.stepless(), early=self._admissions * _GOLDEN % 1)
        connection = LiveConnection(self, self._admissions, arrival, link, vigil)
        connection.opening = ticket = self._desk.submit([self._opened(connection)], required=False)
        self._owing[connection.number] = connection
        return connection, ticket

    def _stands(self, connection: LiveConnection) -> None:
        """Its `opened` is durable and visible: watch it, and let orders go out over its link."""
        connection.admitted = True
        connection.opening = None
        self._tally["opened"] += 1
        self.watchdog.watch(connection)
        self.watched_sooner()

    def refused(self, claimed: str, *, reason: str, status: int, hint: Hint = "", remote: str = "") -> None:
        if status == 503 and reason not in _NOT_OURS:
            self.handshakes.turned_away = True
        self._tally["handshakes_refused"] += 1
        self._tally[f"handshakes_refused:{reason}"] += 1
        refusal = self._refusals.note(
            claimed, reason=reason, status=status, hint=hint, remote=remote, at=self.times.now()
        )
        if refusal is not None:
            self._record_refusals([refusal])

    # --- what the run loop asks --------------------------------------------------------------------------------------

    @property
    def connections(self) -> Mapping[str, LiveConnection]:
        """By station: the newest connection that stands."""
        return self._current

    @property
    def all_closed(self) -> bool:
        """Whether every connection that was ever admitted has its `closed` in the log."""
        return not self._owing

    def why_busy(self, station: str) -> Busy | None:
        """Return what `busy` would, without counting anybody as turned away."""
        if self.draining:
            return Busy(reason="draining", retry_after=10)
        if (busy := self._desk.unavailable()) is not None:
            return busy
        if len(self._owing) >= self._settings.max_connections and station not in self._current:
            return Busy(reason="full", retry_after=60)
        return None

    def committed(self, recorded: Recorded) -> None:
        """Follow the log: of two connections of one station the older goes, and whoever may no longer be here goes."""
        if recorded.kind == ConnectionOpened.kind:
            self._opened_stands(recorded)
        elif recorded.kind == ConnectionClosed.kind:
            self._closed_stands(recorded)
        elif recorded.kind == StationRemoved.kind and recorded.subject in self._current:
            self.drop(self._current[recorded.subject], "removed")
        elif recorded.kind == StationUpdated.kind and recorded.subject in self._current:
            self._record_changed(self._current[recorded.subject], recorded)

    def drop(self, connection: LiveConnection, cause: Cause) -> None:
        """End a connection for a reason of ours: its `closed` is queued, and its transport told."""
        if connection.over:
            return
        code = _CODES.get(cause, POLICY_VIOLATION)
        self.end(connection, Ending(side="gateway", cause=cause, code=code, reason=cause))
        if connection.admitted:
            connection.link.drop(code, cause, abort=False)

    def leaving(self) -> list[LiveConnection]:
        """Let nobody in any more, because we stop; return who is to be dropped, the oldest admission first."""
        self.draining = True
        return list(self._owing.values())

    def drop_all(self) -> None:
        """End every connection because we stop. Whoever is being admitted is dropped as well."""
        for connection in self.leaving():
            self.drop(connection, "shutdown")

    def time_out(self, connection: LiveConnection, lag: float) -> None:
        """End a connection that gave no proof of life. The socket is aborted once that is in the log."""
        vigil = connection.vigil
        asked_at = vigil.alive if vigil.pinged_at is None else vigil.pinged_at
        event = ConnectionPingTimedOut(
            connection=connection.id,
            alive_at=connection.alive_at,
            pinged_at=None if vigil.pinged_at is None else self.times.at(vigil.pinged_at),
            interval=vigil.settings.ping_interval,
            timeout=vigil.settings.ping_timeout if vigil.settings.ping_interval else vigil.settings.silence,
            lag=lag,
            path=connection.link.path(self.clock.stepless() - asked_at),
        )
        timed_out = self._desk.seal(event, id=timed_out_id(connection.id), subject=connection.station)
        self._tally["timeouts"] += 1
        self.end(connection, Ending(side="network", cause="ping_timeout"), before=[timed_out])

    def end(self, connection: LiveConnection, ending: Ending, *, before: Sequence[Entry] = ()) -> None:
        """Record a connection's end, once: the first cause wins."""
        if connection.over:
            return
        connection.ending = ending
        opening = connection.opening
        if opening is not None and opening.dropped:
            del self._owing[connection.number]  # nothing of it is in the log, nor ever will be
            return
        if self.abandoned:
            return
        if opening is not None:
            opening.required = True  # there is to be a `closed`, so there must be an `opened` before it
        self._tally["closed"] += 1
        self._tally[f"closed:{ending.cause}"] += 1
        with suppress(LogUnavailable):  # the log is closed for good: the next start finds the run lost
            self._desk.submit([*before, self._closed(connection, ending)], required=True)

    def minute(self, *, over: bool = False) -> None:
        """Record the summaries of refusals that are due; to be called about once a second, and when all is *over*."""
        self._record_refusals(self._refusals.minute(self.clock.stepless(), over=over))

    # -----------------------------------------------------------------------------------------------------------------

    def _record_changed(self, connection: LiveConnection, recorded: Recorded) -> None:
        """Drop a connection if the credential that it used is no longer among its station's."""
        record, used = decode(recorded), connection.arrival.credential
        assert isinstance(record, StationUpdated)
        if used is not None and used not in {valid.id for valid in record.credentials}:
            self.drop(connection, "credential_revoked")

    def _opened_stands(self, recorded: Recorded) -> None:
        older = self._current.pop(recorded.subject, None)
        newer = self._owing.get(self._number(recorded.id, ":opened"))
        if newer is not None and not newer.over:
            self._current[recorded.subject] = newer
        if older is not None:
            self.drop(older, "superseded")

    def _closed_stands(self, recorded: Recorded) -> None:
        connection = self._owing.pop(self._number(recorded.id, ":closed"), None)
        if connection is None:
            return
        if self._current.get(connection.station) is connection:
            del self._current[connection.station]
        if connection.ending is not None and connection.ending.cause == "ping_timeout":
            connection.link.drop(ABNORMAL, "ping timeout", abort=True)

    def _number(self, id: str, suffix: str) -> int:
        """Return the number of a connection of ours by the id of its event; 0, which none bears, if it is another's."""
        run, number = run_and_number(id.removesuffix(suffix))
        return number if run == self.run else 0

    def _opened(self, connection: LiveConnection) -> Entry:
        name, arrival, settings = connection.id, connection.arrival, connection.vigil.settings
        event = ConnectionOpened(
            connection=name,
            subprotocol=arrival.subprotocol,
            security=arrival.security,
            certificate=arrival.certificate,
            tls=arrival.tls,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            silence=settings.silence,
        )
        return self._desk.seal(
            event,
            id=opened_id(name),
            subject=arrival.station,
            private=arrival.remote.encode(),
        )

    def _closed(self, connection: LiveConnection, ending: Ending) -> Entry:
        name = connection.id
        event = ConnectionClosed(
            connection=name,
            side=ending.side,
            code=ending.code,
            reason=ending.reason,
            cause=ending.cause,
            alive_at=connection.alive_at,
            received=connection.received,
            sent=connection.sent,
        )
        return self._desk.seal(event, id=closed_id(name), subject=connection.station)

    def _record_refusals(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            entry = self._desk.seal(refusal.event, id="", subject="", private=refusal.remote.encode())
            try:
                self._desk.submit([entry], required=False)
            except LogUnavailable:
                self._tally["refusals_not_recorded"] += 1


def _why_over(connection: LiveConnection) -> Busy:
    """Return why a connection is not let in that ended while its `opened` was written."""
    ending = connection.ending
    return _SUPERSEDED if ending is not None and ending.cause == "superseded" else _ENDED

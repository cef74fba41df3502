"""Sessions: every connection as one story, from its open to its end, told once it is over.

A connection is a session from its `connection.opened`, if presence let that count, to its `connection.closed`; a ping
timeout before that is part of the story, not its end. A connection whose run ended without a close ends with the run.
What the state keeps is what is still open: a connection a station, and those taken over whose close is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..engine.entry import Recorded
from ..engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    Micros,
    Side,
)
from ..engine.fold import Below, Projection
from .fleet import DisconnectCause
from .presence import presence

__all__ = ["Open", "Session", "Sessions", "sessions"]


class Open(msgspec.Struct, gc=False):
    """A connection that has not ended, as far as the log tells."""

    station: str
    connection: str
    """`<run>-<n>`."""
    run: str
    """The life of a gateway that holds it."""
    opened_at: Micros
    timed_out_at: Micros | None = None
    """The last proof of life before a ping timeout; its close is on its way."""


class Session(msgspec.Struct, frozen=True, gc=False):
    """A connection that is over. The times are those that the log bears, also where a clock was set between them."""

    station: str
    connection: str
    """`<run>-<n>`."""
    run: str
    """The life of a gateway that held it."""
    opened_at: Micros
    alive_at: Micros
    """The last proof of life. Where the run was lost: the last moment at which that run still watched it."""
    ended_at: Micros
    """When we knew."""
    cause: DisconnectCause
    side: Side | None
    """Who ended it; none where only a timeout is known, because the run was lost before the close."""
    code: int | None
    """The WebSocket close code on the wire, if there was one."""
    reason: str
    """The close reason on the wire."""
    received: int | None
    """Messages from the station; none where no close tells."""
    sent: int | None
    """Messages to the station; none where no close tells."""


class _Kept(msgspec.Struct, frozen=True):
    """The open sessions as they are written down."""

    newest: list[Open]
    superseded: list[Open]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class Sessions(Mapping[str, Open]):
    """The open session of each station that has one, by the station's id."""

    def __init__(self) -> None:
        self._newest: dict[str, Open] = {}
        self._superseded: dict[tuple[str, str], Open] = {}
        """By station and connection: taken over by a newer one, and not closed yet."""

    def __getitem__(self, station: str) -> Open:
        return self._newest[station]

    def __iter__(self) -> Iterator[str]:
        return iter(self._newest)

    def __len__(self) -> int:
        return len(self._newest)

    def __repr__(self) -> str:
        return f"<{len(self)} open sessions>"

    def begin(self, open: Open) -> None:
        """Let a session be a station's newest."""
        before = self._newest.get(open.station)
        if before is not None:
            self._superseded[before.station, before.connection] = before
        self._newest[open.station] = open

    def find(self, station: str, connection: str) -> Open | None:
        """Return an open session; none if there is no such."""
        newest = self._newest.get(station)
        if newest is not None and newest.connection == connection:
            return newest
        return self._superseded.get((station, connection))

    def end(self, open: Open) -> None:
        """Forget a session that is over."""
        if self._newest.get(open.station) is open:
            del self._newest[open.station]
        else:
            del self._superseded[open.station, open.connection]

    def everywhere(self) -> list[Open]:
        """Return all open sessions, those taken over as well, in order."""
        return sorted((*self._newest.values(), *self._superseded.values()), key=_order)

    def dump(self) -> bytes:
        """Write them down; equal ones give equal bytes."""
        return _encode(_Kept(_ordered(self._newest.values()), _ordered(self._superseded.values())))

    @staticmethod
    def load(kept: bytes) -> Sessions:
        """Read what `dump` wrote."""
        read, sessions = _decode(kept), Sessions()
        sessions._newest = {open.station: open for open in read.newest}
        sessions._superseded = {(open.station, open.connection): open for open in read.superseded}
        return sessions


def _order(open: Open) -> tuple[str, str]:
    return open.station, open.connection


def _ordered(opens: Iterable[Open]) -> list[Open]:
    return sorted(opens, key=_order)


# --- the fold --------------------------------------------------------------------------------------------------------


def _opened(sessions: Sessions, recorded: Recorded, event: ConnectionOpened, below: Below) -> Sequence[Session]:
    for change in below.changes(presence):  # one, unless presence found it odd
        sessions.begin(Open(recorded.subject, event.connection, change.now.run, recorded.at))
    return ()


def _timed_out(
    sessions: Sessions, recorded: Recorded, event: ConnectionPingTimedOut, below: Below
) -> Sequence[Session]:
    open = sessions.find(recorded.subject, event.connection)
    if open is not None and open.timed_out_at is None:
        open.timed_out_at = event.alive_at
    return ()


def _closed(sessions: Sessions, recorded: Recorded, event: ConnectionClosed, below: Below) -> Sequence[Session]:
    open = sessions.find(recorded.subject, event.connection)
    if open is None:
        return ()
    sessions.end(open)
    return (
        Session(
            open.station,
            open.connection,
            open.run,
            open.opened_at,
            event.alive_at,
            recorded.at,
            event.cause,
            event.side,
            event.code,
            event.reason,
            event.received,
            event.sent,
        ),
    )


def _run_ended(
    sessions: Sessions,
    recorded: Recorded,
    event: GatewayStarted | GatewayStopped | GatewayLost | GatewayLapsed,
    below: Below,
) -> Sequence[Session]:
    fleet = below.state(presence)
    over = [open for open in sessions.everywhere() if fleet.running(open.run) is None]
    for open in over:
        sessions.end(open)
    return [_as_gone(open, recorded, event) for open in over]


def _as_gone(open: Open, recorded: Recorded, event: Event) -> Session:
    """Tell of a session that went with its run."""
    cause: DisconnectCause = "shutdown" if isinstance(event, GatewayStopped) else "gateway_lost"
    side: Side | None = "gateway"
    alive_at = max(event.alive_at, open.opened_at) if isinstance(event, GatewayLost) else recorded.at
    if open.timed_out_at is not None:
        cause, side, alive_at = "ping_timeout", None, open.timed_out_at
    return Session(
        open.station,
        open.connection,
        open.run,
        open.opened_at,
        alive_at,
        recorded.at,
        cause,
        side,
        None,
        "",
        None,
        None,
    )


_FOLDS: Final[dict[str, Callable[[Sessions, Recorded, Any, Below], Sequence[Session]]]] = {
    ConnectionOpened.kind: _opened,
    ConnectionPingTimedOut.kind: _timed_out,
    ConnectionClosed.kind: _closed,
    **dict.fromkeys((GatewayStarted.kind, GatewayStopped.kind, GatewayLost.kind, GatewayLapsed.kind), _run_ended),
}


def _apply(sessions: Sessions, recorded: Recorded, event: Event, below: Below) -> Sequence[Session]:
    return _FOLDS[recorded.kind](sessions, recorded, event, below)


sessions: Projection[Sessions, Session] = Projection(
    name="sessions",
    version=1,
    kinds=frozenset(_FOLDS),
    initial=Sessions,
    apply=_apply,
    dump=Sessions.dump,
    load=Sessions.load,
    needs=(presence,),
)
"""Which connections are open. Its state is `Sessions`, its changes are `Session`: those that ended."""

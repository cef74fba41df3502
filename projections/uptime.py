"""Uptime: for how much of a window of time each station was online, and its outages.

Every microsecond of the window counts, for each station, as one of four:

*online*        from an open to the last proof of life of what ended it, while the run that held it watched
*offline*       from there to the next open, while any gateway watched
*not observed*  while a run that ended holds the station and it may yet come back; and whenever nobody watched: no run
                listens, it stalled, or the log ends
*unknown*       before the station was first let in

A takeover is no end. Availability is online / (online + offline): our own restarts are in neither. Times that step
backwards make no time negative and count none twice (see `uptime_watch`). All numbers are whole microseconds.

A measure reads the log once, in order, and keeps an account for each station; outages are handed out as they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

from ..engine.entry import Recorded
from ..engine.events import ConnectionClosed, ConnectionPingTimedOut, Micros
from ..engine.fold import Fold
from .fleet import DisconnectCause, Station
from .presence import Change, presence
from .uptime_watch import KINDS as WATCH_KINDS
from .uptime_watch import Span, Spans, Watch, watch_of

__all__ = ["KINDS", "WATCH_KINDS", "Draw", "Measure", "Outage", "Shade", "Uptime", "Watch", "Window", "watch_of"]

KINDS: Final = presence.kinds
"""The kinds that a measure is made of, beside those of its watch."""

Shade: TypeAlias = Literal["online", "offline", "not observed", "unknown"]

Draw: TypeAlias = Callable[[str, Shade, Span], None]
"""Is told a station, and what a span of the window counts as for it."""

_BY_CONNECTION: Final = frozenset({ConnectionClosed.kind, ConnectionPingTimedOut.kind})


class Window(msgspec.Struct, frozen=True):
    """The time that is asked about."""

    since: Micros
    until: Micros
    """The first moment that counts no longer; not before `since`."""

    @property
    def length(self) -> int:
        """Microseconds."""
        return self.until - self.since


class Outage(msgspec.Struct, frozen=True, gc=False):
    """A time in which a station was offline, from its last proof of life on."""

    station: str
    began: Micros
    """The last proof of life; it may lie before the window."""
    ended: Micros | None
    """The next open; none if the log has none. It may lie behind the window."""
    offline: int
    """Microseconds of it, within the window, in which a gateway watched and the station was not there."""
    not_observed: int
    """Microseconds of it, within the window, in which nobody could have seen it."""
    cause: DisconnectCause
    code: int | None
    """The WebSocket close code on the wire, if there was one."""
    detected_at: Micros
    """When we knew."""


class Uptime(msgspec.Struct, frozen=True, gc=False):
    """What a window was for a station; the four times add up to the window."""

    station: str
    online: int
    """Microseconds, as the other three."""
    offline: int
    not_observed: int
    unknown: int
    outages: int
    """How many reach into the window."""

    @property
    def availability(self) -> float | None:
        """Percent of the observed time that the station was online; none if none was observed.

        It is cut after four digits, not rounded: only who was never seen offline has 100.
        """
        observed = self.online + self.offline
        return self.online * 1_000_000 // observed / 10_000 if observed else None

    def below(self, percent: Decimal) -> bool:
        """Return whether its availability is less than that, exactly; what was never observed is not."""
        return self.online * 100 < percent * (self.online + self.offline)


class _Account(msgspec.Struct, gc=False):
    """What one station's window has been so far."""

    since: Micros
    """From here on nothing is counted yet."""
    online: int = 0
    offline: int = 0
    not_observed: int = 0
    outages: int = 0
    began: Micros = 0
    """When it was last alive before it went offline or was held."""
    outage_offline: int = 0
    outage_not_observed: int = 0


class Measure:
    """The uptimes of stations over a window.

    Give it the events in order, with `follow`; then `close` it once, and take the `uptimes`.

    Args:
        window: the time that is asked about.
        watch: who watched when, made of the same log up to the same position.
        draw: is told each span of the window as it is counted, for a picture.
    """

    def __init__(self, window: Window, watch: Watch, *, draw: Draw | None = None) -> None:
        self.window = window
        self._watch = watch
        self._draw = draw
        self._fold = Fold([presence])
        self._accounts: dict[str, _Account] = {}

    def follow(self, recorded: Recorded) -> list[Outage]:
        """Count what an event decides; return the outages that it ended, as far as they reach into the window.

        Raises:
            NewerSchema, UnreadableEvent: as a fold of presence.
        """
        ended: list[Outage] = []
        for change in self._fold.advance(recorded).changes(presence):
            before, now = change.before, change.now
            if before.state != now.state or before.connection != now.connection:
                ended += self._move(change, recorded)
        return ended

    def close(self) -> list[Outage]:
        """Count the rest of the window; return the outages that go on, in the order of their stations."""
        going_on: list[Outage] = []
        fleet, until = self._fold.state(presence), self.window.until
        for id, account in sorted(self._accounts.items()):
            station = fleet[id]
            self._count(station, account, max(until, account.since))
            if station.state == "off":
                going_on += self._outage(station, account, None)
        return going_on

    def uptimes(self) -> Iterator[Uptime]:
        """Yield what the window was for each station that the log up to its end knows, in the order of their ids."""
        for id, account in sorted(self._accounts.items()):
            counted = account.online + account.offline + account.not_observed
            yield Uptime(
                id,
                account.online,
                account.offline,
                account.not_observed,
                self.window.length - counted,
                account.outages,
            )

    # --- one station -------------------------------------------------------------------------------------------------

    def _move(self, change: Change, recorded: Recorded) -> list[Outage]:
        """Let a station be in another state, or on another connection, from this event on."""
        before, now, account = change.before, change.now, self._accounts.get(change.station)
        at = self._watch.time_of(recorded)
        if account is None:
            self._accounts[change.station] = _Account(at)
            self._shade(change.station, "unknown", (self.window.since, min(at, self.window.until)))
            return []
        at = max(at, account.since)
        if before.state == "on" and now.state != "on":
            account.began = at = min(max(self._last_alive(change, recorded), account.since), at)
        self._count(before, account, at)
        if now.state != "on":
            return []
        ended = self._outage(before, account, at) if before.state == "off" else []
        account.outage_offline = account.outage_not_observed = 0
        return ended

    def _last_alive(self, change: Change, recorded: Recorded) -> Micros:
        """Return up to when a station that just left was online: to its last proof of life, or its run's last look."""
        ended = change.now.disconnect
        if ended is not None and recorded.kind in _BY_CONNECTION:
            return ended.last_alive_at
        return self._watch.end_of(change.before.run)

    def _count(self, station: Station, account: _Account, until: Micros) -> None:
        """Count the time since the last event as what the station was."""
        begin, end = max(account.since, self.window.since), min(until, self.window.until)
        account.since = until
        if begin >= end:
            return
        seen = self._seen(station)
        watched = seen.within(begin, end)
        unseen = end - begin - watched
        account.not_observed += unseen
        if station.state == "on":
            account.online += watched
        else:
            account.offline += watched
            account.outage_offline += watched
            account.outage_not_observed += unseen
        if self._draw is not None:
            self._shades(station, seen, begin, end)

    def _seen(self, station: Station) -> Spans:
        """Return when a station in that state could be seen."""
        if station.state == "on":
            return self._watch.of(station.run)
        return self._watch.anyone if station.state == "off" else _NEVER

    def _outage(self, station: Station, account: _Account, ended: Micros | None) -> list[Outage]:
        """Return a station's outage, if any of it lies in the window."""
        left = station.disconnect
        if left is None or account.outage_offline + account.outage_not_observed == 0:
            return []
        account.outages += 1
        return [
            Outage(
                station.id,
                account.began,
                ended,
                account.outage_offline,
                account.outage_not_observed,
                left.cause,
                left.code,
                left.detected_at,
            )
        ]

    # --- for a picture -----------------------------------------------------------------------------------------------

    def _shades(self, station: Station, seen: Spans, begin: Micros, end: Micros) -> None:
        shade: Shade = "online" if station.state == "on" else "offline"
        for since, until in seen.cut(begin, end):
            self._shade(station.id, "not observed", (begin, since))
            self._shade(station.id, shade, (since, until))
            begin = until
        self._shade(station.id, "not observed", (begin, end))

    def _shade(self, station: str, shade: Shade, span: Span) -> None:
        if self._draw is not None and span[0] < span[1]:
            self._draw(station, shade, span)


_NEVER: Final = Spans()

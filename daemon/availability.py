"""Uptime, asked of a log: the events that it takes, the window that is meant, and how the answer is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from ..engine.clock import rfc3339
from ..engine.entry import Recorded
from ..engine.events import Micros
from ..engine.log import Log
from ..engine.log.stations import life_of
from ..projections.uptime import KINDS, WATCH_KINDS, Outage, Uptime, Watch, Window, watch_of

SECOND: Final = 1_000_000


@frozen(kw_only=True)
class Ground:
    """What a measure of a log stands on."""

    position: int
    """The log is read up to here."""
    watch: Watch
    whole: Window
    """From the first event to the newest moment of which the log knows; empty for an empty log."""


def ground_of(log: Log, position: int, *, now: Mapping[str, Micros] | None = None) -> Ground:
    """Find out who watched when, up to a position, and what the log knows at all.

    Args:
        now: of runs that are known to live: this moment. Of others the log has their last word (a beat).
    """
    alive = {run: beat.at for run, beat in log.beats().items()} | dict(now or {})
    first = next(iter(log.read(until=1)), None)
    last = next(iter(log.read(position - 1, until=position)), None)
    if first is None or last is None:
        return Ground(position=position, watch=watch_of((), alive={}, latest=0), whole=Window(0, 0))
    watch = watch_of(log.read(until=position, kinds=WATCH_KINDS), alive=alive, latest=last.at)
    begin = watch.time_of(first)
    return Ground(position=position, watch=watch, whole=Window(begin, max(begin, last.at, watch.known_until)))


def events_of(log: Log, position: int, station: str | None = None) -> Iterator[Recorded]:
    """Yield the events that a measure is made of: those of all stations, or what concerns one."""
    if station is None:
        return log.read(until=position, kinds=KINDS)
    return life_of(log, station, until=position)


def seconds(micros: int) -> float:
    """Return microseconds as seconds."""
    return micros / SECOND


def percent(uptime: Uptime) -> str:
    """Return an availability for people: at least one digit, cut and not rounded; a dash if nothing was observed."""
    if uptime.availability is None:
        return "-"
    whole, _, digits = f"{uptime.availability:.4f}".partition(".")
    return f"{whole}.{digits.rstrip('0') or '0'} %"


def uptime_shown(uptime: Uptime) -> dict[str, object]:
    """Return a station's uptime as API and command line write it. The four times add up to the window."""
    return {
        "availability": uptime.availability,
        "onlineSeconds": seconds(uptime.online),
        "offlineSeconds": seconds(uptime.offline),
        "notObservedSeconds": seconds(uptime.not_observed),
        "unknownSeconds": seconds(uptime.unknown),
        "outageCount": uptime.outages,
    }


def outage_shown(outage: Outage) -> dict[str, object]:
    """Return an outage as API and command line write it."""
    return {
        "from": rfc3339(outage.began),
        "to": None if outage.ended is None else rfc3339(outage.ended),
        "offlineSeconds": seconds(outage.offline),
        "notObservedSeconds": seconds(outage.not_observed),
        "cause": outage.cause,
        "code": outage.code,
        "detectedAt": rfc3339(outage.detected_at),
    }

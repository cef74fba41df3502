"""Uptime beside a slow model of it: what a moment counts as is looked up in lists, moment by moment.

The model takes the states of a station from a fold of each prefix of the history, paints them onto a line in order, and
asks of every stretch between two neighbouring moments that are named anywhere who watched then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from histories import SECOND, START, record
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite
from msgspec.structs import replace
from strategies import RUNS, arbitrary_histories, legal_histories

from stationkeeper.engine import events as e
from stationkeeper.engine.codec import decode
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import Micros
from stationkeeper.engine.fold import fold
from stationkeeper.projections import presence
from stationkeeper.projections.fleet import Fleet, Station
from stationkeeper.projections.uptime import Measure, Outage, Shade, Uptime, Window, watch_of
from stationkeeper.projections.uptime_watch import Span

END = START + 1000 * SECOND
moments = st.integers(START - 10 * SECOND, END + 100 * SECOND)
windows = st.tuples(moments, moments).map(lambda pair: Window(min(pair), max(pair)))
last_words = st.dictionaries(st.sampled_from(RUNS), moments)


@composite
def timed_histories(draw: DrawFn) -> list[Recorded]:
    """Draw a history with pauses and clocks that were set in it, its times rising, or falling now and then."""
    history = draw(legal_histories() | arbitrary_histories(presence_alone=True))
    for _ in range(draw(st.integers(0, 4))):
        since, length = draw(st.integers(START, END)), draw(st.integers(-5, 200)) * SECOND
        noted = draw(
            st.sampled_from((e.GatewayStalled(since=since, until=since + length), e.GatewayClockSet(offset=1.0)))
        )
        place = draw(st.integers(0, len(history)))
        history.insert(place, record(noted, 1, id=f"noted{len(history)}", run=draw(st.sampled_from(RUNS))))
    steps = draw(st.sampled_from(((0, 40), (0, 40), (-20, 60), None)))
    at = START
    for index, recorded in enumerate(history):
        if steps is None:
            at = recorded.at
        else:
            at += draw(st.integers(*steps)) * SECOND
        history[index] = replace(recorded, position=index + 1, at=at)
    return history


# --- the model -------------------------------------------------------------------------------------------------------


class Life(NamedTuple):
    began: Micros
    ended: Micros
    stalls: list[Span]

    def watches(self, moment: Micros) -> bool:
        stalled = any(since <= moment < until for since, until in self.stalls)
        return self.began <= moment < self.ended and not stalled


class Stretch(NamedTuple):
    begin: Micros
    state: str
    run: str
    outage: int
    """Counts the times that it left; those in which it came back before a lapse are no outages."""


class Model:
    """What the log tells of gateways and of one station, in lists."""

    def __init__(self, history: Sequence[Recorded], alive: dict[str, Micros]) -> None:
        self.history = history
        self.fleets: list[Fleet] = [fold(presence, history[:n]) for n in range(len(history) + 1)]
        self.latest = max((recorded.at for recorded in history), default=0)
        self.lives = {run: self.life(run, alive) for run in runs_of(history)}

    def time_of(self, recorded: Recorded) -> Micros:
        later = [other.at for other in self.history[recorded.position - 1 :] if other.kind.startswith("gateway.")]
        return min(recorded.at, *later) if later else recorded.at

    def life(self, run: str, alive: dict[str, Micros]) -> Life:
        began = next(self.time_of(recorded) for recorded in self.history if recorded.id == run)
        ended = alive.get(run, self.latest)
        for (before, now), recorded in zip(pairwise(self.fleets), self.history, strict=True):
            if before.running(run) is not None and now.running(run) is None:
                event, ended = decode(recorded), self.time_of(recorded)
                if isinstance(event, e.GatewayLost):
                    ended = max(min(event.alive_at, ended), began)
        stalls = [
            (event.since, min(event.until, self.time_of(recorded)))
            for recorded in self.history
            if recorded.run == run and isinstance(event := decode(recorded), e.GatewayStalled)
        ]
        return Life(began, ended, stalls)

    def stretches(self, id: str) -> tuple[list[Stretch], list[Station]]:
        """Return a station's line, and for each time that it left how that was at last."""
        line, left = [Stretch(0, "unknown", "", -1)], list[Station]()
        for (earlier, later), recorded in zip(pairwise(self.fleets), self.history, strict=True):
            before, now = earlier.known(id), later.known(id)
            if before.state != "on" and now.state == "off" and left:
                left[-1] = now
            if (before.state, before.connection) == (now.state, now.connection):
                continue
            at = max(self.time_of(recorded), line[-1].begin)
            if before.state == "on" and now.state != "on":
                alive_at = self.lives[before.run].ended
                if recorded.kind.startswith("connection."):
                    assert now.disconnect is not None
                    alive_at = now.disconnect.last_alive_at
                at = min(max(alive_at, line[-1].begin), at)
                left.append(now)
            line.append(Stretch(at, now.state, now.run, len(left) - 1))
        return line, left

    def shade(self, stretch: Stretch, moment: Micros) -> Shade:
        if stretch.state == "unknown":
            return "unknown"
        if stretch.state == "on":
            return "online" if self.lives[stretch.run].watches(moment) else "not observed"
        anyone = any(life.watches(moment) for life in self.lives.values())
        return "offline" if stretch.state == "off" and anyone else "not observed"

    def uptime(self, id: str, window: Window) -> tuple[Uptime, list[Outage]]:
        line, left = self.stretches(id)
        named = {window.since, window.until, *(stretch.begin for stretch in line)}
        named |= {edge for life in self.lives.values() for span in [life[:2], *life.stalls] for edge in span}
        counted, outages = Counter[Shade](), dict[int, Counter[Shade]]()
        for begin, end in pairwise(sorted(edge for edge in named if window.since <= edge <= window.until)):
            stretch = next(stretch for stretch in reversed(line) if stretch.begin <= begin)
            shade = self.shade(stretch, begin)
            counted[shade] += end - begin
            if stretch.state in ("off", "held"):
                outages.setdefault(stretch.outage, Counter())[shade] += end - begin
        told: list[Outage] = []
        for number, parts in outages.items():
            pieces = [stretch for stretch in line if stretch.outage == number and stretch.state in ("off", "held")]
            if all(stretch.state == "held" for stretch in pieces):
                continue
            ended = next((s.begin for s in line[line.index(pieces[-1]) :] if s.state == "on"), None)
            disconnect = left[number].disconnect
            assert disconnect is not None
            told.append(
                Outage(id, pieces[0].begin, ended, parts["offline"], parts["not observed"],
                       disconnect.cause, disconnect.code, disconnect.detected_at)
            )  # fmt: skip
        times = (counted["online"], counted["offline"], counted["not observed"], counted["unknown"])
        return Uptime(id, *times, len(told)), told


def runs_of(history: Sequence[Recorded]) -> list[str]:
    return [recorded.id for recorded in history if recorded.kind == e.GatewayStarted.kind]


# --- the two side by side --------------------------------------------------------------------------------------------


def measured(
    history: Sequence[Recorded], window: Window, alive: dict[str, Micros]
) -> tuple[dict[str, Uptime], list[Outage], Counter[tuple[str, Shade]]]:
    painted = Counter[tuple[str, Shade]]()

    def draw(station: str, shade: Shade, span: Span) -> None:
        painted[station, shade] += span[1] - span[0]

    watch = watch_of(history, alive=alive, latest=max((recorded.at for recorded in history), default=0))
    measure = Measure(window, watch, draw=draw)
    outages = [outage for recorded in history for outage in measure.follow(recorded)] + measure.close()
    return {uptime.station: uptime for uptime in measure.uptimes()}, outages, painted


def by_station(outages: Sequence[Outage]) -> list[tuple[str, Micros, Micros | None, int, int, str, int | None, Micros]]:
    return sorted(
        (o.station, o.began, o.ended, o.offline, o.not_observed, o.cause, o.code, o.detected_at) for o in outages
    )


@settings(max_examples=max(300, settings().max_examples))
@given(timed_histories(), windows, last_words)
def test_each_microsecond_counts_as_the_model_says(
    history: list[Recorded], window: Window, alive: dict[str, Micros]
) -> None:
    uptimes, outages, _ = measured(history, window, alive)
    model = Model(history, alive)
    expected = {id: model.uptime(id, window) for id in model.fleets[-1]}

    assert uptimes == {id: uptime for id, (uptime, _) in expected.items()}
    assert by_station(outages) == by_station([outage for _, told in expected.values() for outage in told])


@given(timed_histories(), windows, last_words)
def test_the_four_times_add_up_to_the_window_and_outages_to_the_offline_time(
    history: list[Recorded], window: Window, alive: dict[str, Micros]
) -> None:
    uptimes, outages, painted = measured(history, window, alive)
    for id, uptime in uptimes.items():
        parts = (uptime.online, uptime.offline, uptime.not_observed, uptime.unknown)
        assert min(parts) >= 0
        assert sum(parts) == window.length
        assert sum(outage.offline for outage in outages if outage.station == id) == uptime.offline
        assert sum(outage.station == id for outage in outages) == uptime.outages
        shades: tuple[Shade, ...] = ("online", "offline", "not observed", "unknown")
        if sum(painted[id, shade] for shade in shades):
            assert tuple(painted[id, shade] for shade in shades) == parts


@given(timed_histories(), windows, moments, last_words)
def test_two_halves_of_a_window_add_up_to_the_whole(
    history: list[Recorded], window: Window, middle: Micros, alive: dict[str, Micros]
) -> None:
    middle = min(max(middle, window.since), window.until)
    whole, first, second = (
        measured(history, part, alive)[0]
        for part in (window, Window(window.since, middle), Window(middle, window.until))
    )
    for id, uptime in whole.items():
        for time in ("online", "offline", "not_observed", "unknown"):
            assert getattr(uptime, time) == getattr(first[id], time) + getattr(second[id], time)


@given(timed_histories(), windows, last_words)
def test_a_station_measured_alone_is_as_in_the_fleet(
    history: list[Recorded], window: Window, alive: dict[str, Micros]
) -> None:
    uptimes, outages, _ = measured(history, window, alive)
    latest = max((recorded.at for recorded in history), default=0)
    for id, uptime in uptimes.items():
        life = [recorded for recorded in history if recorded.subject in ("", id)]
        measure = Measure(window, watch_of(life, alive=alive, latest=latest))
        told = [outage for recorded in life for outage in measure.follow(recorded)] + measure.close()
        assert list(measure.uptimes()) == [uptime]
        assert told == [outage for outage in outages if outage.station == id]
